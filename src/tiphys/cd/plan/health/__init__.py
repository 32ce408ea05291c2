"""Health: what state a live object is in, by kind.

| Concept | File |
|---|---|
| the verdict; which is worse | ``verdict.py`` |
| the kinds that the original knows built in | ``builtin.py``, ``pods.py``, ``autoscalers.py`` |
| kinds of other projects, out of the box | ``others/`` |

Order: an object that is being deleted is Progressing; then the user's own checks (Lua, given as ``custom``); then ours.
"""

from __future__ import annotations

from collections.abc import Callable

from tiphys.cd.plan.health.builtin import CHECKS, Check
from tiphys.cd.plan.health.others import check_for
from tiphys.cd.plan.health.verdict import HEALTH_ORDER, Health, HealthError, HealthStatus, is_worse
from tiphys.cd.plan.markers import has_hook_finalizer
from tiphys.cd.plan.objects import Object, gvk_of, is_being_deleted, name_of, namespace_of

__all__ = ["HEALTH_ORDER", "Check", "Health", "HealthError", "HealthStatus", "is_worse", "resource_health"]


def resource_health(obj: Object, custom: Check | None = None, *, others: bool = True) -> Health | None:
    """The object's health; None where nothing is known of its kind. Raises HealthError: the health is Unknown.

    Without ``others`` only the kinds that the original's engine knows by itself are judged.

    A hook with our finalizer is judged although it is being deleted: its outcome still decides the sync.
    """
    if is_being_deleted(obj) and not has_hook_finalizer(obj):
        return Health("Progressing", "Pending deletion")
    if custom is not None:
        try:
            verdict = custom(obj)
        except HealthError as err:
            where = f"{namespace_of(obj)}/{name_of(obj)}"
            raise HealthError(f"failed to get resource health for {where}: {err}") from err
        if verdict is not None:
            return verdict
    check = built_in_check(obj, others=others)
    return check(obj) if check is not None else None


def built_in_check(obj: Object, *, others: bool = True) -> Callable[[Object], Health | None] | None:
    """A check of ours for other projects' kinds comes before one for Kubernetes' own, as the original's scripts do."""
    gvk = gvk_of(obj)
    found = check_for(gvk.group, gvk.kind) if others else None
    return found or CHECKS.get((gvk.group, gvk.kind))
