"""DAG templates: tasks that start when what they depend on is done.

    all dependencies done (hooks too) ── depends false: Omitted ── references ── loop ── when ── execute
                                                                    └── TaskGroup node with the copies below it

A `Frame` keeps, for each task, how many of its dependencies are not done yet, so that a finished task touches its
dependents only. The phase of the whole is looked for when no node of it is open any more: failed or missing target
tasks decide, and tasks that were omitted inherit the phase of the branch that led to them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from tiphys.lang import depends, items
from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan import graph as graphs
from tiphys.workflows.plan import hooks, locks, loops, memoize, outputs, references
from tiphys.workflows.plan.canonical import dumps
from tiphys.workflows.plan.nodes import UNSUCCESSFUL, Node
from tiphys.workflows.plan.problems import Blocked, MissingVariable, Outcome, Problem, TimedOut, TooDeep
from tiphys.workflows.plan.scope import Scope, check_results, last_attempt_or_self
from tiphys.workflows.plan.state import Call, State
from tiphys.workflows.plan.templates import Template, TemplateContext, has_outputs
from tiphys.workflows.plan.text import should_execute

Task = Mapping[str, Any]


@dataclass(eq=False)
class Frame:
    """See the module. ``owner`` maps node ids (of tasks, copies and hooks) to task names.

    ``again`` are tasks that a variable is missing for, ``blocked`` those that parallelism keeps from going on,
    ``unreadable`` loops whose results are no JSON. ``unsettled`` are, of loops with an exit handler, the ids of copies
    whose handler is not known to be done, in order.
    """

    call: Call
    template: Template
    context: TemplateContext
    tasks: dict[str, Task]
    graph: graphs.Graph
    targets: list[str]
    hooked_targets: list[str]
    unmet: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    copies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    unstarted: dict[str, dict[str, None]] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)
    hook_nodes: dict[str, str] = field(default_factory=dict)
    again: dict[str, None] = field(default_factory=dict)
    blocked: dict[str, None] = field(default_factory=dict)
    unreadable: dict[str, Problem] = field(default_factory=dict)
    open_copies: dict[str, dict[str, None]] = field(default_factory=dict)
    copy_by_id: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    unsettled: dict[str, dict[str, None]] = field(default_factory=dict)
    refers_to_tasks: bool = True
    loops_with_exit: list[str] = field(default_factory=list)
    begun: bool = False
    ended_loops: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)

    def is_stalled(self, node_id: str) -> bool:
        """Whether the task of a node cannot be evaluated now: a daemon that it refers to starts again."""
        return self.owner.get(node_id) in self.again


def execute(state: State, call: Call, template: Template, inner: TemplateContext) -> Outcome:
    """Takes the node of a DAG template as far as it goes now."""
    node = state.nodes.by_id.get(call.node_id)
    if node is None:
        node = executor.initialize(state, call, "DAG", "Running", template=template)
    frame = state.frames.get(node.id)
    if frame is None:
        frame = state.frames[node.id] = _new_frame(state, call, template, inner)
    elif frame.template is not template:
        _take_template(state, frame, template)
    frame.call = call
    try:
        _advance(state, frame, node)
        outcome = _conclude(state, frame, node)
    except HookProblem as err:
        state.mark_error(node, err.problem)
        outcome = Outcome(node, err.problem)
    if node.fulfilled:
        hooks.kill_daemons(state, node.id)
        if node.phase_fulfilled and not frame.open:
            state.frames.pop(node.id, None)
    return outcome


class HookProblem(Exception):
    """A hook of a target task that cannot run ends the whole DAG."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _new_frame(state: State, call: Call, template: Template, inner: TemplateContext) -> Frame:
    tasks = _tasks(template)
    graph = graphs.graph(tasks)
    target = (template.get("dag") or {}).get("target")
    targets = str(target).split(" ") if target else graph.leaves()
    hooked = [name for name in targets if name in tasks and tasks[name].get("hooks")]
    frame = Frame(call, template, inner, tasks, graph, targets, hooked)
    frame.unmet = {name: len(graph.dependencies[name]) for name in graph.reachable(targets)}
    _take_template(state, frame, template)
    return frame


