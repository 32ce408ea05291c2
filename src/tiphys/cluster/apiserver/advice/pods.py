"""Pods, and the templates that make them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.advice.shared import (
    OLD_LABELS,
    OLD_VOLUMES,
    address,
    claim_spec,
    fractions,
    node_term,
)
from tiphys.cluster.apiserver.rules.values import Fields
from tiphys.lang.gofmt import quote

_OLD_ANNOTATIONS: Final = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_SECCOMP: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_NULL_SELECTOR: Final = "a null labelSelector results in matching no pod"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def pod_warnings(spec: Fields, meta: Fields, above: str) -> Iterator[str]:
    """``above`` is the place of a template, "" for a pod itself."""
    root = f"{above}." if above else ""
    at, annotations = f"{root}spec", meta.get("annotations") or {}
    yield from _placement(spec, at)
    for key, text in _OLD_ANNOTATIONS.items():
        if key in annotations:
            yield f"{root}metadata.annotations[{key}]: {text}"
    for number, volume in enumerate(spec.get("volumes") or ()):
        yield from _volume(volume, f"{at}.volumes[{number}]")
    for volume in spec.get("volumes") or ():
        yield from _overlaps(volume)
    yield from _repeated(spec.get("hostAliases") or (), f"{at}.hostAliases", "ip")
    yield from _repeated(spec.get("imagePullSecrets") or (), f"{at}.imagePullSecrets", "name")
    for number, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{at}.imagePullSecrets[{number}].name: invalid empty name ""'
    yield from fractions(spec.get("overhead") or {}, f"{at}.overhead")
    if not (spec.get("securityContext") or {}).get("seccompProfile") and _SECCOMP in annotations:
        use = 'non-functional in v1.27+; use the "seccompProfile" field instead'
        yield f"{root}metadata.annotations[{_SECCOMP}]: {use}"
    containers = _containers(spec, at)
    for place, container in containers:
        yield from _container(container, place, annotations, root, is_template=bool(above))
    yield from _ports(containers)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{at}.terminationGracePeriodSeconds: {text}"
    yield from _null_selectors(spec.get("affinity") or {}, f"{at}.affinity")
    for number, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from address(server, f"{at}.dnsConfig.nameservers[{number}]")
    for number, alias in enumerate(spec.get("hostAliases") or ()):
        yield from address(alias.get("ip") or "", f"{at}.hostAliases[{number}].ip")


def _containers(spec: Fields, at: str) -> list[tuple[str, Fields]]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [(f"{at}.{kind}[{number}]", each) for kind in kinds for number, each in enumerate(spec.get(kind) or ())]


def _placement(spec: Fields, at: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in OLD_LABELS:
            yield f"{at}.nodeSelector[{key}]: {OLD_LABELS[key]}"
    nodes = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    here = f"{at}.affinity.nodeAffinity"
    for number, term in enumerate((nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from node_term(term, f"{here}.{_REQUIRED}.nodeSelectorTerms[{number}]")
    for number, term in enumerate(nodes.get(_PREFERRED) or ()):
        place = f"{here}.{_PREFERRED}[{number}].preference"
        yield from node_term(term.get("preference") or {}, place, judges_values=True)
    for number, each in enumerate(spec.get("topologySpreadConstraints") or ()):
        place, key = f"{at}.topologySpreadConstraints[{number}]", each.get("topologyKey") or ""
        if key in OLD_LABELS:
            yield f"{place}.topologyKey: {key} is {OLD_LABELS[key]}"
        if each.get("labelSelector") is None:
            yield f"{place}.labelSelector: {_NULL_SELECTOR}"


def _volume(volume: Fields, at: str) -> Iterator[str]:
    for kind, (place, text) in OLD_VOLUMES.items():
        if volume.get(kind) is not None:
            yield f"{at}.{place}: {text}"
    template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if template is not None:
        yield from claim_spec(template.get("spec") or {}, f"{at}.ephemeral.volumeClaimTemplate.spec")


def _overlaps(volume: Fields) -> Iterator[str]:
    """Files of one volume that lie in each other's place."""
    name = quote(volume.get("name") or "")
    for kind, told, key in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        source = volume.get(kind) or {}
        shown = f"{told} {quote(source.get(key) or '')}"
        for text in _collisions([(item.get("path") or "", "") for item in source.get("items") or ()]):
            yield f"volume {name} ({shown}): overlapping paths: {text}"
    files = [(item.get("path") or "", "") for item in (volume.get("downwardAPI") or {}).get("items") or ()]
    for text in _collisions(files):
        yield f"volume {name} (DownwardAPI): overlapping paths: {text}"
    paths: list[tuple[str, str]] = []
    for source in (volume.get("projected") or {}).get("sources") or ():
        if not source:
            yield f"volume {name} (Projected) has no sources provided"
            continue
        paths += _projected_paths(source)
    for text in _collisions(paths):
        yield f"volume {name} (Projected): overlapping paths: {text}"


