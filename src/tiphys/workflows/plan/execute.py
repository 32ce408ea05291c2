"""Executing a template for a node: the one road that every step, task, hook, attempt and entrypoint takes.

    resolve the template ── fill in arguments ── finished already? ── time out ── parallelism ── locks ── memo
        └── retryStrategy: the node becomes a Retry node and its newest attempt goes on from here
              └── by type: a pod, Steps, DAG, Suspend, or a task for the agent

`execute` may be called again for a node at any time and changes nothing when nothing changed; a node that is not
marked dirty is not even looked at. What the original does in one pass over the whole tree happens here in the same
order, along the dirty paths only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from tiphys.lang import durations, name_rules
from tiphys.workflows.plan import arguments, dag, estimation, leaf, locks, memoize, parallelism, retry, steps, suspend
from tiphys.workflows.plan.nodes import EXECUTABLE, Node
from tiphys.workflows.plan.problems import Outcome, Problem, TimedOut, TooDeep
from tiphys.workflows.plan.state import Call, State
from tiphys.workflows.plan.templates import Template, TemplateContext, annotation, is_pod, type_of

DISPLAY_NAME = "workflows.argoproj.io/display-name"
_SEPARATOR = re.compile(r"^(\[\d+\])?\.")


def execute(state: State, call: Call) -> Outcome:
    """Executes (again) the template of a call; the outcome's problem tells the caller why there is less than a node."""
    node = state.nodes.by_id.get(call.node_id)
    if node is not None and call.node_id in state.calls and not state.is_dirty(call):
        return Outcome(node)
    state.clean(call)
    state.calls[call.node_id] = call
    if node is not None and only_waits_for_its_pod(state, call, node):
        return Outcome(node)
    state.depth += 1
    try:
        return _execute(state, call, node)
    finally:
        state.depth -= 1


def only_waits_for_its_pod(state: State, call: Call, node: Node) -> bool:
    """Whether executing the call again would change nothing until the pod of its node has ended."""
    if (
        node.type != "Pod"
        or node.fulfilled
        or node.waiting_for is not None
        or node.memoization is not None
        or not state.nodes.pod_exists(node.id)
        or node.id in state.timed
    ):
        return False
    try:
        template = resolve(state, call)[1]
    except Problem:
        return False
    return template.get("synchronization") is None and not (
        node.phase != "Pending" and annotation(template, DISPLAY_NAME)
    )


def _execute(state: State, call: Call, node: Node | None) -> Outcome:
    if state.depth >= state.settings.max_stack_depth:
        return fail(state, call, node, TooDeep())
    try:
        inner, template = resolve(state, call)
        if node is not None and node.phase_fulfilled and not _needs_a_last_look(node, template):
            return Outcome(node)
        processed = process(state, call, node, template)
        _show_display_name(state, node, processed)
    except Problem as problem:
        return fail(state, call, node, problem)
    if node is not None and node.phase_fulfilled:
        locks.release(state, node.id, processed.get("synchronization"))
        return Outcome(node)
    if node is not None and (late := _timed_out(state, call, node, processed)) is not None:
        return late
    limit = parallelism.reached(state, call, node, processed) or (
        parallelism.next_turn(state) if node is None else None
    )
    if limit is not None:
        return parallelism.blocked(state, call, node, limit)
    parallelism.unblocked(state, call.node_id)
    has_begun = _has_begun(state, call, node)  # the original asks the cache of such a node as well, if it has locks
    if processed.get("synchronization") is not None:
        waiting = locks.acquire_for_node(state, call, node, processed)
        if waiting is not None:
            return waiting
        node = state.nodes.by_id.get(call.node_id)
    if processed.get("memoize") is not None and not has_begun:
        missed = memoize.look_up(state, call, node, processed)
        if missed is not None:
            return missed
        node = state.nodes.by_id.get(call.node_id)
        if node is not None and node.phase_fulfilled:
            locks.release(state, node.id, processed.get("synchronization"))
            return Outcome(node)
    if node is not None and node.started_at is None:
        state.update(node, started_at=state.second, estimated_duration=estimation.of_node(state, node.name))
    if retry.strategy_of(state, processed) is not None:
        outcome = retry.execute_template(state, call, node, processed, inner)
    else:
        outcome = run(state, call, processed, inner)
    if node is None and call.node_id in state.nodes.by_id:
        _set_alarms(state, call, state.nodes.by_id[call.node_id], processed)
    return outcome