def _take_template(state: State, frame: Frame, template: Template) -> None:
    """What a frame knows of its tasks, which are others when a variable in the template has changed."""
    frame.template, frame.tasks = template, _tasks(template)
    frame.refers_to_tasks = _refers_to_tasks(template)
    frame.loops_with_exit = [
        name for name, task in frame.tasks.items() if items.loops(task) and hooks.exit_hook(state, task) is not None
    ]


def _tasks(template: Template) -> dict[str, Task]:
    return {str(task.get("name") or ""): task for task in (template.get("dag") or {}).get("tasks") or ()}


def _advance(state: State, frame: Frame, node: Node) -> None:
    """Visits every task that may have changed, and from there what became ready."""
    dirty = state.take_dirty(node.id)
    changed = dict.fromkeys(frame.owner[node_id] for node_id in dirty if node_id in frame.owner)
    if not frame.begun:
        frame.begun = True
        changed = dict.fromkeys(frame.unmet)
    todo = deque({**changed, **frame.again})
    frame.again = {}
    hooked = dict.fromkeys(frame.hooked_targets)
    while todo:
        name = todo.popleft()
        if name not in frame.unmet or (name in frame.done and name not in changed):
            continue
        _visit(state, frame, node, name, dirty)
        todo.extend(_with_new_address(state, frame, name))
        if name not in frame.done and _is_done(state, frame, name):
            frame.done.add(name)
            _read_results(state, frame, name)
            if frame.tasks[name].get("hooks"):  # it may have ended as it began, before its hooks were looked at
                hooked[name] = None
            for dependent in frame.graph.dependents.get(name, ()):
                if dependent in frame.unmet:
                    frame.unmet[dependent] -= 1
                    if frame.unmet[dependent] <= 0:
                        todo.append(dependent)
    _begin_exit_handlers_of_loops(state, frame)
    for name in hooked:
        task_node = state.nodes.by_id.get(_id(state, frame, name))
        if task_node is not None and not _run_hooks(state, frame, frame.tasks[name], task_node):
            _reopen(state, frame, name)
    state.visited(node.id, dirty)


def _read_results(state: State, frame: Frame, name: str) -> None:
    """Notes what is wrong with the results of a loop that is done: they become a JSON list, asked for or not."""
    group = state.nodes.by_id.get(_id(state, frame, name))
    if group is None or group.type != "TaskGroup":
        return
    members = (state.nodes.by_id.get(child) for child in group.children)
    try:
        check_results(member for member in members if member is not None)
    except Problem as err:
        frame.unreadable[name] = err


def _raise_unreadable(frame: Frame, among: Container[str]) -> None:
    for name, problem in frame.unreadable.items():
        if name in among:
            raise problem


def _read_for_targets(state: State, frame: Frame) -> None:
    """Raises `Problem` where a target began whose variables cannot be read."""
    for name in frame.targets if frame.unreadable else ():
        if _id(state, frame, name) in state.nodes.by_id:
            _raise_unreadable(frame, frame.graph.ancestors(name))


def _reopen(state: State, frame: Frame, name: str) -> None:
    """What has not begun waits for the hooks of a task that had been done without them."""
    if name not in frame.done:
        return
    frame.done.discard(name)
    for dependent in frame.graph.dependents.get(name, ()):
        if dependent in frame.unmet and _id(state, frame, dependent) not in state.nodes.by_id:
            frame.unmet[dependent] += 1


def _begin_exit_handlers_of_loops(state: State, frame: Frame) -> None:
    """Those of loops that ended in this walk, after what depends on these has begun and before the DAG may end.

    The original comes to them when it looks at the DAG again: they are lost there where nothing else keeps it open.
    """
    ended, frame.ended_loops = frame.ended_loops, []
    for name in ended:
        _after_completion(state, frame, frame.tasks[name], state.nodes.by_id[_id(state, frame, name)])


