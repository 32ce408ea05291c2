"""Steps templates: groups one after another, the steps of a group side by side.

    group 0 ── all children fulfilled, hooks and exit handlers too ── outputs into the scope ── group 1 … ── outputs
       └── a child failed without continueOn: the group and the node fail

A `Frame` remembers how far a node is: its current group, that group's resolved and expanded steps, which of them are
open, and the scope of the groups before. It is rebuilt by walking the groups again when the run was loaded anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.lang import items
from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan import hooks, loops, outputs, references
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Blocked, MissingVariable, Outcome, Problem, TimedOut, TooDeep
from tiphys.workflows.plan.scope import Scope
from tiphys.workflows.plan.state import Call, State
from tiphys.workflows.plan.templates import Template, TemplateContext
from tiphys.workflows.plan.text import should_execute

Step = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Group:
    """One step group while it runs.

    ``unstarted`` are steps that have no node yet, ``open`` nodes not yet done, ``fresh`` those just executed. Of the
    nodes with hooks (``hooked``) the ``unjudged`` are to be looked at, and the ``watching`` ones at every turn.
    """

    node: Node
    index: int
    steps: dict[str, Step] = field(default_factory=dict)
    unstarted: dict[str, Step] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)
    fresh: dict[str, None] = field(default_factory=dict)
    hooked: dict[str, Step] = field(default_factory=dict)
    unjudged: dict[str, None] = field(default_factory=dict)
    watching: dict[str, None] = field(default_factory=dict)
    globals_version: int = -1
    resolved: bool = False


@dataclass(eq=False)
class Frame:
    """See the module. ``owner`` says to which group a node belongs, ``hook_nodes`` to which node a hook's does."""

    call: Call
    template: Template
    context: TemplateContext
    scope: Scope
    groups: list[Group] = field(default_factory=list)
    owner: dict[str, int] = field(default_factory=dict)
    hook_nodes: dict[str, str] = field(default_factory=dict)
    done: int = 0

    def is_stalled(self, node_id: str) -> bool:
        """Whether the group of a node cannot be evaluated now: a daemon that it refers to starts again."""
        index = self.owner.get(node_id)
        return index is not None and not self.groups[index].resolved


def execute(state: State, call: Call, template: Template, inner: TemplateContext) -> Outcome:
    """Takes the node of a Steps template as far as it goes now."""
    node = state.nodes.by_id.get(call.node_id)
    if node is None:
        node = executor.initialize(state, call, "Steps", "Running", template=template)
    frame = state.frames.get(node.id)
    if frame is None:
        frame = state.frames[node.id] = Frame(call, template, inner, Scope(template))
    elif frame.template is not template:
        frame.template = template
    frame.call = call
    frame.scope.add_workflow_outputs(state.status.get("outputs"))
    dirty = state.take_dirty(node.id)
    outcome = _advance(state, frame, node, dirty)
    if node.phase_fulfilled:
        hooks.kill_daemons(state, node.id)
        state.frames.pop(node.id, None)
    return outcome


def _advance(state: State, frame: Frame, node: Node, dirty: dict[str, None]) -> Outcome:
    declared = frame.template.get("steps") or []
    start = _first_affected(frame, dirty)
    for index in range(start, len(declared)):
        group = _open_group(state, frame, node, index)
        if start < index <= frame.done:
            _connect(state, frame, node, group.node, index)  # a daemon of the group before may have another attempt
        problem = _run_group(state, frame, group, declared[index], dirty)
        if isinstance(problem, Blocked):
            return Outcome(node)  # an exit handler waits for its turn; the original ends the group with an error
        if problem is not None:
            return Outcome(state.mark_error(group.node, problem))
        if not group.node.fulfilled:
            return Outcome(node)
        if group.node.unsuccessful:
            outputs.set_outbound_of_steps(state, node, len(declared))
            return Outcome(state.mark_phase(node, "Failed", group.node.message))
        if index >= frame.done:
            try:
                _collect(state, frame, group, declared[index], index)
            except Problem as err:
                return Outcome(node, err)
            frame.done = index + 1
        elif _addresses_changed(state, frame, group):
            for later in frame.groups[index + 1 :]:
                later.resolved = False
    return outputs.finish(state, frame.call, node, frame.template, frame.scope, len(declared))


