"""How the built-in kinds differ from a plain one: status, generation, names, graceful deletion.

A table by ``plural.group``; ``data/resources.json`` says which kinds exist. Facts from the recorded conversations
(``kube-live``) and the Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tiphys.cluster.apiserver import api_services, crds, metadata
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Strategy
from tiphys.cluster.apiserver.rules.networking import address_name
from tiphys.cluster.apiserver.typed import complete_secret
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

DEFAULT_GRACE_SECONDS = 30


def path_segment(name: str) -> list[str]:
    """The rule of kinds that have no stricter one (RBAC): what may stand between two slashes of a URL."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in name]


def pod_grace_seconds(pod: Object, asked: int | None) -> int:
    """How long a pod may take to end: nothing where no agent holds it or where it has ended already."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    seconds = asked if asked is not None else spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    # A negative period means one second (apimachinery rest.BeforeDelete).
    return int(seconds) if seconds >= 0 else 1


def _new_pod(pod: Object) -> None:
    spec = pod.get("spec") or {}
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        pod["spec"] = spec | {"terminationGracePeriodSeconds": 1}
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod)}
    if (pod.get("spec") or {}).get("schedulingGates"):
        gated = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": pod["metadata"]["creationTimestamp"],
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }
        pod["status"]["conditions"] = [gated]


def _admitted_pod(pod: Object) -> None:
    """Admission may have filled in amounts, which the class of the pod follows."""
    pod["status"]["qosClass"] = qos_class(pod)


def _resource_amounts(container: Mapping[str, Any], side: str) -> dict[str, Any]:
    amounts = (container.get("resources") or {}).get(side) or {}
    return {name: amounts[name] for name in ("cpu", "memory") if str(amounts.get(name, "0")) not in ("0", "")}


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the containers' cpu and memory."""
    spec = pod.get("spec") or {}
    whole = spec.get("resources") or {}
    # Resources of the pod as a whole, where given, stand for those of its containers.
    containers = [spec] if whole else [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    requests = [_resource_amounts(c, "requests") for c in containers]
    limits = [_resource_amounts(c, "limits") for c in containers]
    if not any(requests) and not any(limits):
        return "BestEffort"
    guaranteed = all(
        len(limit) == 2 and all(request.get(name, amount) == amount for name, amount in limit.items())
        for request, limit in zip(requests, limits, strict=True)
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _new_namespace(namespace: Object) -> None:
    spec = namespace.get("spec") or {}
    finalizers = spec.get("finalizers") or []
    if "kubernetes" not in finalizers:
        finalizers = [*finalizers, "kubernetes"]
    namespace["spec"] = spec | {"finalizers": finalizers}
    namespace["status"] = {"phase": "Active"}
    meta = namespace["metadata"]
    meta["labels"] = (meta.get("labels") or {}) | {"kubernetes.io/metadata.name": meta.get("name") or ""}


def _updated_namespace(namespace: Object, old: Object) -> None:
    """The finalizers in the spec are the business of ``/finalize`` alone."""
    namespace["spec"] = old.get("spec") or {}


_TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"


def _new_daemon_set(daemons: Object) -> None:
    _annotate(daemons, _TEMPLATE_GENERATION, "1")


def _updated_daemon_set(daemons: Object, old: Object) -> None:
    generation = int((old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION) or 1)
    changed = not same((daemons.get("spec") or {}).get("template"), (old.get("spec") or {}).get("template"))
    _annotate(daemons, _TEMPLATE_GENERATION, str(generation + changed))


def _annotate(obj: Object, key: str, value: str) -> None:
    meta = obj["metadata"]
    obj["metadata"] = meta | {"annotations": (meta.get("annotations") or {}) | {key: value}}


def _new_job(job: Object) -> None:
    """A job selects its pods by its own uid, unless its writer insists."""
    spec, meta = job.get("spec") or {}, job["metadata"]
    name = meta.get("name") or ""
    if spec.get("manualSelector"):
        return
    own = {
        "batch.kubernetes.io/controller-uid": meta["uid"],
        "batch.kubernetes.io/job-name": name,
        "controller-uid": meta["uid"],
        "job-name": name,
    }
    template = spec.get("template") or {}
    inner = template.get("metadata") or {}
    template = template | {"metadata": inner | {"labels": (inner.get("labels") or {}) | own}}
    selector = spec.get("selector") or {}
    wanted = {"batch.kubernetes.io/controller-uid": meta["uid"]}
    selector = selector | {"matchLabels": (selector.get("matchLabels") or {}) | wanted}
    job["spec"] = spec | {"selector": selector, "template": template}


def _kept_job(job: Object) -> None:
    """The template's labels are the job's where it has none: defaulted again as it is written to the store."""
    labels = ((job["spec"].get("template") or {}).get("metadata") or {}).get("labels")
    if labels and "labels" not in job["metadata"]:
        job["metadata"] = metadata.ordered(job["metadata"] | {"labels": dict(labels)})


def _new_secret(secret: Object) -> None:
    complete_secret(secret)
    secret.setdefault("type", "Opaque")


def _updated_secret(secret: Object, old: Object) -> None:
    del old
    _new_secret(secret)


def _spec(**more: Any) -> Strategy:
    """The usual workload: status apart, generation counts the spec."""
    return Strategy(status="isolated", generation="spec", **more)


_COPYABLE: Final = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def _is_copyable(source: Mapping[str, Any]) -> bool:
    return (source.get("apiGroup") or "", source.get("kind")) in _COPYABLE


def _new_volume(volume: Object) -> None:
    volume["status"] = {"phase": "Pending", "lastPhaseTransitionTime": volume["metadata"]["creationTimestamp"]}


def _volume_phase_changed(new: Object, old: Object, now: str) -> None:
    """A volume says since when it is in its phase, whoever changed that."""
    status, before = new.get("status") or {}, old.get("status") or {}
    if status.get("phase") != before.get("phase"):
        new["status"] = {**status, "lastPhaseTransitionTime": now}


def _new_claim(claim: Object) -> None:
    """Sources that cannot be used are dropped; of the two fields for them each is filled from the other."""
    spec = dict(claim.get("spec") or {})
    reference, source = spec.get("dataSourceRef"), spec.get("dataSource")
    if reference is not None and reference.get("namespace"):
        del spec["dataSourceRef"]
        reference = None
    elif reference is None and source is not None and not _is_copyable(source):
        del spec["dataSource"]
        source = None
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None:
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}
    claim["spec"] = spec


def _new_lease(lease: Object) -> None:
    """Coordinated election is not on."""
    lease["spec"] = {k: v for k, v in (lease.get("spec") or {}).items() if k not in ("strategy", "preferredHolder")}


def _updated_lease(lease: Object, old: Object) -> None:
    del old
    _new_lease(lease)


def any_name(name: str) -> list[str]:
    del name
    return []


_STATUS_ONLY: Final = Strategy(status="isolated")


def _rules_shown(role: Object, _old: Object) -> None:
    """Roles show that they have no rules; bindings have none to show."""
    if "roleRef" not in role:
        role.setdefault("rules", None)


_RBAC: Final = Strategy(name_rule=path_segment, on_update=_rules_shown)

STRATEGIES: Final[dict[str, Strategy]] = {
    "pods": _spec(
        graceful_seconds=pod_grace_seconds,
        returns_deleted=True,
        on_create=_new_pod,
        on_admitted=_admitted_pod,
    ),
    "podtemplates": Strategy(generation="content", returns_deleted=True),
    "namespaces": Strategy(
        status="isolated",
        name_rule=name_rules.dns1123_label,
        on_create=_new_namespace,
        on_update=_updated_namespace,
        returns_deleted=True,
    ),
    "nodes": Strategy(status="isolated", status_at_first=True),
    "secrets": Strategy(on_create=_new_secret, on_update=_updated_secret),
    "serviceaccounts": Strategy(returns_deleted=True),
    "services": Strategy(
        status="isolated",
        name_rule=name_rules.dns1035_label,
        initial_status={"loadBalancer": {}},
        returns_deleted=True,
        create_on_update=True,
    ),
    "persistentvolumeclaims": Strategy(
        status="isolated", initial_status={"phase": "Pending"}, returns_deleted=True, on_create=_new_claim
    ),
    "persistentvolumes": Strategy(
        status="isolated", returns_deleted=True, on_create=_new_volume, on_status=_volume_phase_changed
    ),
    "resourcequotas": Strategy(status="isolated", initial_status={}, returns_deleted=True),
    "limitranges": Strategy(),
    "events": Strategy(create_on_update=True),
    "replicationcontrollers": _spec(initial_status={"replicas": 0}),
    "deployments.apps": _spec(initial_status={}),
    "replicasets.apps": _spec(initial_status={"replicas": 0}),
    "statefulsets.apps": _spec(
        name_rule=name_rules.dns1123_label, initial_status={"replicas": 0, "availableReplicas": 0}
    ),
    "daemonsets.apps": _spec(
        on_create=_new_daemon_set,
        on_update=_updated_daemon_set,
        initial_status={
            "currentNumberScheduled": 0,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 0,
            "numberReady": 0,
        },
    ),
    "jobs.batch": _spec(initial_status={}, on_create=_new_job, on_judged=_kept_job),
    "cronjobs.batch": _spec(initial_status={}),
    "horizontalpodautoscalers.autoscaling": Strategy(
        status="isolated", initial_status={"desiredReplicas": 0, "currentMetrics": None}
    ),
    "poddisruptionbudgets.policy": _spec(
        name_rule=path_segment,
        initial_status={"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    ),
    "ingresses.networking.k8s.io": _spec(initial_status={"loadBalancer": {}}),
    "ingressclasses.networking.k8s.io": Strategy(generation="spec"),
    "networkpolicies.networking.k8s.io": Strategy(generation="spec"),
    "servicecidrs.networking.k8s.io": Strategy(status="isolated", initial_status={}),
    "endpointslices.discovery.k8s.io": Strategy(generation="any, labels"),
    "endpoints": Strategy(
        create_on_update=True, warning="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    ),
    "componentstatuses": Strategy(warning="v1 ComponentStatus is deprecated in v1.19+"),
    "leases.coordination.k8s.io": Strategy(
        create_on_update=True,
        unconditional_update=False,
        any_finalizer=True,
        on_create=_new_lease,
        on_update=_updated_lease,
    ),
    "priorityclasses.scheduling.k8s.io": Strategy(generation="first"),
    "roles.rbac.authorization.k8s.io": _RBAC,
    "clusterroles.rbac.authorization.k8s.io": _RBAC,
    "rolebindings.rbac.authorization.k8s.io": _RBAC,
    "clusterrolebindings.rbac.authorization.k8s.io": _RBAC,
    "certificatesigningrequests.certificates.k8s.io": Strategy(
        names_writer=True, name_rule=any_name, status="isolated", initial_status={}
    ),
    "volumeattachments.storage.k8s.io": Strategy(
        status="isolated", initial_status={"attached": False}, returns_deleted=True
    ),
    "storageclasses.storage.k8s.io": Strategy(returns_deleted=True),
    "csidrivers.storage.k8s.io": Strategy(returns_deleted=True),
    "csinodes.storage.k8s.io": Strategy(returns_deleted=True),
    "validatingadmissionpolicies.admissionregistration.k8s.io": _spec(initial_status={}, any_finalizer=True),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": Strategy(generation="spec", any_finalizer=True),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": Strategy(generation="content", any_finalizer=True),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": Strategy(generation="content", any_finalizer=True),
    "runtimeclasses.node.k8s.io": Strategy(any_finalizer=True),
    "ipaddresses.networking.k8s.io": Strategy(name_rule=address_name),
    "flowschemas.flowcontrol.apiserver.k8s.io": _spec(initial_status={}),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": _spec(initial_status={}),
    "apiservices.apiregistration.k8s.io": Strategy(
        status="isolated", initial_status={}, on_create=api_services.begin, name_rule=path_segment
    ),
    "customresourcedefinitions.apiextensions.k8s.io": _spec(
        on_create=crds.begin, on_update=crds.updated, any_finalizer=True
    ),
    "resourceclaims.resource.k8s.io": _STATUS_ONLY,
}
