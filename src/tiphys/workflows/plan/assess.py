"""What the state of a pod means for its node: a pure reading, with nothing else looked at.

Pending    Pending, with the reason that the kubelet or scheduler gives
Running    Running; a daemon only when all its containers are ready
Succeeded  Succeeded (a daemon: Failed, it should run for ever), once its outputs have arrived
Failed     Failed or Error, by the container that says most: init, main, wait, sidecars
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from tiphys.workflows.plan import usage
from tiphys.workflows.plan.nodes import COMPLETED, Node, moment
from tiphys.workflows.plan.templates import has_outputs, is_daemon, main_containers
from tiphys.workflows.settings import FailedPodRestart

Pod = Mapping[str, Any]
Status = Mapping[str, Any]

SUPERVISOR_FAILED = 65
AUXILIARY = ("wait", "supervisor")
ARTIFACT_PLUGIN = "artifact-plugin-"
"""How the names of sidecars of artifact plugins begin."""
RESTARTABLE = frozenset(("Evicted", "NodeShutdown", "NodeAffinity", "UnexpectedAdmissionError"))


class Assessment(NamedTuple):
    """``fields`` of the node that differ now (None: nothing). ``containers``: nodes of a container set by name.

    ``result_complete`` says that no task result can come any more; ``restarts`` that the pod is to be deleted so that
    it is made again; ``stops`` that its remaining containers should be told to end.
    """

    fields: dict[str, Any] | None
    containers: Sequence[tuple[str, str, str | None]] = ()
    result_complete: bool = False
    restarts: bool = False
    stops: bool = False


def assess(
    pod: Pod, node: Node, template: Mapping[str, Any] | None, restart: FailedPodRestart, now: datetime
) -> Assessment:
    """Reads a pod into its node."""
    status = pod.get("status") or {}
    phase = status.get("phase") or "Pending"
    new: dict[str, Any] = {}
    restarts = stops = False
    if phase == "Pending":
        new.update(phase="Pending", message=pending_reason(status), daemoned=False)
    elif phase == "Succeeded":
        new.update(phase="Failed" if is_daemon(template) else "Succeeded", daemoned=False, restarting_pod_uid="")
    elif phase == "Failed":
        new["phase"], new["message"] = failed_reason(pod, template)
        new["daemoned"] = False
        uid = str((pod.get("metadata") or {}).get("uid") or "")
        if uid and uid == node.restarting_pod_uid and node.phase == "Pending":
            return Assessment(None)
        if _may_restart(pod, template, node, restart):
            restarts = True
            if uid != node.restarting_pod_uid:
                why = f"Pod auto-restarting due to {status.get('reason', '')}: {status.get('message', '')}"
                new.update(phase="Pending", message=why, restarting_pod_uid=uid)
                new["failed_pod_restarts"] = node.failed_pod_restarts + 1
    elif phase == "Running":
        if is_daemon(template):
            if not node.fulfilled:
                if not all(c.get("ready") for c in _containers(status)):
                    return Assessment(None)
                new.update(phase="Running", daemoned=True)
        else:
            new["phase"] = "Running"
        new["restarting_pod_uid"] = ""
        stops = template is not None and needs_termination(pod, template)
    else:
        name = (pod.get("metadata") or {}).get("name", "")
        new.update(phase="Error", message=f"Unexpected pod phase for {name}: {phase}")
    return _complete(pod, node, template, new, now, restarts=restarts, stops=stops)


def _complete(
    pod: Pod,
    node: Node,
    template: Mapping[str, Any] | None,
    new: dict[str, Any],
    now: datetime,
    *,
    restarts: bool,
    stops: bool,
) -> Assessment:
    status = pod.get("status") or {}
    new_phase = new.get("phase", node.phase)
    daemoned = new.get("daemoned", node.daemoned)
    if new_phase not in COMPLETED and daemoned:
        new["pod_ip"] = status.get("podIP", "")
    new["host_node_name"] = (pod.get("spec") or {}).get("nodeName", "")
    if not is_valid_progress(node.progress):
        new["progress"] = "0/1"
    outputs = node.outputs
    exit_code = _exit_code(status)
    if exit_code is not None:
        outputs = {**(outputs or {}), "exitCode": str(exit_code)}
        new["outputs"] = outputs
    new_phase, result_complete = _await_auxiliary(status, node, new_phase)
    if new_phase == "Succeeded" and outputs is not None and _outputs_missing(template, outputs):
        new_phase = node.phase
    new["phase"] = new_phase
    message = new.get("message", node.message)
    if node.phase == "Pending" and new_phase not in ("Pending", "Failed", "Error") and node.message == message:
        new["message"] = ""
    synced = node.synced is not False
    if node.finished_at is None and ((new_phase in COMPLETED and synced) or (daemoned and new_phase != "Pending")):
        new["finished_at"] = latest_finish(status, now)
        new["resources_duration"] = usage.of_pod(pod)
    differing = {name: value for name, value in new.items() if getattr(node, name) != value}
    has_container_nodes = template is None or template.get("containerSet") is not None
    containers = _container_nodes(node, status) if has_container_nodes else ()
    return Assessment(differing or None, containers, result_complete, restarts, stops)


def _await_auxiliary(status: Status, node: Node, new_phase: str) -> tuple[str, bool]:
    """The phase while the container that reports outputs still works, and whether it cannot report any more."""
    complete, cleaned_up = False, True
    for container in _containers(status):
        if container.get("name") not in AUXILIARY:
            continue
        cleaned_up = False
        state = container.get("state") or {}
        terminated = state.get("terminated")
        if state.get("running") is not None and new_phase in COMPLETED and status.get("phase") != "Failed":
            new_phase = node.phase
        elif terminated is not None and terminated.get("exitCode", 0) != 0:
            complete = True
    if status.get("phase") == "Failed" and status.get("reason") == "Evicted" and cleaned_up:
        complete = True
    return new_phase, complete


def _outputs_missing(template: Mapping[str, Any] | None, outputs: Mapping[str, Any]) -> bool:
    declared = (template or {}).get("outputs") or {}
    if not has_outputs(declared):
        return False
    needs_artifacts = any(not artifact.get("optional") for artifact in declared.get("artifacts") or ())
    return (
        bool(declared.get("parameters") and outputs.get("parameters") is None)
        or (needs_artifacts and outputs.get("artifacts") is None)
        or (declared.get("result") is not None and outputs.get("result") is None)
    )


def _container_nodes(node: Node, status: Status) -> list[tuple[str, str, str | None]]:
    """What the containers of a container set mean for their nodes: name, phase and message (None: keep it)."""
    found: list[tuple[str, str, str | None]] = []
    for container in _containers(status):
        name = f"{node.name}.{container.get('name', '')}"
        state = container.get("state") or {}
        terminated = state.get("terminated")
        if terminated is not None:
            code = terminated.get("exitCode", 0)
            text = f"{container.get('name', '')}: {terminated.get('reason', '')} (exit code {code}): "
            text += str(terminated.get("message") or "")
            phase = "Succeeded" if code == 0 else "Error" if code == 64 else "Failed"
            found.append((name, phase, None if code == 0 else text))
        elif status.get("phase") == "Failed":
            found.append((name, "Failed", "Pod Failed whilst container running"))
        elif state.get("waiting") is not None:
            found.append((name, "Pending", None))
        elif state.get("running") is not None:
            found.append((name, "Running", None))
    return found


def pending_reason(status: Status) -> str:
    """Why a pod has not started, as far as its status tells."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting is not None:
            reason, message = waiting.get("reason", ""), waiting.get("message")
            return f"{reason}: {message}" if message else str(reason)
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "Unschedulable":
            return f"Unschedulable: {condition['message']}" if condition.get("message") else "Unschedulable"
    return ""


