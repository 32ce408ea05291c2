"""How many pods may run at once: in the workflow, and below one template.

    spec.parallelism          active pods of the whole workflow
    template.parallelism      active children of the template's node (not their children)
    template.failFast         nothing new once a child failed; the node fails when its last pod is gone
    TURN_MAX                  pods of one decision; the next one, at once, goes on: a plan has a bound

What was refused waits in ``state.blocked`` by the limit that was reached, in order, and as many are looked at again as
there is room for: where thousands wait, the end of one pod must not cost a look at all of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tiphys.workflows.plan.nodes import ACTIVE, Node
from tiphys.workflows.plan.problems import Blocked, Outcome, Problem
from tiphys.workflows.plan.state import Call, State
from tiphys.workflows.plan.templates import Template, is_pod, type_of

TURN_MAX = 1_000
FAIL_FAST = "template has failed or errored children and failFast enabled"


class Limit(NamedTuple):
    """What keeps a template from being executed: ``most`` active pods or children of ``node_id`` ("": the workflow).

    ``failed``: a child of the node failed, which is final; the last pod below it is waited for. ``turn``: the decision
    does enough already.
    """

    of: Literal["pods", "children", "failed", "turn"]
    node_id: str
    most: int


THIS_TURN = Limit("turn", "", TURN_MAX)


def reached(state: State, call: Call, node: Node | None, template: Template) -> Limit | None:
    """The limit that the template must wait for now, if any. May fail a node whose children failed fast."""
    most = state.spec.get("parallelism")
    if most is not None and state.active_pods >= most and not has_unpaired(state, call):
        return Limit("pods", "", most)
    if is_pod(template) and (node is None or node.type != "Retry") and (limit := unpaired_reached(state, call)):
        return limit
    if node is not None and type_of(template) in ("DAG", "Steps"):
        if _failed_fast(state, node, template):
            return Limit("failed", node.id, 0)
        own = template.get("parallelism") or 0
        if own > 0 and state.nodes.counts(node.id).active_pods >= own:
            return Limit("pods", node.id, own)
    if call.boundary_id and (node is None or node.phase not in ACTIVE):
        return _reached_in(state, call.boundary_id)
    return None


def unpaired_reached(state: State, call: Call) -> Limit | None:
    """The limit that a new pod must wait for, where pods without their node, or nodes without their pod, take places.

    They are of an earlier life, of which one of the two was stored and not (or not yet seen to be) the other. They keep
    back pods alone: what comes before the node that claims a pod (the end of a suspend, or of a retry) may not wait.
    """
    most = state.spec.get("parallelism")
    if most is None or not state.unpaired or state.active_pods + len(state.unpaired) < most:
        return None
    return None if has_unpaired(state, call) else Limit("pods", "", most)


def has_unpaired(state: State, call: Call) -> bool:
    """Whether a node without its pod, or a pod without its node, is of this call, or of one below it."""
    return any(_is_below(name, call.name) for name in state.unpaired.values())


def _is_below(name: str, above: str) -> bool:
    """Whether a node is another one or, by its name, below it: ``a[0].b(1)`` is below ``a`` and ``a[0].b``."""
    return name.startswith(above) and name[len(above) : len(above) + 1] in ("", ".", "[", "(")


def keeps_place(state: State, node: Node) -> bool:
    """Whether a stored node whose pod is not seen counts all the same: the pod may be there, or is made in this turn.

    Not one that was seen running, nor one below what has ended, which is never executed again.
    """
    if node.phase != "Pending" or node.waiting_for:
        return False
    boundary = state.nodes.by_id.get(node.boundary_id)
    while boundary is not None and not boundary.phase_fulfilled:
        boundary = state.nodes.by_id.get(boundary.boundary_id)
    return boundary is None


def active_pods(state: State) -> int:
    """Pods that take a place: of active nodes, and those made again for a node that had ended, till they are seen."""
    by_id = state.nodes.by_id
    remade = sum(1 for node_id in state.remade if node_id in by_id and by_id[node_id].phase not in ACTIVE)
    return state.nodes.active_pods + remade


def next_turn(state: State) -> Limit | None:
    """The limit that a new node must wait for where the decision has done enough."""
    return THIS_TURN if len(state.actions) >= TURN_MAX else None


def blocked(state: State, call: Call, node: Node | None, limit: Limit) -> Outcome:
    """The outcome of a call that has to wait for ``limit``."""
    if state.blocked_by.get(call.node_id) != limit:
        unblocked(state, call.node_id)
        state.blocked_by[call.node_id] = limit
        state.blocked.setdefault(limit, {})[call.node_id] = None
    state.waits[call.name] = _WHY.get(limit.of, "parallelism: as many pods as allowed are running")
    return Outcome(node, Blocked())


_WHY = {"turn": "the next decision: this one makes enough pods already"}


def unblocked(state: State, node_id: str) -> None:
    """Says that a node waits for no limit any more."""
    limit = state.blocked_by.pop(node_id, None)
    if limit is None:
        return
    waiting = state.blocked[limit]
    del waiting[node_id]
    if not waiting:
        del state.blocked[limit]


def retry(state: State, tried: set[tuple[Limit, str]]) -> bool:
    """Marks what there is room for, the longest waiting first, but for those ``tried`` in this decision already.

    Says whether there was any.
    """
    before = len(tried)
    for limit, waiting in list(state.blocked.items()):
        room, over = _room(state, limit), []
        for node_id in waiting:
            if room <= 0:
                break
            if (limit, node_id) in tried:
                continue
            if _is_over(state, node_id):
                over.append(node_id)
                continue
            tried.add((limit, node_id))
            state.mark(node_id)
            room -= 1
        for node_id in over:
            unblocked(state, node_id)
    return len(tried) > before


def _room(state: State, limit: Limit) -> int:
    if limit.of == "turn":
        return limit.most - len(state.actions)
    if limit.of == "pods" and not limit.node_id:
        return limit.most - active_pods(state) - len(state.unpaired)
    counts = state.nodes.counts(limit.node_id)
    if limit.of == "failed":
        return 1 if counts.active_pods == 0 else 0
    return limit.most - (counts.active_pods if limit.of == "pods" else counts.active_children)


def _is_over(state: State, node_id: str) -> bool:
    """Whether something above a node is done, so that the node is never looked at again."""
    call = state.calls.get(node_id)
    while call is not None and call.parent:
        parent = state.nodes.by_id.get(call.parent)
        if parent is not None and parent.phase_fulfilled:
            return True
        call = state.calls.get(call.parent)
    return False


def boundary_template(state: State, boundary_id: str) -> Template | None:
    """The (unprocessed) template of a boundary's node. Raises `Problem` where it cannot be found any more."""
    boundary = state.nodes.by_id.get(boundary_id)
    if boundary is None or (not boundary.template_name and not boundary.template_ref):
        return None
    call = state.calls.get(boundary_id)
    if call is not None:
        return state.templates.resolve(call.context, call.holder)[1]
    context = state.templates.context_of(boundary.template_scope)
    holder = {"template": boundary.template_name, "templateRef": boundary.template_ref}
    return state.templates.resolve(context, holder)[1]