def _addresses_changed(state: State, frame: Frame, group: Group) -> bool:
    """Brings the addresses of a finished group's daemons up to date: one that starts again has none for a while."""
    changed = False
    for child_id in group.node.children:
        child, call = state.nodes.by_id.get(child_id), group.calls.get(child_id)
        if child is not None and call is not None and child.daemoned:
            changed = frame.scope.set_address(state, f"steps.{call.holder.get('name', '')}", child) or changed
    return changed


def _first_affected(frame: Frame, dirty: dict[str, None]) -> int:
    """The earliest group that has a dirty child: a daemon of a finished group may have failed."""
    affected = (frame.owner.get(frame.hook_nodes.get(node_id, node_id), frame.done) for node_id in dirty)
    return min((frame.done, *affected))


def _open_group(state: State, frame: Frame, node: Node, index: int) -> Group:
    name = f"{node.name}[{index}]"
    if index < len(frame.groups):
        return frame.groups[index]
    group_node = state.node_named(name)
    if group_node is None:
        group_node = executor.new_node(
            state,
            name,
            "StepGroup",
            "Running",
            scope_name=frame.context.scope_name,
            holder={},
            boundary_id=node.id,
            flag={},
        )
    elif not group_node.fulfilled:
        state.mark_phase(group_node, "Running")
    _connect(state, frame, node, group_node, index)
    group = Group(group_node, index)
    frame.groups.append(group)
    return group


def _connect(state: State, frame: Frame, node: Node, group: Node, index: int) -> None:
    """Hangs a group below the boundary, or below all ends of the group before it."""
    if index == 0:
        state.link(node, group.id)
        return
    before = frame.groups[index - 1].node
    if not before.children:
        state.link(before, group.id)
        return
    for child_id in list(before.children):
        for end in outputs.outbound(state, child_id):
            end_node = state.nodes.by_id.get(end)
            if end_node is not None:
                state.link(end_node, group.id)


def _run_group(
    state: State, frame: Frame, group: Group, declared: list[Step], dirty: dict[str, None]
) -> Problem | None:
    """Starts what can start and judges what ended. A problem returned is that of an exit handler."""
    if not group.resolved:
        if _is_over(state, group.node):
            group.resolved = True
            return None
        try:
            if not _resolve(state, frame, group, declared):
                return None
        except Problem as err:
            state.mark_error(group.node, err)
            return None
    if not _start(state, frame, group, dirty):
        return None
    return _judge(state, frame, group, dirty)


def _is_over(state: State, group: Node) -> bool:
    """Whether a group that was loaded needs no further look: finished, and no daemon of it failed or may still."""
    if not group.fulfilled:
        return False
    children = [state.nodes.by_id.get(child) for child in group.children]
    if group.phase == "Succeeded" and any(c is not None and c.unsuccessful for c in children):
        return False
    return all(c is not None and c.phase_fulfilled and _hooks_over(state, c) for c in children)


def _hooks_over(state: State, node: Node) -> bool:
    found = (state.nodes.by_id.get(child) for child in node.children)
    return all(child.fulfilled for child in found if child is not None and child.hooked)


def _resolve(state: State, frame: Frame, group: Group, declared: list[Step]) -> bool:
    """Resolves references and loops of a group once. False while a variable is missing."""
    frame_id = frame.call.node_id
    try:
        resolved = references.resolve_steps(state, frame.scope, declared)
    except MissingVariable as err:
        state.waiting_for_globals[frame_id] = None
        state.waits[group.node.name] = str(err)
        return False
    except Problem as err:
        raise Problem(f"failed to resolve references: {err}") from err
    for step in resolved:
        if not items.loops(step):
            group.steps[str(step.get("name") or "")] = step
            continue
        expanded = loops.expand(state, step, frame.scope)
        if not expanded:
            _skip(state, frame, group, step, "Skipped, empty params")
        group.steps.update((str(item.get("name") or ""), item) for item in expanded)
    group.unstarted = dict(group.steps)
    group.resolved = True
    for call in group.calls.values():  # resolved again: what has not begun sees the new values
        call.holder = group.steps.get(call.name.removeprefix(f"{group.node.name}."), call.holder)
        call.arguments = call.holder.get("arguments") or {}
        state.mark(call.node_id)
    return True


