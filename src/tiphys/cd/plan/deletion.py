"""Deleting an application: PreDelete hooks ─► its objects, highest wave first ─► PostDelete hooks ─► clean-up.

The hooks of deletion are no hooks of a sync: they stand in Git like other objects and are made when their time comes.
Never deleted: definitions of kinds, the application's own object, what asks to be kept, what the project does not
permit, and what is no member of the application although it carries its mark. Source: argo-cd controller/hook.go,
sort_delete.go, appcontroller.go; judged by golden/cd delete-hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tiphys.cd.plan.health import Health, is_worse
from tiphys.cd.plan.markers import (
    HELM_HOOK,
    HELM_RESOURCE_POLICY,
    HOOK,
    comma_list,
    delete_policies,
    hook_types,
    is_hook,
    option_value,
    wave_of,
)
from tiphys.cd.plan.objects import (
    Object,
    ResourceKey,
    annotations_of,
    is_being_deleted,
    is_crd,
    key_of,
    namespace_of,
    with_metadata,
)

HookType = Literal["PreDelete", "PostDelete"]
Check = Callable[[Object], Health | None]

_HELM_TYPES: Final[dict[HookType, str]] = {"PreDelete": "pre-delete", "PostDelete": "post-delete"}
_SYNC_TYPES: Final = frozenset(("PreSync", "Sync", "PostSync", "SyncFail"))


@dataclass(frozen=True)
class HookStep:
    """What is to be done next for the hooks of one type; ``is_over`` when nothing is left. ``failure`` names those
    that failed: they are deleted, so that mended ones can run."""

    is_over: bool
    created: tuple[Object, ...] = ()
    deleted: tuple[Object, ...] = ()
    failure: str = ""


def is_delete_hook(obj: Object, kind: HookType) -> bool:
    return kind in comma_list(obj, HOOK) or _HELM_TYPES[kind] in comma_list(obj, HELM_HOOK)


def is_any_hook(obj: Object) -> bool:
    """A hook of a sync or of the deletion."""
    return is_hook(obj) or is_delete_hook(obj, "PreDelete") or is_delete_hook(obj, "PostDelete")


def for_sync(targets: Sequence[Object]) -> tuple[list[Object], bool, bool]:
    """The targets that a sync has to do with, and whether there are PreDelete and PostDelete hooks."""
    before = [obj for obj in targets if is_delete_hook(obj, "PreDelete")]
    after = [obj for obj in targets if is_delete_hook(obj, "PostDelete")]
    if not before and not after:
        return list(targets), False, False
    only_deletion = [obj for obj in (*before, *after) if not _SYNC_TYPES.intersection(hook_types(obj))]
    kept = [obj for obj in targets if not any(obj is other for other in only_deletion)]
    return kept, bool(before), bool(after)


def run_hooks(
    kind: HookType,
    targets: Sequence[Object],
    live: Mapping[ResourceKey, Object],
    namespace: str,
    tracked: Callable[[Object], Object],
    check: Check,
) -> HookStep:
    """Makes the hooks that are not there yet, then waits for all. ``check`` raises HealthError."""
    running = {key: obj for key, obj in live.items() if is_delete_hook(obj, kind)}
    placed = [obj if namespace_of(obj) else with_metadata(obj, namespace=namespace) for obj in targets]
    missing = [obj for obj in placed if is_delete_hook(obj, kind) and key_of(obj) not in running]
    if missing:
        return HookStep(False, created=tuple(map(tracked, missing)))
    verdicts = [(obj, _status(obj, check)) for obj in running.values()]
    failed = [obj for obj, status in verdicts if status == "Degraded"]
    if failed:
        names = ", ".join(f"{key.namespace}/{key.name}" for key in map(key_of, failed))
        return HookStep(False, deleted=tuple(failed), failure=f"{kind} hook(s) failed: {names}")
    return HookStep(not any(status == "Progressing" for _obj, status in verdicts))


def clean_hooks(kind: HookType, live: Mapping[ResourceKey, Object], check: Check) -> HookStep:
    """Deletes hooks as their policies say, by the worst health of all of them."""
    hooks = [obj for obj in live.values() if is_delete_hook(obj, kind)]
    worst = "Healthy"
    for obj in hooks:
        status = _status(obj, check)
        worst = status if is_worse(worst, status) else worst
    policy = {"Degraded": "HookFailed", "Healthy": "HookSucceeded"}.get(worst)
    over = [obj for obj in hooks if policy in delete_policies(obj)]
    return HookStep(not over, deleted=tuple(obj for obj in over if not is_being_deleted(obj)))


def next_to_delete(live: Sequence[Object]) -> list[Object]:
    """Of the objects that are to go, those of the highest wave; the others wait for them."""
    if not live:
        return []
    highest = max(map(wave_of, live))
    return [obj for obj in live if wave_of(obj) == highest]


def is_kept(obj: Object, default: str | None) -> bool:
    """Whether the object survives its application. ``default`` is the application's ``Delete=`` option."""
    if is_crd(obj) or annotations_of(obj).get(HELM_RESOURCE_POLICY) == "keep":
        return True
    option = option_value(obj, "Delete")
    return (default if option is None else option) == "false"


def needs_confirmation(obj: Object, default: str | None) -> bool:
    """Whether a human has to agree before the object is deleted."""
    option = option_value(obj, "Delete")
    return (default if option is None else option) == "confirm"


def _status(obj: Object, check: Check) -> str:
    health = check(obj)
    return "Healthy" if health is None else health.status
