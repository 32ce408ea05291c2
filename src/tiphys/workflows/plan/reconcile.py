"""Bringing the nodes in line with what happened: task results, pods, deadlines and shutdowns.

Only pods and results that changed are looked at, and those whose assessment changed something (it is repeated until it
does not, since a result may come before or after its pod's end).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan import execute, hooks, leaf, memoize, outputs, parallelism
from tiphys.workflows.plan.assess import assess, is_valid_progress
from tiphys.workflows.plan.nodes import ACTIVE, Node
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.state import ANNOTATION_REPORTED_IN, LABEL_ON_EXIT, LABEL_RESULT_COMPLETED, State
from tiphys.workflows.plan.templates import has_outputs, is_daemon

if TYPE_CHECKING:
    from tiphys.workflows.plan.templates import Template


def task_results(state: State) -> None:
    """Takes over outputs and progress that executors reported."""
    fresh, state.fresh_results = state.fresh_results, {}
    for name in {**state.stale_results, **fresh}:
        result = state.task_results.get(name)
        node = state.nodes.by_id.get(name)
        if result is None or node is None or node.memo_hit:
            continue
        _take_result(state, name, result, node)


def _take_result(state: State, name: str, result: Mapping[str, Any], node: Node) -> None:
    label = ((result.get("metadata") or {}).get("labels") or {}).get(LABEL_RESULT_COMPLETED)
    if label in ("true", "false"):
        _mark_result(state, node, complete=label == "true")
        if node.synced is False and not state.nodes.pod_exists(node.id):
            state.missing[node.id] = None
    state.stale_results.pop(name, None)
    if node.id in state.pod_of:
        state.fresh_pods[state.pod_of[node.id]] = None
    if label == "false" and node.completed:
        state.stale_results[name] = None
        if _may_still_come(state, node):
            state.at(state.now + timedelta(seconds=state.settings.recently_deleted_seconds), node.id)
            return
        _mark_result(state, node, complete=True)
    fields: dict[str, Any] = {}
    reported = result.get("outputs")
    if has_outputs(reported) and reported is not None:
        made = dict(reported)
        before = node.outputs or {}
        if "exitCode" not in made and before.get("exitCode") is not None:
            made["exitCode"] = before["exitCode"]
        fields["outputs"] = made
    progress = str(result.get("progress") or "")
    if is_valid_progress(progress):
        fields["progress"] = progress
    if fields and state.nodes.update(node, **fields):
        state.updated = True


def _may_still_come(state: State, node: Node) -> bool:
    """Whether a result that is not complete may be completed yet: the node ended, or its pod went, only just now.

    An evicted pod has no containers that tell when it ended; such a node has until its pod is gone.
    """
    if node.finished_at is None:
        return True
    age = (state.now - node.finished_at).total_seconds()
    gone = not state.nodes.pod_exists(node.id)
    recently_deleted = gone and age <= state.settings.recently_deleted_seconds
    return recently_deleted or age <= state.settings.task_result_timeout_seconds


def _mark_result(state: State, node: Node, *, complete: bool) -> None:
    """Notes whether outputs of a node are still to come; that alone is no reason to write."""
    completion = state.status.get("taskResultsCompletionStatus")
    if completion is not None:
        state.status["taskResultsCompletionStatus"] = {**completion, node.id: complete}
        if not complete:
            return
    before = node.synced
    if before is not None and state.nodes.update(node, synced=complete):
        state.synced_in_pass.setdefault(node.id, before)
        state.mark(node.id)


def is_result_incomplete(state: State, node: Node) -> bool:
    completion = state.status.get("taskResultsCompletionStatus")
    if completion is not None:
        return node.id in completion and not completion[node.id]
    return node.synced is False


def pods(state: State) -> bool:
    """Assesses what changed; False when outputs of a node that succeeded must be waited for first."""
    waits = running = False
    fresh, state.fresh_pods = state.fresh_pods, {}
    for name in fresh:
        view = state.pods.get(name)
        if view is None:
            continue
        if is_agent(state, name):
            _agent_pod(state, view.obj)
            continue
        node = state.nodes.by_id.get(view.node_id)
        if node is None or node.memo_hit:  # such a pod is of an earlier life, of which nobody knew in time
            continue
        changed, waiting = _assess(state, name, view.obj, node)
        waits = waits or waiting
        running = running or (changed and node.phase == "Running")
        if changed and _concerns_callers(state, node):
            state.mark(node.id)
    if state.shutdown or state.is_past_deadline:
        for name, view in list(state.pods.items()):
            if not is_agent(state, name):
                running = _control(state, view.obj, view.node_id) or running
    if waits:
        return False
    state.pod_running = running
    _refused_pods(state)
    _missing_pods(state)
    return True


def _concerns_callers(state: State, node: Node) -> bool:
    """Whether who called a node may have to do something about its change: not when a pod only begins to run.

    Then only hooks would look, and what `execute.only_waits_for_its_pod` knows of.
    """
    if node.phase != "Running" or hooks.are_declared(state):
        return True
    call = state.calls.get(node.id)
    return call is not None and not execute.only_waits_for_its_pod(state, call, node)


def _assess(state: State, name: str, pod: Mapping[str, Any], node: Node) -> tuple[bool, bool]:
    """Whether the node changed, and whether its outputs must be waited for."""
    template = template_of(state, node)
    result = assess(pod, node, template, state.settings.failed_pod_restart, state.second)
    if result.result_complete:
        _mark_complete_quietly(state, node)
    if result.restarts:
        leaf.delete_pod(state, node)
    if result.stops and name not in state.terminated:
        state.terminated.add(name)
        state.signalled.append(name)
    for child_name, phase, message in result.containers:
        child = state.node_named(child_name)
        if child is not None:
            state.mark_phase(child, phase, message)
    fields = result.fields
    if fields is None or (fields.get("phase") in ACTIVE and _was_ended(state, pod, node)):
        return False, False
    if fields.get("phase", node.phase) == "Succeeded":
        if is_result_incomplete(state, node):
            return False, True
        if _is_result_on_its_way(state, pod, node):
            state.fresh_pods[name] = None
            return False, True
    synced_before = state.synced_before_mark.pop(node.id, None)
    if synced_before is not None:
        fields["synced"] = synced_before
    changed = state.nodes.update(node, **fields)
    if changed:
        state.updated = True
        if result.result_complete or fields.get("phase") in ("Failed", "Error") or is_daemon(template):
            state.fresh_pods[name] = None  # the same pod may mean something else for the node as it is now
    outputs.export(state, node.outputs)
    if node.memoization is not None and node.phase == "Succeeded":
        memoize.save(state, node)
    if node.completed and node.synced is False and node.id in state.task_results:
        state.stale_results[node.id] = None
    return changed, False


def _is_result_on_its_way(state: State, pod: Mapping[str, Any], node: Node) -> bool:
    """Whether the pod's end names a result that was written with it and has not been seen yet.

    Both are durable at one moment but come through different watches. A result that somebody took away is not waited
    for longer than ``task_result_timeout_seconds``.
    """
    name = ((pod.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_REPORTED_IN)
    if not name or name in state.task_results or node.id in state.task_results:
        return False
    until = state.awaited_results.get(node.id)
    if until is None:
        until = state.now + timedelta(seconds=state.settings.task_result_timeout_seconds)
        state.awaited_results[node.id] = until
        state.at(until, node.id)
    return state.now < until


def _was_ended(state: State, pod: Mapping[str, Any], node: Node) -> bool:
    """Whether a shutdown or deadline ended a node whose pod is still winding down: it stays ended."""
    if not node.completed:
        return False
    return node.id in state.ended or bool(_why_not(state, on_exit=_is_on_exit(pod))) or _is_given_up(state, node)


def _is_given_up(state: State, node: Node) -> bool:
    """Whether the Retry node above an attempt has ended as well, so that nobody would look at the attempt again."""
    above = (state.nodes.by_id[parent] for parent in state.nodes.parents.get(node.id, ()) if node.retried)
    return any(parent.type == "Retry" and parent.phase_fulfilled for parent in above)


def _mark_complete_quietly(state: State, node: Node) -> None:
    """Marks a result complete; a change of the node by the same assessment takes that back once, as in the original."""
    if node.synced is False:
        state.synced_before_mark[node.id] = False
    _mark_result(state, node, complete=True)


def template_of(state: State, node: Node) -> Template | None:
    """The (unprocessed) template of a node, None where it cannot be found by name."""
    call = state.calls.get(node.id)
    try:
        if call is not None:
            return state.templates.resolve(call.context, call.holder)[1]
        if node.template_ref:
            context = state.templates.context_of(node.template_scope)
            return state.templates.resolve(context, {"templateRef": node.template_ref})[1]
    except Problem as err:
        state.mark_error(node, err)
        return None
    return state.templates.local.templates.get(node.template_name)


def _control(state: State, pod: Mapping[str, Any], node_id: str) -> bool:
    """Ends a pod that a shutdown or the workflow's deadline does not allow any longer.

    True when a node ended that way is seen with its pod still running: the original sets such a node to Running, says
    that pods are running and ends it again, in every pass.
    """
    node = state.nodes.by_id.get(node_id)
    phase = (pod.get("status") or {}).get("phase") or "Pending"
    if node is None or phase not in ("Pending", "Running"):
        return False
    why = _why_not(state, on_exit=_is_on_exit(pod))
    is_winding_down = node.completed and phase == "Running"
    if node.fulfilled:
        if is_winding_down and why:
            _end_below(state, node, why)
            _see_ended(state, node_id)
        return is_winding_down and bool(why)
    if is_winding_down:
        _see_ended(state, node_id)
    if why and (not node.completed or (is_winding_down and not _says_why(state, node, why))):
        _end(state, node, why)
    return is_winding_down


def _see_ended(state: State, node_id: str) -> None:
    """Notes that a node is seen after its end, which the original writes down, once."""
    state.updated = state.updated or node_id not in state.ended_seen
    state.ended_seen.add(node_id)


def _says_why(state: State, node: Node, why: str) -> bool:
    """Whether a node says why it ended; while it is executed, its lock takes the words away again in every pass."""
    return state.ended.get(node.id) == why and (node.message == why or not _is_left_alone(state, node))


def _is_left_alone(state: State, node: Node) -> bool:
    """Whether something above a node is done, so that nothing executes the node any more."""
    boundary = state.nodes.by_id.get(node.boundary_id)
    while boundary is not None and not boundary.phase_fulfilled:
        boundary = state.nodes.by_id.get(boundary.boundary_id)
    return boundary is not None


def _is_on_exit(pod: Mapping[str, Any]) -> bool:
    return LABEL_ON_EXIT in ((pod.get("metadata") or {}).get("labels") or {})


def _why_not(state: State, on_exit: bool) -> str:
    """Why a pod may not go on, "" where it may."""
    if state.shutdown and not state.lets_run(on_exit):
        return f"workflow shutdown with strategy:  {state.shutdown}"
    return "Step exceeded its deadline" if state.is_past_deadline and not on_exit else ""


def _end(state: State, node: Node, why: str) -> None:
    leaf.terminate_pod(state, node)
    if node.phase == "Running" and node.id in state.nodes.pass_before:
        state.nodes.pass_before[node.id] = "Running"  # seen running only in this pass: that is not told
    if node.completed:
        state.update(node, message=why)
    else:
        state.mark_phase(node, "Failed", why)
    state.mark(node.id)
    state.ended[node.id] = why
    state.updated = True
    _end_below(state, node, why)


def _end_below(state: State, node: Node, why: str) -> None:
    """Ends what is open below a node: the containers of a container set, and whatever else began in the meantime."""
    todo, seen = list(node.children), {node.id}
    while todo:
        child = state.nodes.by_id.get(todo.pop())
        if child is None or child.id in seen:
            continue
        seen.add(child.id)
        todo.extend(child.children)
        if not child.fulfilled:
            state.mark_phase(child, "Failed", why)
            state.mark(child.id)


def _refused_pods(state: State) -> None:
    """Nodes whose pod the API will not make are in Error, with its words; where a quota is full they wait for it."""
    if not state.refused and not state.delayed:
        return
    (refused, state.refused), (delayed, state.delayed) = (state.refused, {}), (state.delayed, {})
    node_of = {name: node_id for node_id, name in state.pod_of.items() if name in refused or name in delayed}
    for name, why in (*refused.items(), *delayed.items()):
        node = state.nodes.by_id.get(node_of.get(name, ""))
        if node is None or node.fulfilled:
            continue
        del state.pod_of[node.id]
        state.nodes.set_pod_exists(node.id, False)
        if name in refused:
            state.mark_error(node, why)
        else:
            again = state.now + timedelta(seconds=state.settings.quota_retry_seconds)
            state.held_back[node.id] = (again, why)
            state.at(again, node.id)
        state.mark(node.id)


def _missing_pods(state: State) -> None:
    """Nodes whose pod went away unseen: pending ones get another, running ones are in Error after a moment."""
    for node_id in list(state.missing):
        node = state.nodes.by_id.get(node_id)
        if node is None or node.type != "Pod" or node.phase_fulfilled or state.nodes.pod_exists(node_id):
            state.missing.pop(node_id, None)
            continue
        if node.phase == "Pending" or node.started_at is None:
            state.missing.pop(node_id, None)
            state.mark(node_id)
            continue
        ready = node.started_at + timedelta(seconds=state.settings.recently_started_seconds)
        if state.now <= ready:
            state.at(ready, node_id)
            continue
        state.missing.pop(node_id, None)
        state.mark_error(node, "pod deleted")
        state.mark(node_id)
        _containers_deleted(state, node)


def _containers_deleted(state: State, node: Node) -> None:
    for child_id in list(node.children):
        child = state.nodes.by_id.get(child_id)
        if child is not None and child.type == "Container":
            state.mark_error(child, "container deleted")
            _containers_deleted(state, child)


def without_pods(state: State) -> None:
    """Ends nodes without a pod of their own when a shutdown or deadline does not allow them any longer."""
    past = state.is_past_deadline
    if not state.shutdown and not past:
        return
    for node_id in list(state.nodes.open):
        node = state.nodes.by_id[node_id]
        if node.fulfilled:
            continue
        if state.shutdown and not state.lets_run(state.is_in_exit_handler(node)) and _ends_by_shutdown(state, node):
            why = f"Stopped with strategy '{state.shutdown}'"
            state.mark_phase(node, "Failed", why)
            state.mark(node_id)
            if parallelism.bounds_children(state, node.boundary_id):
                _end_below(state, node, why)  # an attempt that is a DAG would count as a running child for ever
        elif past and not state.is_in_exit_handler(node) and (node.phase == "Pending" or node.is_active_suspend):
            state.mark_phase(node, "Failed", "Step exceeded its deadline")
            state.mark(node_id)
        elif past and node.type == "Retry":
            state.mark(node_id)  # it may wait for a back-off, which is over now


def _ends_by_shutdown(state: State, node: Node) -> bool:
    if node.is_active_suspend or node.type in ("HTTP", "Plugin"):
        return True
    if node.phase == "Pending" and node.waiting_for:
        return True
    return node.type == "Retry" and _all_below_fulfilled(state, node)


def _all_below_fulfilled(state: State, node: Node) -> bool:
    from tiphys.workflows.plan.retry import _children_fulfilled

    return bool(node.children) and _children_fulfilled(state, node)


def is_agent(state: State, pod_name: str) -> bool:
    return pod_name == (state.agent_name or agent_name(state))


def agent_name(state: State) -> str:
    if not state.agent_name:
        state.agent_name = f"{state.node_id('agent')}-agent"
    return state.agent_name


def _agent_pod(state: State, pod: Mapping[str, Any]) -> None:
    """An agent that failed takes its tasks with it."""
    status = pod.get("status") or {}
    phase = status.get("phase") or "Pending"
    if phase in ("Succeeded", "Running", "Pending"):
        return
    message = status.get("message", "")
    if phase != "Failed":
        message = f"Unexpected pod phase for {agent_name(state)}: {phase}"
    for node_id in list(state.nodes.task_set):
        node = state.nodes.by_id[node_id]
        if not node.fulfilled:
            state.mark_error(node, f'agent pod failed with reason:"{message}"')
            state.mark(node_id)


def due(state: State) -> datetime | None:
    """The next moment at which something is to be looked at."""
    return state.timers[0][0] if state.timers else None