def _skip(state: State, frame: Frame, group: Group, step: Step, why: str, phase: str = "Skipped") -> Node:
    name = f"{group.node.name}.{step.get('name', '')}"
    node = state.node_named(name)
    if node is None:
        node = executor.new_node(
            state,
            name,
            "Skipped",
            phase,
            scope_name=frame.context.scope_name,
            holder=step,
            boundary_id=frame.call.node_id,
            flag={},
            message=why,
        )
        state.link(group.node, node.id)
    return node


def _start(state: State, frame: Frame, group: Group, dirty: dict[str, None]) -> bool:
    """Executes steps that have no node yet, and those that changed. False when the group ended by that."""
    changed = [node_id for node_id in dirty if node_id in group.calls]
    if len(changed) > 1:  # in their own order: the first takes the last place under a limit
        changed.sort(key=group.places.__getitem__)
    for node_id in changed:
        if not _execute_step(state, group, group.calls[node_id]):
            return False
    while group.unstarted:
        name, step = next(iter(group.unstarted.items()))
        call = group.calls.get(state.node_id(f"{group.node.name}.{name}"))
        if call is None:
            try:
                proceed = should_execute(str(step.get("when") or ""))
            except Problem as err:
                _skip(state, frame, group, step, str(err), "Error")
                state.mark_error(group.node, err)
                return False
            if not proceed:
                del group.unstarted[name]
                _skip(state, frame, group, step, f"when '{step.get('when')}' evaluated false")
                continue
            call = _new_call(state, frame, group, name, step)
        if not _execute_step(state, group, call):
            return False
        if call.node_id not in state.nodes.by_id:
            break
        del group.unstarted[name]
    return True


def _new_call(state: State, frame: Frame, group: Group, name: str, step: Step) -> Call:
    node_name = f"{group.node.name}.{name}"
    call = Call(
        node_id=state.node_id(node_name),
        name=node_name,
        holder=step,
        kind="step",
        context=frame.context,
        arguments=step.get("arguments") or {},
        parent=frame.call.node_id,
        boundary_id=frame.call.node_id,
        on_exit=frame.call.on_exit,
    )
    group.places[call.node_id] = len(group.calls)
    group.calls[call.node_id] = call
    frame.owner[call.node_id] = group.index
    if step.get("hooks") or step.get("onExit"):
        group.hooked[call.node_id] = step
        if hooks.watches_others(step, (str(step.get("name") or ""),)):
            group.watching[call.node_id] = None
    return call


def _execute_step(state: State, group: Group, call: Call) -> bool:
    """Executes one step; False when that ended the group."""
    outcome = executor.execute(state, call)
    problem = outcome.problem
    if isinstance(problem, TimedOut):
        state.mark_phase(group.node, "Failed", str(problem))
        return False
    if problem is not None and not isinstance(problem, (Blocked, TooDeep)):
        state.link(group.node, call.node_id)
        text = f"step group deemed errored due to child {call.name} error: {problem}"
        state.mark_error(group.node, text)
        return False
    if outcome.node is not None:
        state.link(group.node, call.node_id)
        group.open[call.node_id] = group.fresh[call.node_id] = None
    return True


