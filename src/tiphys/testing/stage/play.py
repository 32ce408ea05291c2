"""What a pod on the stage does next: a pure function from the pod as it is, the script and the time.

    Pending ──startAfter──► Running ──duration──► Succeeded | Failed
       │                       │
       └── deleted: gone       └── deleted, or past its activeDeadlineSeconds: Failed (143)

The task result is written before the pod's last status, so that nobody sees a finished pod without its outputs.
Nothing is remembered outside the API: a stage that is started again goes on where the pods are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from tiphys.machinery.actions import Action, Create, Delete, Patch, Plan
from tiphys.machinery.resources import PODS, WORKFLOW_TASK_RESULTS, key_of
from tiphys.machinery.times import parse_time, to_time
from tiphys.testing.stage.rules import Part, Role, Script

Object = Mapping[str, Any]

_WORKFLOW = "workflows.argoproj.io/workflow"
_NODE_NAME = "workflows.argoproj.io/node-name"
_NODE_ID = "workflows.argoproj.io/node-id"
_TEMPLATE = "workflows.argoproj.io/template"
_REPORTED = "workflows.argoproj.io/report-outputs-completed"
_ATTEMPT = re.compile(r"\((\d+)\)$")
_POD_IP = "10.88.0.2"
_KILLED = 143
_DEADLINE = "Pod was active on the node longer than the specified deadline"


def play(pod: Object, script: Script, now: datetime) -> Plan:
    """The next status of ``pod``, or when to look again."""
    status = pod.get("status") or {}
    phase = status.get("phase") or "Pending"
    if pod["metadata"].get("deletionTimestamp"):
        return _leave(pod, phase, now)
    if phase in ("Succeeded", "Failed"):
        return Plan()
    part = script.part(role_of(pod))
    if phase == "Pending":
        return _enter(pod, part, now)
    return _go_on(pod, part, now)


def without_ended(pod: Object) -> Object:
    """A pod, or of one that has ended only what `play` asks about it."""
    phase, meta = (pod.get("status") or {}).get("phase"), pod["metadata"]
    if phase not in ("Succeeded", "Failed"):
        return pod
    return {
        "metadata": {part: meta[part] for part in _NAME_TAG if part in meta},
        **_rest_of_ended(phase, pod["spec"].get("nodeName")),
    }


@lru_cache(maxsize=256)
def _rest_of_ended(phase: str, node: str | None) -> Object:
    """Shared by all that ended like this: there may be a hundred thousand."""
    return {"spec": {"nodeName": node} if node is not None else {}, "status": {"phase": phase}}


_NAME_TAG = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")


def role_of(pod: Object) -> Role:
    meta = pod["metadata"]
    annotations = meta.get("annotations") or {}
    node = annotations.get(_NODE_NAME, "")
    attempt = _ATTEMPT.search(node)
    return Role(
        pod=meta["name"],
        workflow=(meta.get("labels") or {}).get(_WORKFLOW, ""),
        template=_template(annotations).get("name", ""),
        node=node,
        attempt=int(attempt[1]) if attempt else None,
    )


def _template(annotations: Mapping[str, str]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(annotations.get(_TEMPLATE) or "{}")
    return found


def _enter(pod: Object, part: Part, now: datetime) -> Plan:
    if part.phase == "Pending":
        waiting = {"reason": part.reason or "ContainerCreating", "message": part.message}
        return _status(pod, "Pending", _containers(pod, {"waiting": waiting}, ready=False))
    start_at = parse_time(pod["metadata"]["creationTimestamp"]) + part.start_after
    if now < start_at:
        return Plan(wake_at=start_at)
    if part.phase != "Running" and not part.duration and not _is_daemon(pod):
        return _end(pod, part, now, now)
    return _status(
        pod,
        "Running",
        _containers(pod, {"running": {"startedAt": _precise(now)}}, ready=True),
        startTime=to_time(now),
        podIP=_POD_IP,
    )


def _go_on(pod: Object, part: Part, now: datetime) -> Plan:
    began = _began(pod)
    deadline_seconds = pod["spec"].get("activeDeadlineSeconds")
    ends = [] if part.phase == "Running" or _is_daemon(pod) else [began + part.duration]
    deadline = began + timedelta(seconds=deadline_seconds) if deadline_seconds is not None else None
    if deadline is not None and now >= deadline and not (ends and ends[0] <= deadline):
        killed = Part("Failed", _KILLED, reason="DeadlineExceeded", message=_DEADLINE)
        return _end(pod, killed, began, now)
    if ends and now >= ends[0]:
        return _end(pod, part, began, now)
    if deadline is not None:
        ends.append(deadline)
    return Plan(wake_at=min(ends, default=None))


def _leave(pod: Object, phase: str, now: datetime) -> Plan:
    """Deleted: what runs is killed, then the object goes."""
    goodbye = Delete(PODS, key_of(pod), pod["metadata"].get("uid"), grace_seconds=0, why="deleted")
    if phase != "Running":
        return Plan(((goodbye,),))
    return Plan((*_end(pod, Part("Failed", _KILLED), _began(pod), now).stages, (goodbye,)))


def _end(pod: Object, part: Part, began: datetime, now: datetime) -> Plan:
    phase = "Failed" if part.exit_code or part.phase == "Failed" else "Succeeded"
    terminated = {
        "exitCode": part.exit_code,
        "reason": "Error" if part.exit_code else "Completed",
        "startedAt": _precise(began),
        "finishedAt": _precise(now),
    }
    fields = {"reason": part.reason, "message": part.message} if part.phase == "Failed" else {}
    last = _status(
        pod,
        phase,
        _containers(pod, {"terminated": terminated}, ready=False),
        startTime=to_time(began),
        podIP=_POD_IP,
        **{name: value for name, value in fields.items() if value},
    )
    result = _task_result(pod, part)
    return Plan(((result,), *last.stages)) if result is not None else last


def _task_result(pod: Object, part: Part) -> Action | None:
    meta = pod["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if _WORKFLOW not in labels or _NODE_ID not in annotations or part.outputs_lost:
        return None
    result: dict[str, Any] = {
        "apiVersion": WORKFLOW_TASK_RESULTS.api_version,
        "kind": WORKFLOW_TASK_RESULTS.kind,
        "metadata": {
            "namespace": meta["namespace"],
            "name": annotations[_NODE_ID],
            "labels": {_WORKFLOW: labels[_WORKFLOW], _REPORTED: "true"},
            "ownerReferences": meta.get("ownerReferences") or [],
        },
    }
    outputs = _outputs(_template(annotations), part, f"{labels[_WORKFLOW]}/{meta['name']}")
    if outputs:
        result["outputs"] = outputs
    return Create(WORKFLOW_TASK_RESULTS, result, why="the outputs of a finished pod")


def _outputs(template: Mapping[str, Any], part: Part, place: str) -> dict[str, Any]:
    """What the script says; a declared parameter that it does not name has its default, else no text.

    Artifacts are said to be where the local store would have them (``place`` is the beginning of the key).
    """
    declared = (template.get("outputs") or {}).get("parameters") or ()
    values = {
        parameter["name"]: str((parameter.get("valueFrom") or {}).get("default", ""))
        for parameter in declared
        if (parameter.get("valueFrom") or {}).get("path")
    }
    values.update(part.parameters)
    outputs: dict[str, Any] = {}
    if values:
        outputs["parameters"] = [{"name": name, "value": value} for name, value in values.items()]
    artifacts = (template.get("outputs") or {}).get("artifacts")
    if artifacts and part.exit_code == 0:
        outputs["artifacts"] = [
            {"s3": {"key": f"{place}/{artifact['name']}.tgz"}, **artifact} for artifact in artifacts
        ]
    if part.result is not None:
        outputs["result"] = part.result
    return outputs


def _status(pod: Object, phase: str, containers: list[dict[str, Any]], **fields: Any) -> Plan:
    status = {"phase": phase, "containerStatuses": containers, **fields}
    before = pod.get("status") or {}
    if all(before.get(name) == value for name, value in status.items()):
        return Plan()
    return Plan(((Patch(PODS, key_of(pod), {"status": status}, subresource="status"),),))


def _containers(pod: Object, state: Mapping[str, Any], ready: bool) -> list[dict[str, Any]]:
    return [
        {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def _is_daemon(pod: Object) -> bool:
    return bool(_template(pod["metadata"].get("annotations") or {}).get("daemon"))


def _began(pod: Object) -> datetime:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return parse_time(statuses[0].get("state", {}).get("running", {}).get("startedAt") or pod["status"]["startTime"])


def _precise(moment: datetime) -> str:
    return to_time(moment)
