"""Pods and the templates of pods: everything a spec may say, and what fits together in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.metadata import annotation_complaints_at
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules import amounts, security
from tiphys.cluster.apiserver.rules.affinity import affinity_complaints, spread_complaints, toleration_complaints
from tiphys.cluster.apiserver.rules.containers import Around, container_complaints, untrimmed_image
from tiphys.cluster.apiserver.rules.pod_amounts import pod_amount_complaints
from tiphys.cluster.apiserver.rules.values import (
    INT32_MAX,
    Fields,
    Rule,
    address,
    chosen,
    duplicate,
    in_form,
    in_form_if_given,
    labels,
    missing,
    too_long,
    within,
)
from tiphys.cluster.apiserver.rules.volumes import volume_complaints
from tiphys.lang import name_rules

MIRROR: Final = "kubernetes.io/config.mirror"
_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")


def pod(obj: Object, old: Object | None) -> Iterator[Complaint]:
    if old is not None:
        from tiphys.cluster.apiserver.rules.pod_updates import pod_update

        yield from pod_update(obj, old)
        return
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    yield from pod_complaints(obj)
    if spec.get("ephemeralContainers"):
        yield forbidden_value("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("nodeName") and spec.get("schedulingGates"):
        yield forbidden_value("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
    yield from security.annotations_match(annotations, spec, "spec", all_containers(spec, "spec"))


def pod_complaints(obj: Object) -> Iterator[Complaint]:
    """What is wrong with a pod whether it is new or changed."""
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    yield from annotation_rules(meta.get("annotations") or {}, spec, "metadata.annotations", "spec")
    yield from spec_complaints(spec, "spec", meta)
    if not spec.get("serviceAccountName"):
        yield from _tokens_without_account(spec)
    for field in ("containers", "initContainers"):
        for number, container in enumerate(spec.get(field) or ()):
            yield from untrimmed_image(container, f"spec.{field}[{number}]")


def _tokens_without_account(spec: Fields) -> Iterator[Complaint]:
    for number, volume in enumerate(spec.get("volumes") or ()):
        for index, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                at = f"spec.volumes[{number}].projected.sources[{index}].serviceAccountToken"
                yield forbidden_value(at, "must not be specified when serviceAccountName is not set")


def template_complaints(template: Fields, at: str) -> Iterator[Complaint]:
    """A PodTemplateSpec."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    annotations = meta.get("annotations") or {}
    yield from labels(meta, at, "labels")
    yield from annotation_complaints_at(annotations, f"{at}.annotations")
    yield from annotation_rules(annotations, spec, f"{at}.annotations", f"{at}.spec")
    yield from spec_complaints(spec, f"{at}.spec", None)
    yield from security.annotations_match(annotations, spec, f"{at}.spec", all_containers(spec, f"{at}.spec"))
    if spec.get("ephemeralContainers"):
        yield forbidden_value(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def all_containers(spec: Fields, at: str) -> list[tuple[str, Fields]]:
    return [
        (f"{at}.{field}[{number}]", container)
        for field in ("initContainers", "containers", "ephemeralContainers")
        for number, container in enumerate(spec.get(field) or ())
    ]


def annotation_rules(annotations: Mapping[str, str], spec: Fields, at: str, spec_at: str) -> Iterator[Complaint]:
    """Annotations that mean something for pods."""
    if not annotations:
        return
    if MIRROR in annotations and not spec.get("nodeName"):
        text = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid_value(f"{at}[{MIRROR}]", annotations[MIRROR], text)
    cost = annotations.get(_DELETION_COST)
    if cost is not None and not _is_deletion_cost(cost):
        yield invalid_value(f"{at}[{_DELETION_COST}]", cost, "must be a 32bit integer")
    yield from security.annotation_values(annotations, at, all_containers(spec, spec_at))


def _is_deletion_cost(text: str) -> bool:
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and (digits == "0" or not digits.startswith("0"))
    return plain and text != "-0" and -(2**31) <= int(text) <= INT32_MAX


# The spec


def spec_complaints(spec: Fields, at: str, meta: Fields | None) -> Iterator[Complaint]:
    """``meta`` is the pod's metadata, None for a template."""
    grace, system = spec.get("terminationGracePeriodSeconds"), (spec.get("os") or {}).get("name")
    if grace is None:
        yield required(f"{at}.terminationGracePeriodSeconds")
    name = (meta or {}).get("name") or ""
    volumes, found = volume_complaints(spec.get("volumes") or (), f"{at}.volumes", name, is_pod=meta is not None)
    yield from found
    claims = {claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")}
    yield from _claim_complaints(spec.get("resourceClaims") or (), f"{at}.resourceClaims", meta)
    host_users = spec.get("hostUsers") is not False
    around = Around(volumes, claims, grace, system, spec.get("restartPolicy") or "", host_users)
    yield from container_complaints(spec, at, around)
    yield from pod_amount_complaints(spec, f"{at}.resources", claims)
    yield from _host_network_ports(spec, at, is_pod=meta is not None)
    yield from chosen(spec.get("restartPolicy"), f"{at}.restartPolicy", RESTART_POLICIES)
    yield from chosen(spec.get("dnsPolicy"), f"{at}.dnsPolicy", _DNS_POLICIES)
    yield from labels(spec, at, "nodeSelector")
    yield from security.pod_context(spec, f"{at}.securityContext")
    yield from affinity_complaints(spec.get("affinity") or {}, f"{at}.affinity")
    yield from _dns_complaints(spec, f"{at}.dnsConfig")
    yield from _gate_complaints(spec, at)
    yield from spread_complaints(spec.get("topologySpreadConstraints") or (), f"{at}.topologySpreadConstraints")
    containers = all_containers(spec, at)
    yield from security.host_processes(spec, at, containers)
    if not host_users:
        yield from _own_users(spec, at, containers)
    yield from _host_name_complaints(spec, at)
    yield from _name_complaints(spec, at)
    yield from toleration_complaints(spec.get("tolerations") or (), f"{at}.tolerations")
    yield from _alias_complaints(spec.get("hostAliases") or (), f"{at}.hostAliases")
    yield from _class_complaints(spec, at)
    yield from _system_complaints(spec, at, containers)
    yield from _workload_complaints(spec.get("workloadRef"), f"{at}.workloadRef")
    yield from _file_volumes(spec, containers)


def _claim_complaints(claims: Sequence[Fields], at: str, meta: Fields | None) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, claim in enumerate(claims):
        here, name = f"{at}[{number}]", claim.get("name") or ""
        if MIRROR in ((meta or {}).get("annotations") or ()):
            yield forbidden_value("", "static pods do not support resource claims")
            continue
        if not name:
            yield required(f"{here}.name")
        elif name in seen:
            yield duplicate(f"{here}.name", name)
        else:
            yield from in_form(name, f"{here}.name", name_rules.dns1123_label)
            seen.add(name)
        given = [f for f in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(f) is not None]
        told = internal_names.shown("core.PodResourceClaim", claim)
        if len(given) > 1:
            text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield invalid_value(here, told, text)
        if not given:
            yield invalid_value(here, told, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
        for field in given:
            yield from in_form(claim[field], f"{here}.{field}", name_rules.dns1123_subdomain)


def _host_network_ports(spec: Fields, at: str, *, is_pod: bool) -> Iterator[Complaint]:
    if not spec.get("hostNetwork"):
        return
    for number, container in enumerate(spec.get("containers") or ()):
        for index, each in enumerate(container.get("ports") or ()):
            host, own = each.get("hostPort") or 0, each.get("containerPort") or 0
            if (is_pod or host) and host != own:
                text = "must match `containerPort` when `hostNetwork` is true"
                yield invalid_value(f"{at}.containers[{number}].ports[{index}].hostPort", host, text)


def _dns_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    config = spec.get("dnsConfig")
    servers = (config or {}).get("nameservers") or []
    if spec.get("dnsPolicy") == "None" and not servers:
        if config is None:
            yield required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
        else:
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{at}.nameservers", text)
        return
    if config is None:
        return
    searches = config.get("searches") or []
    if len(servers) > 3:
        yield invalid_value(f"{at}.nameservers", servers, "must not have more than 3 nameservers")
    for number, server in enumerate(servers):
        yield from address(server, f"{at}.nameservers[{number}]")
    if len(searches) > 32:
        yield invalid_value(f"{at}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        text = "must not have more than 2048 characters (including spaces) in the search list"
        yield invalid_value(f"{at}.searches", searches, text)
    for number, search in enumerate(searches):
        if search != ".":
            name = search.removesuffix(".")
            yield from in_form(name, f"{at}.searches[{number}]", name_rules.dns1123_subdomain_with_underscore)
    for number, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{at}.options[{number}]", "must not be empty")


def _gate_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    for number, gate in enumerate(spec.get("readinessGates") or ()):
        here = f"{at}.readinessGates[{number}].conditionType"
        yield from in_form(gate.get("conditionType") or "", here, name_rules.qualified_name)
    seen: set[str] = set()
    for number, gate in enumerate(spec.get("schedulingGates") or ()):
        here, name = f"{at}.schedulingGates[{number}]", gate.get("name") or ""
        yield from in_form(name, here, name_rules.qualified_name)
        if name in seen:
            yield duplicate(here, name)
        seen.add(name)


def _own_users(spec: Fields, at: str, containers: Sequence[tuple[str, Fields]]) -> Iterator[Complaint]:
    """A pod with users of its own (hostUsers false)."""
    text = "when `hostUsers` is false"
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield forbidden_value(f"{at}.{field if field == 'hostNetwork' else 'H' + field[1:]}", text)
    for place, container in containers:
        if container.get("volumeDevices"):
            yield forbidden_value(f"{place}.volumeDevices", text)


def _host_name_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    name, here = spec.get("hostnameOverride"), f"{at}.hostnameOverride"
    if name is None:
        return
    if spec.get("setHostnameAsFQDN"):
        yield forbidden_value(here, "may not be specified when setHostnameAsFQDN is true")
    if spec.get("hostNetwork"):
        yield forbidden_value(here, "may not be specified when hostNetwork is true")
    if len(name.encode()) > 64:
        yield too_long(here, 64)
    yield from in_form(name, here, name_rules.dns1123_subdomain)


def _name_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    subdomain, label = name_rules.dns1123_subdomain, name_rules.dns1123_label
    yield from in_form_if_given(spec, at, "serviceAccountName", subdomain)
    yield from in_form_if_given(spec, at, "nodeName", subdomain)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None:
        yield from within(deadline, f"{at}.activeDeadlineSeconds", 1, INT32_MAX)
    yield from in_form_if_given(spec, at, "hostname", label)
    yield from in_form_if_given(spec, at, "subdomain", label)


def _alias_complaints(aliases: Sequence[Fields], at: str) -> Iterator[Complaint]:
    for number, alias in enumerate(aliases):
        yield from address(alias.get("ip") or "", f"{at}[{number}].ip")
        for index, name in enumerate(alias.get("hostnames") or ()):
            yield from in_form(name, f"{at}[{number}].hostnames[{index}]", name_rules.dns1123_subdomain)


def _class_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    yield from in_form_if_given(spec, at, "priorityClassName", name_rules.dns1123_subdomain)
    if spec.get("runtimeClassName") is not None:
        yield from in_form(spec["runtimeClassName"], f"{at}.runtimeClassName", name_rules.dns1123_subdomain)
    if spec.get("preemptionPolicy") is not None:
        yield from chosen(spec["preemptionPolicy"], f"{at}.preemptionPolicy", ("PreemptLowerPriority", "Never"))
    if spec.get("overhead") is not None:
        overhead = {"limits": spec["overhead"]}
        yield from amounts.requirement_complaints(overhead, f"{at}.overhead", ())


def _system_complaints(spec: Fields, at: str, containers: Sequence[tuple[str, Fields]]) -> Iterator[Complaint]:
    system = spec.get("os")
    if system is None:
        return
    match system.get("name") or "":
        case "":
            yield required(f"{at}.os.name")
        case "linux":
            yield from security.on_linux(spec, at, containers)
        case "windows":
            yield from security.on_windows(spec, at, containers)
        case other:
            yield unsupported(f"{at}.os", other, ("linux", "windows"))


def _workload_complaints(reference: Fields | None, at: str) -> Iterator[Complaint]:
    if reference is None:
        return
    rules: Sequence[tuple[str, Rule]] = (
        ("name", name_rules.dns1123_subdomain),
        ("podGroup", name_rules.dns1123_label),
    )
    for field, rule in rules:
        yield from in_form(reference.get(field) or "", f"{at}.{field}", rule)
    yield from in_form_if_given(reference, at, "podGroupReplicaKey", name_rules.dns1123_label)


def _file_volumes(spec: Fields, containers: Sequence[tuple[str, Fields]]) -> Iterator[Complaint]:
    """Variables read from files need an emptyDir to read them from."""
    volumes = {volume.get("name"): volume for volume in spec.get("volumes") or ()}
    for place, container in containers:
        for number, variable in enumerate(container.get("env") or ()):
            source: Any = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if source is None:
                continue
            at, name = f"{place}.env[{number}].valueFrom.fileKeyRef.volumeName", source.get("volumeName") or ""
            if name not in volumes:
                yield missing(at, name)
            elif volumes[name].get("emptyDir") is None:
                yield invalid_value(at, name, "referenced volume must be of type emptyDir")
