"""What may change in a pod: few fields by an update, resources by ``/resize``, and new ephemeral containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.affinity import toleration_complaints
from tiphys.cluster.apiserver.rules.containers import untrimmed_image
from tiphys.cluster.apiserver.rules.pods import MIRROR, annotation_rules, pod_complaints
from tiphys.cluster.apiserver.rules.security import APP_ARMOR
from tiphys.cluster.apiserver.rules.values import INT32_MAX, Fields, difference, within
from tiphys.machinery.equality import same

_UPDATABLE: Final = ",".join(
    (
        "`spec.containers[*].image`",
        "`spec.initContainers[*].image`",
        "`spec.activeDeadlineSeconds`",
        "`spec.tolerations` (only additions to existing tolerations)",
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )
)
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def pod_update(obj: Object, old: Object) -> Iterator[Complaint]:
    yield from pod_complaints(obj)
    yield from annotation_changes(obj, old)
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        mine, held = spec.get(field) or [], before.get(field) or []
        if len(mine) != len(held):
            yield forbidden_value(f"spec.{field}", "pod updates may not add or remove containers")
            return
        yield from _images(mine, f"spec.{field}")
    deadline, stops = _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    yield from deadline
    if stops:
        return
    yield from _tolerations(spec.get("tolerations") or [], before.get("tolerations") or [])
    yield from _gates(spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    if not same(spec, before):
        yield from _rest(spec, before)


def annotation_changes(obj: Object, old: Object) -> Iterator[Complaint]:
    at = "metadata.annotations"
    mine, held = (each["metadata"].get("annotations") or {} for each in (obj, old))
    for key in sorted(held):
        if mine.get(key) != held[key]:
            if key.startswith(APP_ARMOR):
                yield forbidden_value(f"{at}[{key}]", "may not remove or update AppArmor annotations")
            if key == MIRROR:
                yield forbidden_value(f"{at}[{key}]", "may not remove or update mirror pod annotation")
    for key in sorted(mine.keys() - held.keys()):
        if key.startswith(APP_ARMOR):
            yield forbidden_value(f"{at}[{key}]", "may not add AppArmor annotations")
        if key == MIRROR:
            yield forbidden_value(f"{at}[{key}]", "may not add mirror pod annotation")
    yield from annotation_rules(mine, obj.get("spec") or {}, at, "spec")


def _images(containers: Sequence[Fields], at: str) -> Iterator[Complaint]:
    for number, container in enumerate(containers):
        if not container.get("image"):
            yield required(f"{at}[{number}].image")
        yield from untrimmed_image(container, f"{at}[{number}]")


def _deadline(value: int | None, held: int | None) -> tuple[list[Complaint], bool]:
    """The complaints, and whether nothing else is looked at then."""
    at = "spec.activeDeadlineSeconds"
    if value is None:
        text = "must not update from a positive integer to nil value"
        return ([invalid_value(at, None, text)] if held is not None else []), False
    found = list(within(value, at, 0, INT32_MAX))
    if not found and held is not None and held < value:
        found = [invalid_value(at, value, "must be less than or equal to previous value")]
    return found, bool(found)


def _tolerations(mine: Sequence[Fields], held: Sequence[Fields]) -> Iterator[Complaint]:
    def key(each: Fields) -> dict[str, Any]:
        return {name: value for name, value in each.items() if name != "tolerationSeconds" and value}

    if not all(any(same(key(old), key(new)) for new in mine) for old in held):
        text = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden_value("spec.tolerations", text)
        return
    yield from toleration_complaints(mine, "spec.tolerations")


def _gates(mine: Sequence[Fields], held: Sequence[Fields]) -> Iterator[Complaint]:
    known = {gate.get("name") for gate in held}
    for number, gate in enumerate(mine):
        if gate.get("name") not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden_value(f"spec.schedulingGates[{number}].name", text)


def _rest(spec: Fields, before: Fields) -> Iterator[Complaint]:
    """Everything else must be as it was; a gated pod may still be told more narrowly where to run."""
    compared = dict(spec)
    for field in ("containers", "initContainers"):
        pairs = zip(spec.get(field) or (), before.get(field) or (), strict=True)
        images = [{**mine, "image": held.get("image")} for mine, held in pairs]
        if images:
            compared[field] = images
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _like(compared, before, field)
    grace = before.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        compared["terminationGracePeriodSeconds"] = grace
    if before.get("schedulingGates"):
        yield from _narrowed(compared, before)
    if not same(compared, before):
        changed = difference("core.PodSpec", before, compared)
        yield forbidden_value("spec", f"pod updates may not change fields other than {_UPDATABLE}\n{changed}")


def _like(target: dict[str, Any], source: Fields, field: str) -> None:
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


def _narrowed(compared: dict[str, Any], before: Fields) -> Iterator[Complaint]:
    mine, held = compared.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(mine.get(key) != value for key, value in held.items()):
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield invalid_value("spec.nodeSelector", mine, text)
    _like(compared, before, "nodeSelector")
    nodes, known = ((each.get("affinity") or {}).get("nodeAffinity") for each in (compared, before))
    if same(nodes, known):
        return
    yield from _narrowed_terms(nodes or {}, known or {})
    affinity = dict(compared.get("affinity") or {})
    _like(affinity, before.get("affinity") or {}, "nodeAffinity")
    if affinity or before.get("affinity") is not None:
        compared["affinity"] = affinity
    else:
        compared.pop("affinity", None)


def _narrowed_terms(nodes: Fields, known: Fields) -> Iterator[Complaint]:
    if known.get(_REQUIRED) is None:
        return
    at = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    held = known[_REQUIRED].get("nodeSelectorTerms") or []
    mine = (nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    if held and len(held) != len(mine):
        text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid_value(at, _shown_terms(mine) or None, text)
        return
    for number, (old, new) in enumerate(zip(held, mine, strict=True)):
        if not _only_adds(new, old):
            text = "only additions are allowed (no mutations or deletions)"
            yield invalid_value(f"{at}[{number}]", _shown_terms([new])[0], text)


def _shown_terms(terms: Sequence[Fields]) -> list[Any]:
    from tiphys.api import internal_names

    return [internal_names.shown("core.NodeSelectorTerm", term) for term in terms]


def _only_adds(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    fields = ("matchExpressions", "matchFields")
    if not any(old.get(field) for field in fields):
        return not any(new.get(field) for field in fields)
    return all(same((new.get(f) or [])[: len(old.get(f) or [])], old.get(f) or []) for f in fields)


# Subresources


def ephemeral_update(obj: Object, old: Object) -> Iterator[Complaint]:
    """``/ephemeralcontainers``: containers may be added, never changed or taken away."""
    if MIRROR in (old["metadata"].get("annotations") or {}):
        yield forbidden_value("", "static pods do not support ephemeral containers")
        return
    yield from pod_complaints(obj)
    yield from annotation_changes(obj, old)
    at = "spec.ephemeralContainers"
    mine = {each.get("name"): each for each in (obj.get("spec") or {}).get("ephemeralContainers") or ()}
    for each in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = each.get("name") or ""
        if name not in mine:
            yield forbidden_value(at, f'existing ephemeral containers "{name}" may not be removed\n')
        elif not same(each, mine[name]):
            changed = difference("core.EphemeralContainer", each, mine[name])
            yield forbidden_value(at, f'existing ephemeral containers "{name}" may not be changed\n{changed}')


def resize(obj: Object, old: Object) -> Iterator[Complaint]:
    """``/resize``: cpu and memory of containers, without a change of the pod's class."""
    from tiphys.cluster.apiserver.strategies import qos_class

    yield from pod_complaints(obj)
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    if qos_class(obj) != (old.get("status") or {}).get("qosClass"):
        told = (obj.get("status") or {}).get("qosClass") or ""
        yield invalid_value("spec", told, "Pod QOS Class may not change as a result of resizing")
    ordering = list(_same_containers(spec, before))
    yield from ordering
    if ordering:
        return
    compared = dict(spec)
    for field, name in (("initContainers", "init"), ("containers", "")):
        for number, (mine, held) in enumerate(zip(spec.get(field) or (), before.get(field) or (), strict=True)):
            if not name or held.get("restartPolicy") == "Always":
                yield from _resized(mine.get("resources") or {}, held.get("resources") or {}, f"spec.{field}[{number}]")
    found = False
    for field, what in (("containers", "container"), ("initContainers", "init")):
        kept = []
        for mine, held in zip(spec.get(field) or (), before.get(field) or (), strict=True):
            sidecar = what == "init" and mine.get("restartPolicy") == "Always"
            own = _with_amounts_of(mine, held) if what == "container" or sidecar else mine
            if not same(own, held):
                found = True
                text = "only cpu and memory resources are mutable"
                if what == "init":
                    text = "resources for non-sidecar init containers are immutable"
                    text = "only cpu and memory resources for sidecar containers are mutable" if sidecar else text
                yield forbidden_value("spec", text)
            kept.append(own)
        if kept:
            compared[field] = kept
    if not found and not same(compared, before):
        yield forbidden_value("spec", "only cpu and memory resources are mutable")


