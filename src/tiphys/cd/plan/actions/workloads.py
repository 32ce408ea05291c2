"""Deployments, stateful sets, daemon sets, jobs and cron jobs."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.actions.action import Action, Call, Impact, Object, get, lift, put, set_to, without

_RESTARTED = ("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
_ENDING = ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet")

RESTART = Action("restart", lambda call: put(call.object, _RESTARTED, call.stamp, missing=2), icon="fa fa-fw fa-redo")
SCALE = Action(
    "scale",
    lambda call: put(call.object, ("spec", "replicas"), call.number("replicas")),
    icon="fa fa-fw fa-plus-circle",
    parameters=("replicas",),
)


def is_suspended(obj: Object) -> bool:
    return bool(get(obj, "spec.suspend"))


def is_completed(obj: Object) -> bool:
    """Whether a job has ended or is about to."""
    conditions = get(obj, "status.conditions", ())
    return any(one.get("type") in _ENDING and one.get("status") == "True" for one in conditions)


def _terminate(call: Call) -> dict[str, Any]:
    if call.object.get("status") is None or is_completed(call.object):
        return dict(call.object)
    condition = {
        "lastTransitionTime": call.stamp,
        "message": "Job was terminated explicitly through Argo CD",
        "reason": "ManuallyTerminated",
        "status": "True",
        "type": "FailureTarget",
    }
    return put(call.object, ("status", "conditions"), [*get(call.object, "status.conditions", ()), condition])


def _create_job(call: Call) -> list[Impact]:
    cron = call.object
    template = get(cron, "spec.jobTemplate", {})
    metadata = filled(template.get("metadata") or {}) or {}
    owner = {**owner_reference(cron), "blockOwnerDeletion": True, "controller": True}
    metadata.update(
        name=f"{cron['metadata']['name']}-{call.now:%y%m%d%H%M}",
        annotations={**metadata.get("annotations", {}), "cronjob.kubernetes.io/instantiate": "manual"},
        ownerReferences=[owner],
        **namespace_of(cron),
    )
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": filled(template.get("spec") or {})}
    return [Impact("create", {key: value for key, value in job.items() if value is not None})]


def owner_reference(obj: Object) -> dict[str, Any]:
    """What makes ``obj`` the owner of something new."""
    metadata = obj.get("metadata") or {}
    found = {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
    }
    return {key: value for key, value in found.items() if value is not None}


def namespace_of(obj: Object) -> dict[str, str]:
    namespace = get(obj, "metadata.namespace")
    return {} if namespace is None else {"namespace": namespace}


def filled(value: Any) -> Any:
    """A copy without what is empty: the original's scripts drop empty maps and lists when they copy."""
    if isinstance(value, dict):
        found = {key: inner for key, held in value.items() if (inner := filled(held)) is not None}
        return found if value else None
    if isinstance(value, list):
        return [inner for held in value if (inner := filled(held)) is not None] if value else None
    return value


ACTIONS = {
    ("apps", "DaemonSet"): (RESTART,),
    ("apps", "Deployment"): (
        RESTART,
        SCALE,
        Action(
            "pause",
            set_to(True, "spec", "paused"),
            disabled=lambda obj: bool(get(obj, "spec.paused")),
            icon="fa fa-fw fa-pause-circle",
        ),
        Action(
            "resume",
            lambda call: without(call.object, ("spec", "paused")),
            disabled=lambda obj: not get(obj, "spec.paused"),
            icon="fa fa-fw fa-play-circle",
        ),
    ),
    ("apps", "StatefulSet"): (RESTART, SCALE),
    ("batch", "CronJob"): (
        Action("create-job", _create_job, icon="fa fa-fw fa-plus", display="Create Job"),
        Action("resume", lift("spec", "suspend"), shown=is_suspended, icon="fa fa-fw fa-play"),
        Action(
            "suspend",
            set_to(True, "spec", "suspend"),
            shown=lambda obj: not is_suspended(obj),
            icon="fa fa-fw fa-pause",
        ),
    ),
    ("batch", "Job"): (
        Action(
            "resume",
            lift("spec", "suspend"),
            shown=lambda obj: not is_completed(obj) and is_suspended(obj),
            icon="fa fa-fw fa-play",
        ),
        Action(
            "suspend",
            set_to(True, "spec", "suspend"),
            shown=lambda obj: not is_completed(obj) and not is_suspended(obj),
            icon="fa fa-fw fa-pause",
        ),
        Action(
            "terminate",
            _terminate,
            shown=lambda obj: not is_completed(obj) and obj.get("status") is not None,
            icon="fa fa-fw fa-stop",
        ),
    ),
}