def keeps_out(state: State, node: Node) -> bool:
    """Whether a limit keeps a composite from being evaluated, however much is left to do below it."""
    most = state.spec.get("parallelism")
    if most is not None and state.active_pods >= most:
        return True
    try:
        template = boundary_template(state, node.id)
    except Problem:
        return False
    own = (template or {}).get("parallelism") or 0
    return 0 < own <= state.nodes.counts(node.id).active_pods


def bounds_children(state: State, boundary_id: str) -> bool:
    """Whether a boundary's template says how many of its children may be active."""
    try:
        template = boundary_template(state, boundary_id)
    except Problem:
        return False
    return template is not None and bool(template.get("parallelism"))


def _reached_in(state: State, boundary_id: str) -> Limit | None:
    boundary = state.nodes.by_id[boundary_id]
    try:
        template = boundary_template(state, boundary_id)
    except Problem:
        return None
    if template is None:
        return None
    if _failed_fast(state, boundary, template):
        return Limit("failed", boundary_id, 0)
    most = template.get("parallelism") or 0
    if most > 0 and state.nodes.counts(boundary_id).active_children >= most:
        return Limit("children", boundary_id, most)
    return None


def _failed_fast(state: State, node: Node, template: Template) -> bool:
    counts = state.nodes.counts(node.id)
    if not template.get("failFast") or counts.unsuccessful == 0:
        return False
    if counts.active_pods == 0:
        if type_of(template) == "Steps" and (group := _leaf_group(state, node)) is not None:
            state.mark_phase(group, "Failed", FAIL_FAST)
        state.mark_phase(node, "Failed", FAIL_FAST)
    return True


def _leaf_group(state: State, root: Node) -> Node | None:
    """The step group that is last in a walk down from a node, wherever below it: it need not be the node's own."""
    by_id = state.nodes.by_id
    seen: set[str] = set()
    path = [(root, reversed(root.children))]
    while path:
        node, rest = path[-1]
        child = next((by_id[child_id] for child_id in rest if child_id in by_id and child_id not in seen), None)
        if child is not None:
            seen.add(child.id)
            path.append((child, reversed(child.children)))
        elif node.type == "StepGroup":
            return node
        else:
            path.pop()
    return None