def _projected_paths(source: Fields) -> list[tuple[str, str]]:
    for kind, told in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if (source.get(kind) or {}).get("items"):
            shown = f"{told} {quote(source[kind].get('name') or '')}"
            return [(item.get("path") or "", shown) for item in source[kind]["items"]]
    if (source.get("downwardAPI") or {}).get("items"):
        return [(item.get("path") or "", "DownwardAPI") for item in source["downwardAPI"]["items"]]
    if source.get("serviceAccountToken") is not None:
        return [(source["serviceAccountToken"].get("path") or "", "ServiceAccountToken")]
    bundle = source.get("clusterTrustBundle")
    if bundle is not None:
        named = bundle.get("name") if bundle.get("name") is not None else bundle.get("signerName")
        return [(bundle.get("path") or "", f"ClusterTrustBundle {quote(named or '')}")]
    certificate = source.get("podCertificate") or {}
    parts = (("certificateChainPath", "chain"), ("keyPath", "key"), ("credentialBundlePath", "credential bundle"))
    return [(certificate[field], f"PodCertificate {told}") for field, told in parts if certificate.get(field)]


def _collisions(paths: Sequence[tuple[str, str]]) -> Iterator[str]:
    seen: list[tuple[str, str]] = []
    for path, source in paths:
        mine = path.rstrip("/")
        for other, of in seen:
            if mine == other or mine.startswith(f"{other}/") or other.startswith(f"{mine}/"):
                yield f"{_told(mine, source)} with {_told(other, of)}"
        seen.append((mine, source))


def _told(path: str, source: str) -> str:
    return f"{quote(path)} ({source})" if source else quote(path)


def _repeated(items: Sequence[Fields], at: str, field: str) -> Iterator[str]:
    seen: set[str] = set()
    for number, item in enumerate(items):
        value = item.get(field) or ""
        if value in seen:
            yield f"{at}[{number}].{field}: duplicate {field} {quote(value)}"
        seen.add(value)


def _container(
    container: Fields, at: str, annotations: Mapping[str, str], root: str, *, is_template: bool
) -> Iterator[str]:
    name, context = container.get("name") or "", container.get("securityContext") or {}
    key = _SECCOMP_CONTAINER + name
    if not context.get("seccompProfile") and key in annotations:
        use = 'non-functional in v1.27+; use the "seccompProfile" field instead'
        yield f"{root}metadata.annotations[{key}]: {use}"
    key = _APP_ARMOR + name
    if is_template and not context.get("appArmorProfile") and key in annotations:
        use = 'deprecated since v1.30; use the "appArmorProfile" field instead'
        yield f"{root}metadata.annotations[{key}]: {use}"
    resources = container.get("resources") or {}
    for resource in ("memory", "ephemeral-storage"):
        for side in ("limits", "requests"):
            yield from fractions(resources.get(side) or {}, f"{at}.resources.{side}", (resource,))
    seen: set[str] = set()
    for number, each in enumerate(container.get("env") or ()):
        variable, value = each.get("name") or "", each.get("value") or ""
        reference = f"$({variable})"
        if variable in seen and (each.get("valueFrom") or value == reference or reference not in value):
            text = f"hides previous definition of {quote(variable)}, which may be dropped when using apply"
            yield f"{at}.env[{number}]: {text}"
        seen.add(variable)


def _ports(containers: Sequence[tuple[str, Fields]]) -> Iterator[str]:
    known: dict[tuple[Any, Any], list[tuple[str, Fields]]] = {}
    for at, container in containers:
        for number, port in enumerate(container.get("ports") or ()):
            here, key = f"{at}.ports[{number}]", (port.get("containerPort"), port.get("protocol"))
            if port.get("hostIP") and not port.get("hostPort"):
                yield f"{here}: hostIP set without hostPort: {_shown_port(port)}"
            for place, other in known.get(key, ()):
                yield from _port_conflict(port, other, here, place)
            known.setdefault(key, []).append((here, port))
    names: dict[str, str] = {}
    for at, container in containers:
        for number, port in enumerate(container.get("ports") or ()):
            name, here = port.get("name") or "", f"{at}.ports[{number}]"
            if name and name in names:
                first = names[name]
                used = f"services and probes that select ports by name will use {first}"
                yield f"{here}: duplicate port name {quote(name)} with {first}, {used}"
            elif name:
                names[name] = here


def _shown_port(port: Fields) -> str:
    """As Go's ``%+v`` shows it."""
    parts = (
        ("Name", port.get("name") or ""),
        ("HostPort", port.get("hostPort") or 0),
        ("ContainerPort", port.get("containerPort") or 0),
        ("Protocol", port.get("protocol") or ""),
        ("HostIP", port.get("hostIP") or ""),
    )
    return "{" + " ".join(f"{name}:{value}" for name, value in parts) + "}"


def _port_conflict(port: Fields, other: Fields, at: str, place: str) -> Iterator[str]:
    mine, theirs = (each.get("hostPort") or 0 for each in (port, other))
    address, their_address = (each.get("hostIP") or "" for each in (port, other))
    if (mine, address) == (theirs, their_address):
        yield f"{at}: duplicate port definition with {place}"
    elif not mine or not theirs:
        yield f"{at}: overlapping port definition with {place}"
    elif mine == theirs and bool(address) != bool(their_address):
        yield f"{at}: dangerously ambiguous port definition with {place}"


def _null_selectors(affinity: Fields, at: str) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        for number, term in enumerate((affinity.get(kind) or {}).get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{at}.{kind}.{_REQUIRED}[{number}].labelSelector: {_NULL_SELECTOR}"
        for number, term in enumerate((affinity.get(kind) or {}).get(_PREFERRED) or ()):
            if (term.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{at}.{kind}.{_PREFERRED}[{number}].podAffinityTerm.labelSelector: {_NULL_SELECTOR}"
