"""Warnings about objects that are taken all the same: deprecated fields, and what will surprise their writer.

A function per kind; the texts are the original's, which go into ``Warning`` headers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tiphys.cluster.apiserver.advice.key_pairs import pair_problem
from tiphys.cluster.apiserver.advice.pods import pod_warnings
from tiphys.cluster.apiserver.advice.shared import (
    OLD_LABELS,
    OLD_VOLUMES,
    address,
    claim_spec,
    network,
    node_term,
)
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import Fields
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_OLD_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
# Those that are told of in PersistentVolumes, in this order.
_OLD_PERSISTENT: Final = ("cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd")


def warnings_of(key: str, obj: Object, old: Object | None) -> Iterator[str]:
    """What the writer of an object of the kind ``plural.group`` should know."""
    adviser = _ADVISERS.get(key)
    if adviser is not None:
        yield from adviser(obj, old)


def _pod(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None or obj["metadata"].get("generation") != old["metadata"].get("generation"):
        yield from pod_warnings(obj.get("spec") or {}, obj["metadata"], "")


def _template_of(at: str, *, judges_name: bool = False) -> Callable[[Object, Object | None], Iterator[str]]:
    def advise(obj: Object, old: Object | None) -> Iterator[str]:
        if old is not None and same(obj.get("spec"), old.get("spec")):
            return
        if judges_name and old is None:
            yield from _host_name(obj)
        template = (obj.get("spec") or {}).get("template") or {}
        yield from pod_warnings(template.get("spec") or {}, template.get("metadata") or {}, at)

    return advise


def _host_name(obj: Object) -> Iterator[str]:
    problems = name_rules.dns1123_label(obj["metadata"].get("name") or "")
    if problems:
        text = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is"
        yield f"metadata.name: {text} recommended: [{' '.join(problems)}]"


def _job(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None:
        yield from _host_name(obj)
        yield from _job_spec(obj.get("spec") or {}, "spec")


def _job_spec(spec: Fields, at: str) -> Iterator[str]:
    huge = (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000
    if spec.get("completionMode") == "Indexed" and huge:
        yield (
            f"{at}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4,"
            " Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    template = spec.get("template") or {}
    yield from pod_warnings(template.get("spec") or {}, template.get("metadata") or {}, f"{at}.template")


def _cron_job(obj: Object, old: Object | None) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if old is None:
        yield from _host_name(obj)
    if old is None or not same(spec, old.get("spec")):
        yield from _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    if old is not None and "TZ" in (spec.get("schedule") or ""):
        yield (
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see"
            " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )


def _stateful_set(obj: Object, old: Object | None) -> Iterator[str]:
    spec = obj.get("spec") or {}
    yield from _template_of("spec.template")(obj, old)
    for number, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        yield from claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{number}]")
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        text = "a negative value retains all historical revisions; a value >= 0 is recommended"
        yield f"spec.revisionHistoryLimit: {text}"


def _service(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    spec = obj.get("spec") or {}
    if _HINTS in (obj["metadata"].get("annotations") or {}):
        yield f"annotation {_HINTS} is deprecated, please use {_MODE} instead"
    for number, text in enumerate(spec.get("clusterIPs") or ()):
        yield from address(text, f"spec.clusterIPs[{number}]")
    if spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None":
        for field in ("loadBalancerIP", "externalIPs"):
            if spec.get(field):
                yield f"spec.{field} is ignored for headless services"
        if spec.get("sessionAffinity") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    for number, text in enumerate(spec.get("externalIPs") or ()):
        yield from address(text, f"spec.externalIPs[{number}]")
    if spec.get("loadBalancerIP"):
        yield from address(spec["loadBalancerIP"], "spec.loadBalancerIP")
    for number, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from network(text, f"spec.loadBalancerSourceRanges[{number}]")
    is_name = spec.get("type") == "ExternalName"
    if is_name and spec.get("externalIPs"):
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if not is_name and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _persistent_volume(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    for key, text in (
        (_OLD_CLASS, 'deprecated since v1.8; use "storageClassName" attribute instead'),
        ("volume.beta.kubernetes.io/mount-options", 'deprecated since v1.31; use "mountOptions" attribute instead'),
    ):
        if key in annotations:
            yield f"metadata.annotations[{key}]: {text}"
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "The Recycle reclaim policy is deprecated."
        instead = "Instead, the recommended approach is to use dynamic provisioning."
        yield f"spec.persistentVolumeReclaimPolicy: {text} {instead}"
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    for number, term in enumerate(terms):
        yield from node_term(term, f"spec.nodeAffinity.required.nodeSelectorTerms[{number}]")
    for kind in _OLD_PERSISTENT:
        if spec.get(kind) is not None:
            place, text = OLD_VOLUMES[kind]
            yield f"spec.{place}: {text}"


def _claim(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    if _OLD_CLASS in (obj["metadata"].get("annotations") or {}):
        yield f'metadata.annotations[{_OLD_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'
    yield from claim_spec(obj.get("spec") or {}, "spec")


def _ingress(obj: Object, old: Object | None) -> Iterator[str]:
    key = "kubernetes.io/ingress.class"
    is_named = (obj.get("spec") or {}).get("ingressClassName") is not None
    if old is None and key in (obj["metadata"].get("annotations") or {}) and not is_named:
        yield f"annotation \"{key}\" is deprecated, please use 'spec.ingressClassName' instead"


def _network_policy(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate((obj.get("spec") or {}).get(direction) or ()):
            for index, peer in enumerate(rule.get(peers) or ()):
                block, at = peer.get("ipBlock"), f"spec.{direction}[{number}].{peers}[{index}].ipBlock"
                if block is not None:
                    yield from network(block.get("cidr") or "", f"{at}.cidr")
                    for place, text in enumerate(block.get("except") or ()):
                        yield from network(text, f"{at}.except[{place}]")


def _storage_class(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    for number, term in enumerate(obj.get("allowedTopologies") or ()):
        for index, each in enumerate(term.get("matchLabelExpressions") or ()):
            if each.get("key") in OLD_LABELS:
                at = f"allowedTopologies[{number}].matchLabelExpressions[{index}].key"
                yield f"{at}: {OLD_LABELS[each['key']]}"


def _runtime_class(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    for key in (obj.get("scheduling") or {}).get("nodeSelector") or ():
        if key in OLD_LABELS:
            yield f"scheduling.nodeSelector: {OLD_LABELS[key]}"


def _endpoint_slice(obj: Object, old: Object | None) -> Iterator[str]:
    if old is None and obj.get("addressType") == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"
    for number, each in enumerate(obj.get("endpoints") or () if obj.get("addressType") != "FQDN" else ()):
        for index, text in enumerate(each.get("addresses") or ()):
            yield from address(text, f"endpoints[{number}].addresses[{index}]")


def _secret(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    if obj.get("type") == "kubernetes.io/tls":
        data = obj.get("data") or {}
        problem = pair_problem(_decoded(data.get("tls.crt")), _decoded(data.get("tls.key")))
        if problem:
            yield problem


def _decoded(text: str | None) -> bytes:
    return base64.b64decode(text) if text else b""


def _csi_capacity(obj: Object, old: Object | None) -> Iterator[str]:
    del old
    topology = obj.get("nodeTopology") or {}
    yield from node_term(topology, "nodeTopology")
    for key in topology.get("matchLabels") or ():
        if key in OLD_LABELS:
            yield f"nodeTopology.matchLabels.{key}: {OLD_LABELS[key]}"


_ADVISERS: Final[Mapping[str, Callable[[Object, Object | None], Iterator[str]]]] = {
    "pods": _pod,
    "services": _service,
    "secrets": _secret,
    "persistentvolumes": _persistent_volume,
    "persistentvolumeclaims": _claim,
    "replicationcontrollers": _template_of("spec.template", judges_name=True),
    "deployments.apps": _template_of("spec.template", judges_name=True),
    "replicasets.apps": _template_of("spec.template", judges_name=True),
    "daemonsets.apps": _template_of("spec.template"),
    "statefulsets.apps": _stateful_set,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "ingresses.networking.k8s.io": _ingress,
    "networkpolicies.networking.k8s.io": _network_policy,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "storageclasses.storage.k8s.io": _storage_class,
    "csistoragecapacities.storage.k8s.io": _csi_capacity,
    "runtimeclasses.node.k8s.io": _runtime_class,
}
