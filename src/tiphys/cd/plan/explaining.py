"""Why an application is not Synced and Healthy: the chain from it down to the cause, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.cd.plan.health import Health, HealthError
from tiphys.cd.plan.objects import Object, ResourceKey, gvk_of, key_of, metadata_of, name_of, namespace_of
from tiphys.cd.plan.operation import is_in_progress

_GOOD: Final = frozenset(("Healthy", "Suspended", ""))
_DEPTH_MAX: Final = 6
_SHOWN_MAX: Final = 20

Check = Callable[[Object], Health | None]


def explained(app: Object, objects: Sequence[Object], check: Check) -> Iterator[str]:
    """``objects`` are its live objects and whatever belongs to them, in any order."""
    status = app.get("status") or {}
    sync, health = ((status.get(part) or {}).get("status") or "Unknown" for part in ("sync", "health"))
    yield f"{name_of(app)} is {sync} and {health}"
    yield from _operation(app)
    for condition in status.get("conditions") or ():
        yield f"  {condition.get('type')}: {condition.get('message')}"
    yield from _differing(status)
    yield from _unhealthy(status, objects, check)


def _operation(app: Object) -> Iterator[str]:
    state = (app.get("status") or {}).get("operationState")
    if state is None:
        yield "  it was never synced: nobody asked for it, and it has no automated sync policy that lets it"
        return
    how = "goes on" if is_in_progress(app) else f"ended {state.get('phase')}"
    yield f"  the sync {how}: {state.get('message') or 'no message'}"
    for each in (state.get("syncResult") or {}).get("resources") or ():
        if each.get("status") == "SyncFailed" or each.get("hookPhase") in ("Failed", "Error"):
            yield f"    {_reference(each)}: {each.get('message')}"


def _differing(status: Mapping[str, Any]) -> Iterator[str]:
    wrong = [each for each in status.get("resources") or () if each.get("status") == "OutOfSync"]
    for each in wrong[:_SHOWN_MAX]:
        why = "it is in Git no more and waits to be pruned" if each.get("requiresPruning") else "it differs from Git"
        yield f"  {_reference(each)} is OutOfSync: {why}"
    if len(wrong) > _SHOWN_MAX:
        yield f"  … and {len(wrong) - _SHOWN_MAX} more"


def _unhealthy(status: Mapping[str, Any], objects: Sequence[Object], check: Check) -> Iterator[str]:
    by_key = {key_of(obj): obj for obj in objects}
    children: dict[str, list[Object]] = {}
    for obj in objects:
        for owner in metadata_of(obj).get("ownerReferences") or ():
            children.setdefault(str(owner.get("uid")), []).append(obj)
    for each in status.get("resources") or ():
        key = ResourceKey(*(str(each.get(name) or "") for name in ("group", "kind", "namespace", "name")))
        if key in by_key:
            yield from _chain(by_key[key], children, check, 1)
        elif not each.get("hook"):
            yield f"  {_reference(each)} is Missing"


def _chain(obj: Object, children: Mapping[str, Sequence[Object]], check: Check, depth: int) -> Iterator[str]:
    """The object where it is not well, then those below it that are not; the last is the cause."""
    try:
        health = check(obj)
    except HealthError as err:
        health = Health("Unknown", str(err))
    below = children.get(str(metadata_of(obj).get("uid")), ())
    if health is not None and health.status in _GOOD:
        return
    if health is not None:
        kind = gvk_of(obj).kind
        where = f"{kind} {namespace_of(obj)}/{name_of(obj)}" if namespace_of(obj) else f"{kind} {name_of(obj)}"
        yield f"{'  ' * depth}{where} is {health.status}" + (f": {health.message}" if health.message else "")
    if depth < _DEPTH_MAX:
        for each in below:
            yield from _chain(each, children, check, depth + 1)


def _reference(entry: Mapping[str, Any]) -> str:
    place = f"{entry['namespace']}/" if entry.get("namespace") else ""
    return f"{entry.get('kind')} {place}{entry.get('name')}"
