"""The health of a Pod, which depends on whether it is meant to end.

A pod that restarts always is a service: stuck containers make it Degraded. One that does not is a task, often a hook:
while it can still run it is Progressing, or a hook would fail that succeeds a moment later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cd.plan.health.reading import condition, number, objects, section, text, typed
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.markers import IGNORE_RESTART_POLICY, is_hook
from tiphys.cd.plan.objects import Object, annotations_of, at
from tiphys.lang.gofmt import quote


def pod_health(obj: Object) -> Health:
    typed(obj, "Pod", "v1")
    status, policy = section(obj, "status"), at(obj, "spec", "restartPolicy")
    is_service = policy == "Always" or (annotations_of(obj).get(IGNORE_RESTART_POLICY) == "true" and not is_hook(obj))
    stuck = _stuck(status) if is_service else []
    if stuck:
        return Health("Degraded", ", ".join(stuck))
    message = text(status, "message")
    match status.get("phase"):
        case "Pending":
            return Health("Progressing", message)
        case "Succeeded":
            return Health("Healthy", message)
        case "Failed":
            return Health("Degraded", message or _failure(status))
        case "Running" if is_service:
            return Health(_service_status(status), message)
        case "Running" if policy in ("OnFailure", "Never"):
            return Health("Progressing", message)
    return Health("Unknown", message)


def _stuck(status: Mapping[str, Any]) -> list[str]:
    """The messages of containers that wait because something is wrong."""
    messages = []
    for container in objects(status, "containerStatuses"):
        waiting = section(section(container, "state"), "waiting")
        reason = text(waiting, "reason")
        if reason.startswith("Err") or reason.endswith(("Error", "BackOff")):
            messages.append(text(waiting, "message"))
    return messages


def _failure(status: Mapping[str, Any]) -> str:
    for container in (*objects(status, "initContainerStatuses"), *objects(status, "containerStatuses")):
        terminated = section(section(container, "state"), "terminated")
        message, code = text(terminated, "message"), number(terminated, "exitCode")
        if message:
            return message
        if terminated.get("reason") == "OOMKilled":
            return "OOMKilled"
        if code:
            return f"container {quote(text(container, 'name'))} failed with exit code {code}"
    return ""


def _service_status(status: Mapping[str, Any]) -> Any:
    ready = condition(status, "Ready")
    if ready is not None and ready.get("status") == "True":
        return "Healthy"
    has_ended = any(at(c, "lastState", "terminated") is not None for c in objects(status, "containerStatuses"))
    return "Degraded" if has_ended else "Progressing"