def _judge(state: State, frame: Frame, group: Group, dirty: dict[str, None]) -> Problem | None:
    """Completes the group when everything in it is done."""
    fresh, group.fresh = group.fresh, {}
    for node_id in (*dirty, *fresh):
        child = state.nodes.by_id.get(node_id)
        if node_id in group.open and child is not None and child.fulfilled and node_id not in group.hooked:
            del group.open[node_id]
    for node_id in _to_judge(state, frame, group, (*dirty, *fresh)):
        child, step = state.nodes.by_id.get(node_id), group.hooked[node_id]
        if child is None:
            continue
        try:
            done = _hooks_done(state, frame, group, step, child)
        except ExitProblem as err:
            return err.problem
        except Problem as err:
            state.mark_error(group.node, err)
            return None
        if done is None:
            return None
        group.unjudged.pop(node_id, None)
        if done:
            group.open.pop(node_id, None)
        else:
            group.open[node_id] = None
    given_up = state.nodes.by_id[frame.call.node_id].phase_fulfilled  # failed fast: what has not started never will
    if group.open or (group.unstarted and not given_up):
        if group.node.fulfilled:
            state.mark_phase(group.node, "Running")
        return None
    outputs.export(state, group.node.outputs)
    _complete(state, group)
    return None


def _to_judge(state: State, frame: Frame, group: Group, changed: tuple[str, ...]) -> list[str]:
    """The nodes with hooks for which something may have changed, in their order."""
    if not group.hooked:
        return []
    if group.globals_version != state.globals_version:
        group.globals_version = state.globals_version
        group.unjudged = dict.fromkeys(group.hooked)
        return list(group.unjudged)
    owners = (frame.hook_nodes.get(node_id, node_id) for node_id in changed)
    group.unjudged.update((node_id, None) for node_id in owners if node_id in group.hooked)
    group.unjudged.update(group.watching)
    if len(group.unjudged) < 2:
        return list(group.unjudged)
    return [node_id for node_id in group.hooked if node_id in group.unjudged]


class ExitProblem(Exception):
    """A problem of an exit handler, which ends the group in another way than that of a hook."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _hooks_done(state: State, frame: Frame, group: Group, step: Step, child: Node) -> bool | None:
    """Whether a child and its hooks are done; None while a hook keeps the whole group from going on."""
    name = str(step.get("name") or "")
    frame.scope[f"steps.{child.display_name}.status"] = child.phase
    at = hooks.Place(frame.call, frame.context, frame.scope, "steps", name, frame.hook_nodes)
    if not hooks.run_hooks(state, at, step, child):
        return None
    if not child.fulfilled:
        return False
    if not child.completed:
        return True
    try:
        return hooks.run_exit_handler(state, at, step, child)
    except Problem as err:
        raise ExitProblem(err) from err


def _complete(state: State, group: Group) -> None:
    for child_id in group.node.children:
        child = state.nodes.by_id.get(child_id)
        if child is None or not child.unsuccessful:
            continue
        call = group.calls.get(child_id)
        if call is None or not continues_on(call.holder, child.phase):
            state.mark_phase(group.node, "Failed", f"child '{child_id}' failed")
            return
    state.mark_phase(group.node, "Succeeded")


def continues_on(holder: Mapping[str, Any], phase: str) -> bool:
    """Whether ``continueOn`` of a step or task forgives this phase."""
    forgiven = holder.get("continueOn") or {}
    return bool((phase == "Error" and forgiven.get("error")) or (phase == "Failed" and forgiven.get("failed")))


def _collect(state: State, frame: Frame, group: Group, declared: list[Step], index: int) -> None:
    """Puts the outputs of a finished group into the scope."""
    for step in declared:
        name = str(step.get("name") or "")
        prefix = f"steps.{name}"
        child = state.node_named(f"{group.node.name}.{name}")
        if child is not None:
            frame.scope.add_node(state, prefix, child)
            frame.scope.add_skipped(state, frame.context, prefix, child, step, artifacts=True)
            continue
        start = f"{group.node.name}.{name}("
        found = (state.nodes.by_id.get(child_id) for child_id in group.node.children)
        children = [c for c in found if c is not None and c.name.startswith(start) and c.type != "Skipped"]
        if children:
            frame.scope.add_aggregate(prefix, children)
        frame.scope.add_node(state, prefix, group.node)