def _has_begun(state: State, call: Call, node: Node | None) -> bool:
    """Whether there is more than a wait for locks: a node, or a pod of an earlier life that the node will claim."""
    if node is not None:
        return not node.waiting_for
    return state.nodes.pod_exists(call.node_id) or parallelism.has_unpaired(state, call)


def run(state: State, call: Call, template: Template, inner: TemplateContext) -> Outcome:
    """The part of an execution that depends on the template's type."""
    try:
        outcome = _by_type(state, call, template, inner)
    except Problem as problem:
        outcome = Outcome(state.nodes.by_id.get(call.node_id), problem)
    if outcome.problem is not None:
        node = state.nodes.by_id.get(call.node_id) or outcome.node
        if node is None:
            return fail(state, call, None, outcome.problem)
        state.mark_error(node, outcome.problem)
        if not retry.retries_errors(state, template):
            locks.release(state, node.id, template.get("synchronization"))
            _expect_no_result(state, node)
            return Outcome(node, outcome.problem)
        outcome = Outcome(node)
    if outcome.node is not None and outcome.node.fulfilled:
        locks.release(state, outcome.node.id, template.get("synchronization"))
    return outcome


def _needs_a_last_look(node: Node, template: Template) -> bool:
    """Whether a node that is done has locks to give back or a name to show, or never began: what kept it may still."""
    never_began = node.type == "Skipped" and node.phase == "Error"
    return never_began or template.get("synchronization") is not None or bool(annotation(template, DISPLAY_NAME))


def _by_type(state: State, call: Call, template: Template, inner: TemplateContext) -> Outcome:
    kind = type_of(template)
    if kind == "Steps":
        return steps.execute(state, call, template, inner)
    if kind == "DAG":
        return dag.execute(state, call, template, inner)
    if kind == "Suspend":
        return suspend.execute(state, call, template)
    if kind in ("HTTP", "Plugin"):
        return leaf.execute_task(state, call, template, kind)
    return leaf.execute_pod(state, call, template, kind)


def resolve(state: State, call: Call) -> tuple[TemplateContext, Template]:
    """The template of a call, over the defaults, and the context of its own calls. Raises `Problem`."""
    inner, template = state.templates.resolve(call.context, call.holder)
    return inner, state.templates.with_defaults(template)


def process(state: State, call: Call, node: Node | None, template: Template) -> Template:
    """The template of a call with its arguments filled in. Raises `Problem`."""
    known = state.processed.get(call.node_id)
    if known is not None and known[0] == state.globals_version and known[1] is template and known[2] is call.arguments:
        found: Template = known[3]
        return found
    local = {"node.name": call.name, f"{call.kind}s.name": str(call.holder.get("name") or "")}
    if is_pod(template) and retry.strategy_of(state, template) is None:
        local["pod.name"] = state.pod_name(call.name, str(template.get("name") or ""))
    processed = arguments.process(state, template, call.arguments, local)
    is_asked_for_again = template.get("synchronization") is not None or retry.strategy_of(state, template) is not None
    if is_asked_for_again or not is_pod(template):
        state.processed[call.node_id] = (state.globals_version, template, call.arguments, processed)
    return processed


def _show_display_name(state: State, node: Node | None, template: Template) -> None:
    wanted = annotation(template, DISPLAY_NAME)
    if node is None or not wanted:
        return
    if not name_rules.is_display_name(wanted):
        raise Problem("displayName must match the regex ^[a-zA-Z0-9][a-zA-Z0-9-.]{0,61}[a-zA-Z0-9]$")
    state.update(node, display_name=wanted)


def _timed_out(state: State, call: Call, node: Node, template: Template) -> Outcome | None:
    """Checks ``timeout`` and ``pendingTimeout``."""
    if not template.get("timeout") and not template.get("pendingTimeout"):
        return None
    try:
        deadlines = template_deadlines(node, template)
    except Problem as problem:
        return _late(state, node, problem)
    if node.phase == "Pending" and any(state.now > when for when in deadlines):
        return _late(state, node, TimedOut())
    _set_alarms(state, call, node, template)
    return None