def _with_new_address(state: State, frame: Frame, name: str) -> list[str]:
    """The tasks to resolve again since the address of a daemon they mention changed: one that starts again has none."""
    daemon = state.nodes.by_id.get(_id(state, frame, name))
    if daemon is None or not daemon.daemoned:
        return []
    address = last_attempt_or_self(state, daemon).pod_ip
    if frame.addresses.setdefault(name, address) == address:
        return []
    frame.addresses[name] = address
    mention = f"tasks.{name}.ip"
    affected = [other for other in frame.copies if mention in dumps(frame.tasks[other])]
    for other in affected:
        del frame.copies[other]
        frame.copy_by_id.pop(other, None)
        frame.unsettled.pop(other, None)
    return [other for other in affected if other not in frame.done]


def _is_done(state: State, frame: Frame, name: str) -> bool:
    """Whether dependents need not wait for a task any longer."""
    task_node = state.nodes.by_id.get(_id(state, frame, name))
    return task_node is not None and task_node.fulfilled and hooks.all_done(state, task_node)


def _id(state: State, frame: Frame, name: str) -> str:
    known = frame.ids.get(name)
    if known is None:
        known = frame.ids[name] = state.node_id(f"{frame.call.name}.{name}")
    return known


def _visit(state: State, frame: Frame, node: Node, name: str, dirty: dict[str, None]) -> None:
    task = frame.tasks[name]
    task_id = _id(state, frame, name)
    task_node = state.nodes.by_id.get(task_id)
    frame.owner[task_id] = name
    may_have_hooks = task_node is not None and (task_node.fulfilled or task_node.phase == "Running")
    if task_node is not None and may_have_hooks and not _run_hooks(state, frame, task, task_node):
        return
    if task_node is not None and task_node.phase_fulfilled:
        if task_node.type == "TaskGroup" and hooks.exit_hook(state, task) is not None:
            _go_on_with_exit_handlers(state, frame, task, task_node.children)
        _after_completion(state, frame, task, task_node)
        frame.open.pop(task_id, None)
        return
    if frame.unmet[name] > 0:
        return
    if task_node is None and not _depends_hold(state, frame, node, task, name):
        return
    copies = _prepare(state, frame, node, task, name)
    if copies is not None:
        _execute_copies(state, frame, task, name, copies, dirty)
    made = state.nodes.by_id.get(task_id)
    if made is None:
        return
    ends = made.fulfilled and task_node is not None
    if ends and not _run_hooks(state, frame, task, made):  # before what depends on it, or the DAG, goes on without them
        frame.open[task_id] = None
        return
    if task_node is None and made.type == "TaskGroup" and made.phase == "Running" and task.get("hooks"):
        state.mark_below(frame.call.node_id, task_id)  # no pod of its own will ask for its hooks
    _track(frame, made)


def _track(frame: Frame, node: Node) -> None:
    if node.fulfilled:
        frame.open.pop(node.id, None)
    else:
        frame.open[node.id] = None


def _run_hooks(state: State, frame: Frame, task: Task, task_node: Node) -> bool:
    declared = task.get("hooks")
    if not declared or all(name == hooks.EXIT for name in declared):
        return True
    name = str(task.get("name") or "")
    try:
        at = _place(state, frame, task, task_node)
        done = hooks.run_hooks(state, at, task, task_node)
    except Problem as err:
        if name in frame.targets:
            raise HookProblem(err) from err
        state.mark_error(task_node, err)
        return True
    _own_hooks(frame)
    return done


def _own_hooks(frame: Frame) -> None:
    for hook_id, owner_id in frame.hook_nodes.items():
        if hook_id not in frame.owner and owner_id in frame.owner:
            frame.owner[hook_id] = frame.owner[owner_id]


def _place(state: State, frame: Frame, task: Task, task_node: Node) -> hooks.Place:
    name = str(task.get("name") or "")
    scope = scope_of(state, frame, name, everything=True)
    scope[f"tasks.{name}.status"] = task_node.phase
    return hooks.Place(frame.call, frame.context, scope, "tasks", name, frame.hook_nodes)