def _same_containers(spec: Fields, before: Fields) -> Iterator[Complaint]:
    for field in ("containers", "initContainers"):
        mine, held = spec.get(field) or [], before.get(field) or []
        if len(mine) != len(held):
            yield forbidden_value(f"spec.{field}", f"{field} may not be added or removed on resize")
            continue
        for number, (new, old) in enumerate(zip(mine, held, strict=True)):
            if new.get("name") != old.get("name"):
                text = f"{field} may not be renamed or reordered on resize"
                yield forbidden_value(f"spec.{field}[{number}].name", text)


def _resized(mine: Fields, held: Fields, at: str) -> Iterator[Complaint]:
    for side, what in (("requests", "requests"), ("limits", "limits")):
        if (held.get(side) or {}).keys() - (mine.get(side) or {}).keys():
            yield forbidden_value(f"{at}.resources.{side}", f"resource {what} cannot be removed")


def _with_amounts_of(mine: Fields, held: Fields) -> dict[str, Any]:
    """A container with cpu and memory as they were."""
    own, before = mine.get("resources") or {}, held.get("resources") or {}
    resources: dict[str, Any] = {}
    for side in ("limits", "requests"):
        others = {name: value for name, value in (own.get(side) or {}).items() if name not in ("cpu", "memory")}
        kept = {n: v for n, v in (before.get(side) or {}).items() if n in ("cpu", "memory")}
        if others or kept:
            resources[side] = others | kept
    return {**mine, "resources": resources}
