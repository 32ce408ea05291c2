"""How many pods may run at once: in the workflow, and below one template.

    spec.parallelism          active pods of the whole workflow
    template.parallelism      active children of the template's node (not their children)
    template.failFast         nothing new once a child failed; the node fails when its last pod is gone

What was refused is remembered in ``state.blocked`` and looked at again when a pod finished.
"""

from __future__ import annotations

from tiphys.workflows.plan.nodes import ACTIVE, Node
from tiphys.workflows.plan.problems import Blocked, Outcome, Problem
from tiphys.workflows.plan.state import Call, State
from tiphys.workflows.plan.templates import Template, type_of

FAIL_FAST = "template has failed or errored children and failFast enabled"


def allows(state: State, call: Call, node: Node | None, template: Template) -> bool:
    """Whether the template may be executed now. May fail a node whose children failed fast."""
    limit = state.spec.get("parallelism")
    if limit is not None and state.active_pods >= limit:
        return False
    if node is not None and type_of(template) in ("DAG", "Steps"):
        if _failed_fast(state, node, template):
            return False
        own = template.get("parallelism") or 0
        if own > 0 and state.nodes.counts(node.id).active_pods >= own:
            return False
    if call.boundary_id and (node is None or node.phase not in ACTIVE):
        return _boundary_allows(state, call.boundary_id)
    return True


def blocked(state: State, call: Call, node: Node | None) -> Outcome:
    """The outcome of a call that parallelism does not allow."""
    state.blocked[call.node_id] = None
    state.waits[call.name] = "parallelism: as many pods as allowed are running"
    return Outcome(node, Blocked())


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


def _boundary_allows(state: State, boundary_id: str) -> bool:
    boundary = state.nodes.by_id[boundary_id]
    try:
        template = boundary_template(state, boundary_id)
    except Problem:
        return True
    if template is None:
        return True
    if _failed_fast(state, boundary, template):
        return False
    limit = template.get("parallelism") or 0
    return not (limit > 0 and state.nodes.counts(boundary_id).active_children >= limit)


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