def _after_completion(state: State, frame: Frame, task: Task, task_node: Node) -> None:
    """Releases what a finished task held and runs its exit handler."""
    locks.release_held(state, task_node)
    if task_node.completed:
        _run_exit_handler(state, frame, task, task_node)


def _run_exit_handler(state: State, frame: Frame, task: Task, task_node: Node) -> bool:
    """Whether the exit handler of a completed task (or copy) is done or not needed."""
    if hooks.exit_hook(state, task) is None:
        return True
    try:
        done = hooks.run_exit_handler(state, _place(state, frame, task, task_node), task, task_node)
    except Problem:
        done = False
    _own_hooks(frame)
    return done


def _depends_hold(state: State, frame: Frame, node: Node, task: Task, name: str) -> bool:
    """Evaluates ``depends`` of a task whose dependencies are done; makes an omitted node where it is false."""
    if not frame.graph.logic[name].text:
        return True
    try:
        if depends.decide(frame.graph.logic[name], _results(state, frame, name)).execute:
            return True
    except depends.DependsError as err:
        _make(state, frame, node, task, "Error", str(err))
        return False
    _make(state, frame, node, task, "Omitted", "omitted: depends condition not met")
    return False


def _results(state: State, frame: Frame, name: str) -> dict[str, depends.State | None]:
    found: dict[str, depends.State | None] = {}
    for dependency in frame.graph.dependencies[name]:
        task_node = state.nodes.by_id[_id(state, frame, dependency)]
        phases: tuple[str | None, ...] | None = None
        if task_node.type == "TaskGroup":
            members = (state.nodes.by_id.get(child) for child in task_node.children)
            phases = tuple(member.phase if member is not None else None for member in members)
        found[dependency] = depends.State(task_node.phase, task_node.daemoned, phases)
    return found


def _make(
    state: State, frame: Frame, node: Node, task: Task, phase: str, message: str, node_type: str = "Skipped"
) -> Node:
    made = executor.new_node(
        state,
        f"{frame.call.name}.{task['name']}",
        node_type,
        phase,
        scope_name=frame.context.scope_name,
        holder=task,
        boundary_id=frame.call.node_id,
        flag={},
        message=message,
    )
    _connect(state, frame, node, str(task["name"]), made.id, None)
    _track(frame, made)
    return made


def _connect(state: State, frame: Frame, node: Node, name: str, child_id: str, group: Node | None) -> None:
    """Hangs a node below its group, the boundary, or the ends of all tasks it depends on."""
    if group is not None:
        state.link(group, child_id)
        return
    dependencies = frame.graph.dependencies[name]
    if not dependencies:
        state.link(node, child_id)
        return
    for dependency in dependencies:
        for end in outputs.outbound(state, _id(state, frame, dependency)):
            end_node = state.nodes.by_id.get(end)
            if end_node is not None:
                state.link(end_node, child_id)


def _prepare(state: State, frame: Frame, node: Node, task: Task, name: str) -> list[dict[str, Any]] | None:
    """Resolves a task that is ready and expands its loop, once; None when it cannot go on."""
    known = frame.copies.get(name)
    if known is not None:
        return known
    task_node = state.nodes.by_id.get(_id(state, frame, name))
    try:
        if frame.unreadable:
            _raise_unreadable(frame, frame.graph.ancestors(name))
        scope = scope_of(state, frame, name)
        references.resolve_volumes(state, scope)
        resolved = references.resolve(state, scope, task, all_optional=False)
        copies = loops.expand(state, resolved, scope) if items.loops(resolved) else [resolved]
    except MissingVariable as err:
        frame.again[name] = None
        state.waiting_for_globals[frame.call.node_id] = None
        state.waits[f"{frame.call.name}.{name}"] = str(err)
        return None
    except Problem as err:
        if task_node is None:
            _make(state, frame, node, task, "Error", str(err))
        else:
            state.mark_error(task_node, err)
        return None
    if items.loops(task):
        if not copies:
            _make(state, frame, node, task, "Skipped", "Skipped, empty params")
            return None
        if task_node is None:
            _make(state, frame, node, task, "Running", "", "TaskGroup")
    frame.copies[name] = copies
    frame.unstarted[name] = dict.fromkeys(str(copy["name"]) for copy in copies)
    return copies


