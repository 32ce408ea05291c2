"""One pass over a workflow: from what happened to what follows from it, in the original's order.

    task results ── locks of the workflow ── begin | pods, deadlines ── suspended? ── claims ── entrypoint
        ── hooks ── agent ── exit handler ── the workflow's phase

A pass stops early where something has to be waited for. `engine` repeats passes until one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tiphys.lang import gojson
from tiphys.machinery.actions import Create, Delete
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, POD_DISRUPTION_BUDGETS, PODS, ObjectKey
from tiphys.workflows.plan import (
    agent,
    artifact_gc,
    estimation,
    execute,
    hooks,
    locks,
    metrics,
    parallelism,
    reconcile,
    repositories,
    spec,
)
from tiphys.workflows.plan import globals as variables
from tiphys.workflows.plan.nodes import COMPLETED, Node, stamp
from tiphys.workflows.plan.pods.metadata import owner
from tiphys.workflows.plan.problems import Blocked, Problem
from tiphys.workflows.plan.references import resolve_volumes
from tiphys.workflows.plan.state import LABEL_COMPLETED, LABEL_PHASE, LABEL_WORKFLOW, Call, State
from tiphys.workflows.plan.text import evaluate_bool

EXCEEDED = "exceeded quota"
"""What a refusal says that may be none later."""
POD_NAMES = "workflows.argoproj.io/pod-name-format"
PHASE_OF_NODE = {
    "Pending": "Pending",
    "Running": "Running",
    "Succeeded": "Succeeded",
    "Skipped": "Succeeded",
    "Omitted": "Succeeded",
    "Failed": "Failed",
    "Error": "Error",
}


def run_pass(state: State) -> None:
    """Does everything that can be done now."""
    if not _is_prepared(state):
        return
    variables.set_runtime(state)
    try:
        repositories.resolve(state)
    except Problem as err:
        mark(state, "Error", str(err))
        return
    artifact_gc.add_finalizer(state)
    is_over = state.labels.get(LABEL_COMPLETED) == "true"
    if is_over and not state.finalizers:
        return
    reconcile.task_results(state)
    if is_over:
        return
    if state.spec.get("synchronization") is not None and not _has_locks(state):
        return
    if not state.phase:
        metrics.of_new_workflow(state)
        _begin(state)
    elif not _reconcile_pods(state):
        return
    if state.spec.get("suspend"):
        state.waits[state.name] = "somebody to resume the workflow"
        return
    state.active_pods = parallelism.active_pods(state)
    resolve_volumes(state, state.globals)
    if not _has_claims(state):
        return
    parallelism.retry(state, set())
    state.nodes.begin_walk()
    if not _is_idle(state):
        _execute(state)


def _is_prepared(state: State) -> bool:
    if state.spec:
        return True
    try:
        spec.prepare(state)
    except spec.SpecFailed as err:
        state.spec = state.spec or {"broken": True}
        if state.phase not in COMPLETED:
            mark(state, err.phase, str(err))
        state.is_broken = True
        return False
    return True


def _has_locks(state: State) -> bool:
    try:
        acquired, message, _ = locks.try_acquire(state, "", state.spec["synchronization"])
    except Problem as err:
        mark(state, "Failed", f"Failed to acquire the synchronization lock. {err}")
        return False
    if acquired:
        return True
    state.waits[state.name] = message
    if state.shutdown == "Terminate" and state.phase == "Pending":
        locks.release_all(state)
        mark(state, "Failed", f"Stopped with strategy '{state.shutdown}'")
        return False
    mark(state, state.phase or "Pending", message)
    return False


def _begin(state: State) -> None:
    budget = state.spec.get("podDisruptionBudget")
    if budget is not None:
        labels = {LABEL_WORKFLOW: state.name}
        wanted = {**budget}
        wanted.setdefault("selector", {"matchLabels": labels})
        meta = {"name": state.name, "namespace": state.namespace, "labels": labels, "ownerReferences": [owner(state)]}
        obj = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": wanted}
        state.actions.append(Create(POD_DISRUPTION_BUDGETS, obj, why="podDisruptionBudget"))
    mark(state, "Running", "")
    state.annotations[POD_NAMES] = "v2"
    if (deadline := state.deadline) is not None:
        state.at(deadline)


def _reconcile_pods(state: State) -> bool:
    done = reconcile.pods(state)
    reconcile.without_pods(state)
    if (deadline := state.deadline) is not None and state.now <= deadline:
        state.at(deadline)
    return done


def _has_claims(state: State) -> bool:
    """Makes the claims of ``volumeClaimTemplates``, once, before anything that may need them."""
    phase = state.phase
    if phase not in ("Pending", "Running"):
        return True
    if state.refused_claims:
        return _refuse_claims(state)
    templates = state.spec.get("volumeClaimTemplates") or []
    known = state.status.get("persistentVolumeClaims") or []
    if len(templates) != len(known):
        made = list(known)
        for index, template in enumerate(templates):
            name = (template.get("metadata") or {}).get("name")
            if not name:
                mark(state, "Error", f"pvc create error: volumeClaimTemplates[{index}].metadata.name is required")
                return False
            claim = f"{state.name}-{name}"
            state.claims.append(Create(PERSISTENT_VOLUME_CLAIMS, _claim(state, template, claim), why="volumes"))
            made.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        state.set_status(persistentVolumeClaims=made)
    elif phase == "Pending":
        mark(state, "Running", "")
    return True


def _refuse_claims(state: State) -> bool:
    """A claim that was refused ends the workflow; for want of room in a quota it is asked for again after a while."""
    why = next(iter(state.refused_claims.values()))
    if EXCEEDED not in why:
        mark(state, "Error", f"pvc create error: {why}")
        return False
    state.waits[state.name] = why
    mark(state, "Pending", f"Waiting for a PVC to be created. {why}")
    state.at(state.now + timedelta(seconds=state.settings.quota_retry_seconds))
    return False


def _claim(state: State, template: Mapping[str, Any], name: str) -> dict[str, Any]:
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if value is not None}
    meta.update(name=name, namespace=state.namespace, ownerReferences=[owner(state)])
    meta["labels"] = {**(meta.get("labels") or {}), LABEL_WORKFLOW: state.name}
    body = {key: value for key, value in template.items() if key not in ("metadata", "status")}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **body, "metadata": meta}


def _delete_claims(state: State) -> None:
    strategy = (state.spec.get("volumeClaimGC") or {}).get("strategy") or "OnWorkflowSuccess"
    if strategy == "OnWorkflowSuccess" and state.phase != "Succeeded":
        return
    for volume in state.status.get("persistentVolumeClaims") or ():  # they stay listed, as with the original
        name = volume["persistentVolumeClaim"]["claimName"]
        key = ObjectKey(state.namespace, name)
        state.after.append(Delete(PERSISTENT_VOLUME_CLAIMS, key, why="volumeClaimGC"))


# -- templates ---------------------------------------------------------------------------------------------------------


def _is_idle(state: State) -> bool:
    """Whether executing the entrypoint would change nothing, as when a pod only began to run.

    It is not dirty and goes on, no hook looks at the workflow, and no agent has anything to tell or to be told.
    """
    root = state.nodes.by_id.get(state.name)
    call = state.calls.get(state.name)
    return (
        root is not None
        and call is not None
        and not state.is_dirty(call)
        and root.phase == state.phase == "Running"
        and not root.daemoned
        and not state.spec.get("hooks")
        and state.task_set is None
        and not state.tasks
    )


def _execute(state: State) -> None:
    call = _call(state, state.name, {"template": state.spec.get("entrypoint", "")}, state.spec.get("arguments"))
    node, problem = execute.execute(state, call)
    if problem is not None:
        if not isinstance(problem, Blocked) and state.phase not in COMPLETED:
            mark(state, "Error", f"error in entry template execution: {problem}")
            _delete_claims(state)
        return
    if node is None:
        return
    phase = PHASE_OF_NODE.get(node.phase, "")
    state.set_global("workflow.status", phase)
    _set_failures(state, node)
    try:
        hooks_done = _run_hooks(state)
    except Problem as err:
        state.mark_error(node, err)
        hooks_done = True
    if not state.shutdown:
        agent.reconcile(state)
    if not hooks_done or not node.fulfilled:
        return
    handler = None
    exit_hook = hooks.exit_hook(state, state.spec)
    if exit_hook is not None:
        waits, handler = _run_exit_handler(state, exit_hook)
        if waits:
            return
    _conclude(state, node, phase, handler)


def _call(state: State, name: str, holder: Mapping[str, Any], arguments: Any, **more: Any) -> Call:
    node_id = state.node_id(name)
    known = state.calls.get(node_id)
    if known is not None and known.holder == holder:
        return known
    return Call(node_id, name, holder, "step", state.templates.local, arguments or {}, **more)


def _run_hooks(state: State) -> bool:
    done = True
    for name, hook in sorted((state.spec.get("hooks") or {}).items()):
        if name == hooks.EXIT:
            continue
        node_name = f"{state.name}.hooks.{name}"
        if not hook.get("expression"):
            raise Problem(f"Expression required for hook {node_name}")
        known = state.node_named(node_name)
        if not evaluate_bool(hook["expression"], state.globals) and known is None:
            continue
        holder = {key: hook[key] for key in ("template", "templateRef") if hook.get(key)}
        call = _call(state, node_name, holder, hook.get("arguments"), flag={"hooked": True})
        made, problem = execute.execute(state, call)
        if isinstance(problem, Blocked):  # it waits for its turn; the original ends the workflow
            done = False
            continue
        if problem is not None:
            raise problem
        root = state.nodes.by_id[state.name]
        state.link(root, call.node_id)
        done = done and made is not None and made.fulfilled
    return done


def _run_exit_handler(state: State, hook: Mapping[str, Any]) -> tuple[bool, Node | None]:
    """Whether the exit handler must be waited for, and its node.

    One that a shutdown cuts short says how a workflow ended, but not of one that is made from a template: there the
    original has forgotten by then that it began.
    """
    name = f"{state.name}.onExit"
    began = state.node_named(name) is not None and not state.is_from_template
    if not began and not state.lets_run(on_exit=True):
        return False, None
    holder = {key: hook[key] for key in ("template", "templateRef") if hook.get(key)}
    call = _call(state, name, holder, hook.get("arguments"), flag={"hooked": True}, on_exit=True)
    node, problem = execute.execute(state, call)
    if problem is not None:
        if not isinstance(problem, Blocked) and state.phase not in COMPLETED:
            mark(state, "Error", f"error in exit template execution : {problem}")
            _delete_claims(state)
        return True, node
    agent.reconcile(state)
    return node is None or not node.fulfilled, node


def _set_failures(state: State, root: Node) -> None:
    """``workflow.failures``: what failed, as quoted JSON; only hooks and exit handlers can ask for it."""
    may_be_asked = state.spec.get("hooks") or (state.spec.get("onExit") and root.fulfilled)
    if not may_be_asked or not state.nodes.failures_changed:
        return
    state.nodes.failures_changed = False
    failures = [
        {
            "displayName": node.display_name,
            "message": node.message,
            "templateName": node.template,
            "phase": node.phase,
            "podName": state.pod_name(node.name, node.template),
            "finishedAt": stamp(node.finished_at),
        }
        for node in (state.nodes.by_id[node_id] for node_id in state.nodes.failed)
    ]
    text = gojson.dumps(failures, escape_html=True) if failures else "null"
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    state.set_global("workflow.failures", quoted)


def _conclude(state: State, node: Node, phase: str, handler: Node | None) -> None:
    message = node.message
    if node.unsuccessful and state.shutdown:
        message = f"Stopped with strategy '{state.shutdown}'"
    if phase == "Succeeded" and handler is not None and handler.unsuccessful:
        mark(state, handler.phase, handler.message)
    elif phase == "Succeeded":
        mark(state, "Succeeded", "")
    elif phase in ("Failed", "Error"):
        mark(state, phase, message)
    elif node.daemoned:  # the entrypoint: ended by this attempt to complete, it has succeeded in the next pass
        mark(state, "Error", f"Unexpected node phase {state.name}: <nil>")
    if state.phase in COMPLETED:
        metrics.of_finished_workflow(state, node)
        _delete_claims(state)


# -- the workflow's phase ----------------------------------------------------------------------------------------------


def mark(state: State, phase: str, message: str) -> None:
    """Gives the workflow a phase; completion waits for task results and ends daemons."""
    completes = phase in COMPLETED
    if completes and (_results_in_progress(state) or state.nodes.daemoned):
        hooks.kill_daemons(state, "")
        state.waits[state.name] = "the outputs of nodes that finished"
        return
    if state.phase in COMPLETED and state.phase != phase:
        return  # what is over stays as it is: the original panics and drops the change
    if state.phase != phase:
        state.set_status(phase=phase)
        state.labels[LABEL_PHASE] = phase
        state.labels.setdefault(LABEL_COMPLETED, "false")
        _announce(state, phase, message)
    if state.status.get("startedAt") is None and phase != "Pending":
        state.set_status(startedAt=stamp(state.second), estimatedDuration=estimation.of_workflow(state) or None)
    if state.status.get("message", "") != message:
        state.set_status(message=message or None)
    if phase == "Error":
        root = state.nodes.by_id.get(state.name)
        if root is not None and root.phase == "Running":
            state.update(root, phase="Error", message="Workflow operation error")
    if completes:
        _complete(state)


def _announce(state: State, phase: str, message: str) -> None:
    if not state.settings.workflow_events:
        return
    if phase == "Running":
        state.emit("Normal", "WorkflowRunning", "Workflow Running")
    elif phase == "Succeeded":
        state.emit("Normal", "WorkflowSucceeded", "Workflow completed")
    elif phase in ("Failed", "Error"):
        state.emit("Warning", "WorkflowFailed", message)


def _complete(state: State) -> None:
    state.set_status(finishedAt=stamp(state.second))
    state.globals["workflow.duration"] = f"{variables.duration_seconds(state):f}"
    state.labels[LABEL_COMPLETED] = "true"
    upsert_condition(state, "Completed", "True")
    if state.spec.get("podDisruptionBudget") is not None:
        key = ObjectKey(state.namespace, state.name)
        state.after.append(Delete(POD_DISRUPTION_BUDGETS, key, why="the workflow is complete"))
    if state.settings.archive:
        state.labels["workflows.argoproj.io/workflow-archiving-status"] = "Pending"
    state.updated = True
    if state.nodes.task_set:
        key = ObjectKey(state.namespace, reconcile.agent_name(state))
        state.after.append(Delete(PODS, key, why="the workflow is complete"))


def _results_in_progress(state: State) -> bool:
    completion = state.status.get("taskResultsCompletionStatus") or {}
    return bool(state.nodes.unsynced) or not all(completion.values())


def upsert_condition(state: State, kind: str, status: str, message: str = "") -> None:
    """Sets a condition of the workflow."""
    made = {"type": kind, "status": status, **({"message": message} if message else {})}
    known = list(state.status.get("conditions") or ())
    if made in known:
        return
    at = next((i for i, condition in enumerate(known) if condition.get("type") == kind), None)
    if at is None:
        known.append(made)
    else:
        known[at] = made
    state.status["conditions"] = known