def _set_alarms(state: State, call: Call, node: Node, template: Template) -> None:
    """Asks for another look at a node when its times are up; what is wrong with these is found when it is checked."""
    if not template.get("timeout") and not template.get("pendingTimeout"):
        return
    with suppress(Problem):
        for when in template_deadlines(node, template):
            if state.now <= when:
                state.timed.add(node.id)
                state.at(when, call.node_id)


def _late(state: State, node: Node, problem: Problem) -> Outcome:
    if node.type == "Pod":
        leaf.delete_pod(state, node)
    return Outcome(state.mark_phase(node, "Failed", str(problem)), problem)


def template_deadlines(node: Node, template: Template) -> list[datetime]:
    """When the node must have finished, and while it is pending when it must have started. Raises `Problem`."""
    found = [_deadline(node, template["timeout"])] if template.get("timeout") else []
    if template.get("pendingTimeout") and node.phase == "Pending":
        found.append(_deadline(node, template["pendingTimeout"]))
    return [when for when in found if when is not None]


def _deadline(node: Node, text: str) -> datetime | None:
    try:
        seconds = durations.parse_argo(text) / 1e9
    except ValueError as err:
        raise Problem(f"invalid timeout format {err}") from err
    return None if node.started_at is None else node.started_at + timedelta(seconds=seconds)


def fail(state: State, call: Call, node: Node | None, problem: Problem) -> Outcome:
    """The outcome of a call that could not be executed: its node is in Error, made for that where there was none."""
    if node is None:
        made = initialize(state, call, "Skipped", "Error", message=str(problem))
        return Outcome(made, problem)
    state.mark_error(node, problem)
    _expect_no_result(state, node)
    return Outcome(node, problem)


def _expect_no_result(state: State, node: Node) -> None:
    if node.synced is not None:
        state.update(node, synced=True)


def initialize(
    state: State,
    call: Call,
    node_type: str,
    phase: str,
    *,
    message: str = "",
    template: Template | None = None,
    expects_result: bool = False,
) -> Node:
    """Creates the node of a call. ``template`` (already processed) gives it inputs and, for suspends, outputs."""
    node = new_node(
        state,
        call.name,
        node_type,
        phase,
        scope_name=call.context.scope_name,
        holder=call.holder,
        boundary_id=call.boundary_id,
        flag=call.flag,
        message=message,
        expects_result=expects_result,
    )
    if template is not None:
        inputs = template.get("inputs") or {}
        if inputs.get("parameters") or inputs.get("artifacts"):
            node.inputs = dict(inputs)
        if template.get("memoize") is not None:
            node.memoization = memoize.status(template, hit=False)
        if node_type == "Suspend":
            suspend.prepare(state, node, template)
    return node


def new_node(
    state: State,
    name: str,
    node_type: str,
    phase: str,
    *,
    scope_name: str,
    holder: Mapping[str, Any],
    boundary_id: str,
    flag: dict[str, bool] | None,
    message: str = "",
    expects_result: bool = False,
) -> Node:
    """Creates a node; raises ValueError when it exists already."""
    boundary = state.nodes.by_id.get(boundary_id)
    display = name
    if boundary is not None:
        display = _SEPARATOR.sub("", name.removeprefix(boundary.name))
    node = Node(
        id=state.node_id(name),
        name=name,
        display_name=display,
        type=node_type,
        phase=phase,
        template_name=str(holder.get("template") or ""),
        template_ref=holder.get("templateRef"),
        template_scope=scope_name,
        boundary_id=boundary_id,
        message=message,
        started_at=state.second,
        estimated_duration=estimation.of_node(state, name),
        flag=flag,
        synced=True if expects_result and node_type in ("Pod", "Container") else None,
    )
    if node.fulfilled:
        node.finished_at = node.started_at
    if node_type in EXECUTABLE:
        node.progress = "0/1"
    if node.id in state.task_results:  # of a pod of the same name, before a retry
        state.fresh_results[node.id] = None
    state.updated = True
    if state.unpaired.pop(node.id, None) is not None:
        state.active_pods += 1
    return state.nodes.add(node)