def _execute_copies(
    state: State, frame: Frame, task: Task, name: str, copies: list[dict[str, Any]], dirty: dict[str, None]
) -> None:
    """Executes what is new or changed of a task (or of the copies of a loop)."""
    node = state.nodes.by_id[frame.call.node_id]
    group = state.nodes.by_id.get(_id(state, frame, name)) if items.loops(task) else None
    has_exit = hooks.exit_hook(state, task) is not None
    waiting, open_copies = frame.unstarted[name], frame.open_copies.setdefault(name, {})
    frame.blocked.pop(name, None)
    touched = _touched_or_ended if has_exit else _touched
    for copy in copies if group is None else touched(state, frame, name, copies, dirty):
        copy_name = str(copy["name"])
        copy_id = _id(state, frame, copy_name)
        frame.owner[copy_id] = name
        copy_node = state.nodes.by_id.get(copy_id)
        if copy_node is not None and group is not None:
            state.link(group, copy_id)  # where a run was loaded before that was written
        if copy_node is None:
            _connect(state, frame, node, name, copy_id, group)
            if _is_skipped(state, frame, copy):
                waiting.pop(copy_name, None)
                continue
        made = _execute_copy(state, frame, copy, copy_id)
        if made is None:
            frame.blocked[name] = None
            return
        waiting.pop(copy_name, None)
        _track(frame, made)
        if made.fulfilled:
            open_copies.pop(copy_id, None)
        else:
            open_copies[copy_id] = None
        if has_exit and made.completed and made.fulfilled:
            if not _run_exit_handler(state, frame, task, made):
                _go_on_with_exit_handlers(state, frame, task, frame.unsettled.get(name, ()))
                return
            _settle(state, frame, name, made)
    if group is not None and not waiting and not open_copies:
        _complete_group(state, frame, group)


def _go_on_with_exit_handlers(state: State, frame: Frame, task: Task, copies: Iterable[str]) -> None:
    """Exit handlers of copies run in order, but one that has begun must not wait for one that waits for its lock.

    Nor must it stop when the TaskGroup ends before it.
    """
    for copy_id in list(copies):
        node = state.nodes.by_id.get(copy_id)
        handler = state.node_named(f"{node.name}.onExit") if node is not None else None
        if node is not None and node.completed and handler is not None and not handler.fulfilled:
            frame.owner[copy_id] = str(task["name"])  # or nobody knows whose handler it is, if the loop had ended
            _run_exit_handler(state, frame, task, node)


def _touched(
    state: State, frame: Frame, name: str, copies: list[dict[str, Any]], dirty: dict[str, None]
) -> Iterable[dict[str, Any]]:
    """The copies that changed or have not begun, in order; all of them the first time."""
    waiting = frame.unstarted[name]
    if len(waiting) == len(copies):
        return copies
    mine = _by_id(state, frame, name, copies)
    changed = (mine[node_id] for node_id in dirty if node_id in mine)
    return chain(changed, _unstarted(state, frame, mine, waiting))


def _touched_or_ended(
    state: State, frame: Frame, name: str, copies: list[dict[str, Any]], dirty: dict[str, None]
) -> Iterator[dict[str, Any]]:
    """Of a loop with an exit handler, in order: besides those, the copies that ended and whose handler is not done."""
    mine = _by_id(state, frame, name, copies)
    for copy_id in list(frame.unsettled.setdefault(name, dict.fromkeys(mine))):
        node = state.nodes.by_id.get(copy_id)
        copy = mine[copy_id]
        if str(copy["name"]) in frame.unstarted[name] or copy_id in dirty or (node is not None and node.completed):
            yield copy


def _settle(state: State, frame: Frame, name: str, copy: Node) -> None:
    """Takes note that an exit handler has run. Of one that was not wanted the expression is looked at again."""
    if state.node_named(f"{copy.name}.onExit") is not None:
        frame.unsettled.get(name, {}).pop(copy.id, None)


