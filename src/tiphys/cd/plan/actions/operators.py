"""Kinds of single operators: databases, message brokers, secrets, autoscalers."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.actions.action import (
    Action,
    ActionError,
    Call,
    Object,
    annotate,
    annotation,
    get,
    lift,
    put,
    set_to,
    without,
)

_LOOP = "cnpg.io/reconciliationLoop"
_ROLLING = "strimzi.io/manual-rolling-update"
_KEDA_PAUSED = "autoscaling.keda.sh/paused"
_KEDA_REPLICAS = "autoscaling.keda.sh/paused-replicas"
_PAUSE_ICON = "fa fa-fw fa-pause-circle"
_PLAY_ICON = "fa fa-fw fa-play-circle"
_ZERO_INTERVALS = {f"0{unit}" for unit in ("", "ns", "us", "µs", "ms", "s", "m", "h")}


def _is_loop_disabled(obj: Object) -> bool:
    return bool(annotation(obj, _LOOP) == "disabled")


def _healthy(obj: Object) -> list[str]:
    return list(get(obj, "status.instancesStatus.healthy", ()))


def _promote(call: Call) -> dict[str, Any]:
    """Makes another healthy instance of a PostgreSQL cluster the primary: the named, or the next after the present."""
    wanted = call.parameters.get("instance")
    if wanted is None:
        raise ActionError("parameter instance is required")
    chosen = _instance(call.object, wanted)
    if chosen is None:
        raise ActionError(f"Could not find a healthy instance matching the criteria: {wanted}")
    status = {
        **(call.object.get("status") or {}),
        "targetPrimary": chosen,
        "targetPrimaryTimestamp": call.stamp,
        "phase": "Switchover in progress",
        "phaseReason": f"Switching over to {chosen}",
    }
    return {**call.object, "status": status}


def _instance(obj: Object, wanted: str) -> str | None:
    healthy = _healthy(obj)
    if wanted == "any":
        primary = get(obj, "status.currentPrimary")
        at = healthy.index(primary) + 1 if primary in healthy else 0
        return healthy[at % len(healthy)] if healthy else None
    name = f"{get(obj, 'metadata.name', '')}-{wanted}" if wanted.lstrip("-").isdecimal() else wanted
    return name if name in healthy else None


def _is_zero(obj: Object) -> bool:
    interval = get(obj, "spec.refreshInterval")
    return interval is not None and str(interval) in _ZERO_INTERVALS


def _is_scaling_paused(obj: Object) -> bool:
    return bool(annotation(obj, _KEDA_PAUSED) == "true")


def _is_scaling_held(obj: Object) -> bool:
    return _is_scaling_paused(obj) or annotation(obj, _KEDA_REPLICAS) is not None


def _hold_replicas(call: Call) -> dict[str, Any]:
    replicas = call.number("replicas")
    if replicas < 0:
        raise ActionError(f"invalid number: {call.parameters['replicas']} (must be >= 0)")
    return put(call.object, ("metadata", "annotations", _KEDA_REPLICAS), str(replicas), missing=1)


def _without_annotations(*names: str) -> Any:
    def run(call: Call) -> dict[str, Any]:
        obj = dict(call.object)
        for name in names:
            obj = without(obj, ("metadata", "annotations", name))
        return obj

    return run


def _stamped(name: str) -> Any:
    return annotate(name, lambda call: call.stamp)


ACTIONS = {
    ("core.strimzi.io", "StrimziPodSet"): (
        Action(
            "rolling-update",
            annotate(_ROLLING, lambda _: "true"),
            disabled=lambda obj: annotation(obj, _ROLLING) == "true",
        ),
    ),
    ("external-secrets.io", "ExternalSecret"): (
        Action(
            "refresh",
            _stamped("force-sync"),
            disabled=lambda obj: _is_zero(obj) and get(obj, "spec.refreshPolicy") != "OnChange",
        ),
    ),
    ("external-secrets.io", "PushSecret"): (Action("push", _stamped("force-sync"), disabled=_is_zero),),
    ("k8s.mariadb.com", "MariaDB"): (
        Action(
            "resume",
            lift("spec", "suspend"),
            shown=lambda obj: get(obj, "spec.suspend") is True,
            icon="fa fa-fw fa-play",
            display="Resume",
        ),
        Action(
            "suspend",
            set_to(True, "spec", "suspend"),
            shown=lambda obj: get(obj, "spec.suspend") is not True,
            icon="fa fa-fw fa-pause",
            display="Suspend",
        ),
    ),
    ("keda.sh", "ScaledJob"): (
        Action("pause", annotate(_KEDA_PAUSED, lambda _: "true"), disabled=_is_scaling_paused, icon=_PAUSE_ICON),
        Action(
            "resume",
            _without_annotations(_KEDA_PAUSED),
            disabled=lambda obj: not _is_scaling_paused(obj),
            icon=_PLAY_ICON,
        ),
    ),
    ("keda.sh", "ScaledObject"): (
        Action("pause", annotate(_KEDA_PAUSED, lambda _: "true"), disabled=_is_scaling_held, icon=_PAUSE_ICON),
        Action(
            "paused-replicas",
            _hold_replicas,
            disabled=_is_scaling_paused,
            icon=_PAUSE_ICON,
            parameters=("replicas",),
        ),
        Action(
            "resume",
            _without_annotations(_KEDA_PAUSED, _KEDA_REPLICAS),
            disabled=lambda obj: not _is_scaling_held(obj),
            icon=_PLAY_ICON,
        ),
    ),
    ("postgresql.cnpg.io", "Cluster"): (
        Action(
            "promote",
            _promote,
            disabled=lambda obj: len(_healthy(obj)) < 2,
            icon="fa fa-fw fa-angles-up",
            display="Promote Replica to Primary",
            parameters=("instance",),
        ),
        Action(
            "reload",
            _stamped("cnpg.io/reloadedAt"),
            icon="fa fa-fw fa-rotate-right",
            display="Reload all Configuration",
        ),
        Action(
            "restart",
            _stamped("kubectl.kubernetes.io/restartedAt"),
            icon="fa fa-fw fa-recycle",
            display="Rollout restart Cluster",
        ),
        Action(
            "resume",
            _without_annotations(_LOOP),
            shown=_is_loop_disabled,
            icon="fa fa-fw fa-play",
            display="Resume Reconciliation",
        ),
        Action(
            "suspend",
            annotate(_LOOP, lambda _: "disabled"),
            shown=lambda obj: not _is_loop_disabled(obj),
            icon="fa fa-fw fa-pause",
            display="Suspend Reconciliation",
        ),
    ),
    ("psmdb.percona.com", "PerconaServerMongoDB"): (
        Action(
            "pause",
            set_to(True, "spec", "pause"),
            disabled=lambda obj: get(obj, "spec.pause") is True,
            icon=_PAUSE_ICON,
        ),
        Action(
            "unpause",
            set_to(False, "spec", "pause"),
            disabled=lambda obj: get(obj, "spec.pause") is not True,
            icon=_PLAY_ICON,
        ),
    ),
}