def failed_reason(pod: Pod, template: Mapping[str, Any] | None) -> tuple[str, str]:
    """The phase and message of a node whose pod failed."""
    status, meta = pod.get("status") or {}, pod.get("metadata") or {}
    if status.get("message"):
        return "Failed", str(status["message"])
    mains = main_containers(template)
    containers = _plugins_last(
        [*(status.get("initContainerStatuses") or ()), *_by_importance(_containers(status), mains)]
    )
    if not containers:
        missing = f"can't find failed message for pod {meta.get('name', '')} namespace {meta.get('namespace', '')}"
        return "Failed", missing
    main_ok = wait_ok = False
    for container in containers:
        name, state = container.get("name", ""), container.get("state") or {}
        if state.get("waiting") is not None:
            waiting = state["waiting"]
            why = f"due to {waiting.get('reason', '')}: {waiting.get('message', '')}"
            return "Error", f"Pod failed before {name} container starts {why}"
        terminated = state.get("terminated")
        if terminated is None:
            continue
        code = terminated.get("exitCode", 0)
        if code == 0:
            main_ok = main_ok or name in mains
            wait_ok = wait_ok or (name in AUXILIARY and name not in mains)
            continue
        text = f"{name}: {terminated.get('reason', '')} (exit code {code})"
        if terminated.get("message"):
            text += f": {terminated['message']}"
        if name == "init" or (name in AUXILIARY and name not in mains):
            return "Error", text
        if name in mains or code not in (137, 143):
            return "Failed", text
    return _unclear(main_ok, wait_ok)