def _by_id(state: State, frame: Frame, name: str, copies: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    mine = frame.copy_by_id.get(name)
    if mine is None:
        mine = frame.copy_by_id[name] = {_id(state, frame, str(copy["name"])): copy for copy in copies}
    return mine


def _unstarted(
    state: State, frame: Frame, mine: Mapping[str, dict[str, Any]], waiting: dict[str, None]
) -> Iterator[dict[str, Any]]:
    """Those that have not begun, which whoever asks takes out of ``waiting`` (or stops asking)."""
    while waiting:
        yield mine[_id(state, frame, next(iter(waiting)))]


def _is_skipped(state: State, frame: Frame, copy: Task) -> bool:
    when = str(copy.get("when") or "")
    try:
        if should_execute(when):
            return False
        phase, message = "Skipped", f"when '{when}' evaluated false"
    except Problem as err:
        phase, message = "Error", str(err)
    executor.new_node(
        state,
        f"{frame.call.name}.{copy['name']}",
        "Skipped",
        phase,
        scope_name=frame.context.scope_name,
        holder=copy,
        boundary_id=frame.call.node_id,
        flag={},
        message=message,
    )
    return True


def _execute_copy(state: State, frame: Frame, copy: Task, copy_id: str) -> Node | None:
    call = state.calls.get(copy_id)
    if call is None or call.parent != frame.call.node_id:
        call = Call(
            node_id=copy_id,
            name=f"{frame.call.name}.{copy['name']}",
            holder=copy,
            kind="task",
            context=frame.context,
            arguments=copy.get("arguments") or {},
            parent=frame.call.node_id,
            boundary_id=frame.call.node_id,
            on_exit=frame.call.on_exit,
        )
    elif call.holder is not copy:
        call.holder, call.arguments = copy, copy.get("arguments") or {}
        state.mark(copy_id)
    outcome = executor.execute(state, call)
    problem = outcome.problem
    node = outcome.node
    if isinstance(problem, TimedOut):
        if node is not None:
            state.mark_phase(node, "Failed", str(problem))
    elif problem is not None and not isinstance(problem, (Blocked, TooDeep)) and node is not None:
        state.mark_error(node, f"task '{call.name}' errored: {problem}")
    return node


def _complete_group(state: State, frame: Frame, group: Node) -> None:
    """Ends a TaskGroup whose copies are all done."""
    if group.phase_fulfilled:
        return
    members = [state.nodes.by_id.get(child) for child in group.children]
    phase = "Succeeded"
    for member in members:
        if member is None or not (member.fulfilled or member.hooked):
            return
        if member.unsuccessful and not member.hooked:
            phase = member.phase
    state.mark_phase(group, phase)
    frame.ended_loops.append(frame.owner[group.id])


# -- the phase of the whole --------------------------------------------------------------------------------------------


def _conclude(state: State, frame: Frame, node: Node) -> Outcome:
    """Ends the node when its phase is known."""
    try:
        _read_for_targets(state, frame)
    except Problem as err:
        return Outcome(node, err)
    phase = _assess(state, frame, node)
    if phase == "Running":
        return Outcome(node)
    if phase in ("Failed", "Error"):
        _set_outbound(state, frame, node)
        return Outcome(state.mark_phase(node, phase))
    for name in frame.tasks:
        task_node = state.nodes.by_id.get(_id(state, frame, name))
        if task_node is not None:
            outputs.export(state, task_node.outputs)
    try:
        made = None
        _raise_unreadable(frame, frame.tasks)
        if has_outputs(frame.template.get("outputs")):
            made = outputs.from_scope(frame.template, _scope_of_all(state, frame))
    except Problem as err:
        return Outcome(node, err)
    if made is not None:
        state.update(node, outputs=made)
    memoize.save(state, node)
    _set_outbound(state, frame, node)
    return Outcome(state.mark_phase(node, "Succeeded"))


def _set_outbound(state: State, frame: Frame, node: Node) -> None:
    ends: list[str] = []
    for name in frame.targets:
        ends += outputs.outbound(state, _id(state, frame, name))
    state.update(node, outbound_nodes=ends)


def _assess(state: State, frame: Frame, node: Node) -> str:
    if state.shutdown and not frame.call.on_exit and _exit_handlers_done(state, frame):
        return "Failed"
    is_open = bool(frame.open or frame.again or frame.blocked)
    if is_open and not _may_heal(state, frame):
        return "Running"
    phases = _branch_phases(state, frame, node)
    if phases is None or is_open:
        return "Running"
    fail_fast = (frame.template.get("dag") or {}).get("failFast") is not False
    result = "Succeeded"
    for name in frame.targets:
        phase = phases[_id(state, frame, name)]
        if not phase:
            result = "Running"
            if not fail_fast:
                break
        elif phase in ("Failed", "Error"):
            if _continues_on(frame.tasks[name], phase):
                continue
            result = phase
            if fail_fast:
                break
    return result


def _continues_on(task: Task, phase: str) -> bool:
    from tiphys.workflows.plan.steps import continues_on

    return continues_on(task, phase)


def _exit_handlers_done(state: State, frame: Frame) -> bool:
    for name in frame.targets:
        task_node = state.nodes.by_id.get(_id(state, frame, name))
        if task_node is not None and task_node.fulfilled and task_node.completed:
            handler = state.node_named(f"{task_node.name}.onExit")
            if handler is not None and not handler.fulfilled:
                return False
    return True


def _branch_phases(state: State, frame: Frame, node: Node) -> dict[str, str] | None:
    """The phase that each target has or inherits ("" where it was not reached); None while something runs."""
    found = {_id(state, frame, name): "" for name in frame.targets}
    todo = deque((child, "Succeeded") for child in node.children)
    seen = set(todo)
    while todo:
        node_id, branch = todo.popleft()
        current = state.nodes.by_id.get(node_id)
        if current is None:
            return None
        if not current.fulfilled:
            healed = _heal(state, frame, current)
            if healed is None and not _is_given_up(state, node, current):
                return None
            branch = healed or branch
        elif current.completed and not _only_hides_failure(node, current, branch):
            branch = current.phase
        if node_id in found and found[node_id] not in ("Failed", "Error"):
            found[node_id] = branch
        below = _below_retry(state, current) if current.type == "Retry" else current.children
        for child in below:
            if (child, branch) not in seen:
                seen.add((child, branch))
                todo.append((child, branch))
    return found


def _is_given_up(state: State, node: Node, current: Node) -> bool:
    """Whether a composite node will never end, since what it is part of has ended without it.

    Steps end at once when a hook's expression is wrong, whatever retries wait; the original waits for these for ever.
    """
    boundary = state.nodes.by_id.get(current.boundary_id)
    if boundary is None or boundary is node or current.type not in _COMPOSITE:
        return False
    return boundary.phase_fulfilled


def _only_hides_failure(node: Node, current: Node, branch: str) -> bool:
    """Whether a node is a hook that succeeded below a task that failed: what was omitted after it failed as well."""
    return current.hooked and current.boundary_id == node.id and branch in UNSUCCESSFUL and not current.unsuccessful


_COMPOSITE = frozenset(("Retry", "Steps", "StepGroup", "DAG", "TaskGroup"))


def _may_heal(state: State, frame: Frame) -> bool:
    """Whether a loop waits for nothing but the exit handlers of its copies: that does not keep its TaskGroup open."""
    for name in frame.loops_with_exit:
        group = state.nodes.by_id.get(_id(state, frame, name))
        if group is not None and group.id in frame.open and _healed_phase(state, frame, group) is not None:
            return True
    return False


def _has_exit_hook(state: State, frame: Frame, task_node: Node) -> bool:
    task = frame.tasks.get(frame.owner.get(task_node.id, ""))
    return task is not None and hooks.exit_hook(state, task) is not None


def _heal(state: State, frame: Frame, group: Node) -> str | None:
    """Ends a TaskGroup that is open although its copies are done.

    Their exit handlers may still run, or a retry has reset only the group.
    """
    phase = _healed_phase(state, frame, group)
    if phase is not None:
        state.mark_phase(group, phase)
        state.mark_below(frame.call.node_id, group.id)  # its exit handler is for the next pass
    return phase


def _healed_phase(state: State, frame: Frame, group: Node) -> str | None:
    """The phase such a TaskGroup ends with, None for others.

    The original does not wait for the exit handlers of all copies to begin: those that have not are lost there.
    """
    if group.type != "TaskGroup" or not group.children:
        return None
    name = frame.owner.get(group.id, "")
    if frame.unstarted.get(name):  # these wait for the exit handler of one before them
        return None
    has_exit = _has_exit_hook(state, frame, group)
    phase = "Succeeded"
    for child_id in (*frame.unsettled.get(name, ()), *group.children):  # most likely one of the first is not done
        child = state.nodes.by_id.get(child_id)
        if child is None or not child.fulfilled:
            return None
        if has_exit and child.completed and not child.hooked and state.node_named(f"{child.name}.onExit") is None:
            return None
        if child.unsuccessful:
            phase = child.phase
    return phase


def _below_retry(state: State, node: Node) -> list[str]:
    """What follows a Retry node: its hooks, and what hangs below its attempts (they themselves count no more).

    Tasks that follow an exit handler with retries hang below its Retry node itself, beside the attempts; the original
    does not find them there and waits for ever.
    """
    below: list[str] = []
    for child_id in reversed(node.children):
        child = state.nodes.by_id.get(child_id)
        if child is None:
            continue
        if child.hooked or not child.retried:
            below.append(child.id)
        else:
            below.extend(child.children)
    return below


# -- variables -------------------------------------------------------------------------------------------------------


_MENTIONED = re.compile(r"tasks\.([a-zA-Z0-9_-]+)\.")
_NESTED_TAGS = re.compile(r"\{\{[^}]*\{\{")


def scope_of(state: State, frame: Frame, name: str, *, everything: bool = False) -> Scope:
    """What a task can see: its template's inputs and the outputs of its ancestors.

    Ancestors that its text does not mention are left out, unless it has expressions, which may look at all.
    """
    scope = Scope(frame.template)
    scope.add_workflow_outputs(state.status.get("outputs"))
    if everything:
        _add_tasks(state, frame, scope, frame.graph.ancestors(name))
    elif frame.refers_to_tasks:
        _add_tasks(state, frame, scope, _referred_to(frame, name))
    return scope


def _referred_to(frame: Frame, name: str) -> list[str]:
    """The ancestors that a task may look at."""
    text = dumps(frame.tasks[name])
    if _may_look_at_all(text):
        return frame.graph.ancestors(name)
    mentioned = dict.fromkeys(_MENTIONED.findall(text))
    return [other for other in mentioned if frame.graph.is_ancestor(other, name)]


def _refers_to_tasks(template: Template) -> bool:
    """Whether any task may look at another; asked once, for where none does, no task's text needs to be made."""
    text = dumps((template.get("dag") or {}).get("tasks"))
    return _may_look_at_all(text) or _MENTIONED.search(text) is not None


def _may_look_at_all(text: str) -> bool:
    """Whether a text has expressions, or tags whose names come from other tags."""
    return "{{=" in text or '"fromExpression"' in text or _NESTED_TAGS.search(text) is not None


def _scope_of_all(state: State, frame: Frame) -> Scope:
    scope = Scope(frame.template)
    scope.add_workflow_outputs(state.status.get("outputs"))
    _add_tasks(state, frame, scope, list(frame.tasks))
    return scope


def _add_tasks(state: State, frame: Frame, scope: Scope, task_names: list[str]) -> None:
    for name in task_names:
        task_node = state.nodes.by_id.get(_id(state, frame, name))
        if task_node is None:
            continue
        prefix = f"tasks.{name}"
        if task_node.type == "TaskGroup":
            members = (state.nodes.by_id.get(child) for child in task_node.children)
            scope.add_aggregate(prefix, [member for member in members if member is not None])
        scope.add_node(state, prefix, task_node)
        scope.add_skipped(state, frame.context, prefix, task_node, frame.tasks[name], artifacts=False)