def _plugins_last(containers: list[Status]) -> list[Status]:
    """Where another container failed, how the sidecars of artifact plugins ended then says nothing."""
    plugins = [c for c in containers if str(c.get("name", "")).startswith(ARTIFACT_PLUGIN)]
    others = [c for c in containers if c not in plugins]
    failed = any((_terminated(c) or {}).get("exitCode", 0) != 0 for c in others)
    return [*others, *plugins] if plugins and failed else containers


def _unclear(main_ok: bool, wait_ok: bool) -> tuple[str, str]:
    if main_ok and wait_ok:
        return "Succeeded", ""
    if main_ok:
        return "Failed", "pod failed: wait container did not complete successfully"
    if wait_ok:
        return "Failed", "pod failed: main container did not complete successfully"
    return "Failed", "pod failed: neither main nor wait container completed successfully"


def _by_importance(containers: Sequence[Status], mains: list[str]) -> list[Status]:
    gave_way = any(
        c.get("name") in mains and _terminated(c) is not None and _terminated(c).get("exitCode") == SUPERVISOR_FAILED
        for c in containers
    )

    def rank(container: Status) -> int:
        name = container.get("name")
        if name == "supervisor":
            return 0 if gave_way else 2
        return 1 if name in mains else 2 if name == "wait" else 3

    return sorted(containers, key=rank)


def needs_termination(pod: Pod, template: Mapping[str, Any]) -> bool:
    """Whether the main containers are done while others (sidecars) may still run."""
    mains = main_containers(template)
    watched = [c for c in _containers(pod.get("status") or {}) if c.get("name") in mains]
    if any(_terminated(c) is not None and _terminated(c).get("exitCode", 0) != 0 for c in watched):
        return True
    return all(_terminated(c) is not None for c in watched)


def latest_finish(status: Status, now: datetime) -> datetime | None:
    """When the last container ended; now for one that still runs, None where nothing is known."""
    latest: datetime | None = None
    for container in [*(status.get("initContainerStatuses") or ()), *_containers(status)]:
        state = container.get("state") or {}
        if state.get("running") is not None:
            latest = now
        elif state.get("terminated") is not None:
            ended = moment(state["terminated"].get("finishedAt"))
            if ended is not None and (latest is None or ended > latest):
                latest = ended
    return latest


def _may_restart(pod: Pod, template: Mapping[str, Any] | None, node: Node, restart: FailedPodRestart) -> bool:
    status = pod.get("status") or {}
    if not restart.enabled or status.get("reason") not in RESTARTABLE:
        return False
    return not _main_started(status, template) and node.failed_pod_restarts < restart.max_restarts


def _main_started(status: Status, template: Mapping[str, Any] | None) -> bool:
    mains = main_containers(template)
    for container in _containers(status):
        if container.get("name") not in mains:
            continue
        state, last = container.get("state") or {}, container.get("lastState") or {}
        if state.get("running") is not None or last.get("running") is not None:
            return True
        if moment((state.get("terminated") or {}).get("startedAt")) is not None:
            return True
    return False


def _exit_code(status: Status) -> int | None:
    for container in _containers(status):
        if container.get("name") == "main" and _terminated(container) is not None:
            return int(_terminated(container).get("exitCode", 0))
    return None


def _containers(status: Status) -> Sequence[Status]:
    return status.get("containerStatuses") or ()


def _terminated(container: Status) -> Any:
    return (container.get("state") or {}).get("terminated")


def is_valid_progress(text: str) -> bool:
    """Whether a progress text (``N/M``) makes sense."""
    return progress_of(text) is not None


@lru_cache(maxsize=1024)
def progress_of(text: str) -> tuple[int, int] | None:
    """The numbers of a progress text (``N/M``), None where it makes no sense. Most pods say ``0/1``, then ``1/1``."""
    found = _PROGRESS.fullmatch(text)
    if found is None:
        return None
    done, total = int(found[1]), int(found[2])
    return (done, total) if done <= total and total > 0 else None


_PROGRESS = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")
