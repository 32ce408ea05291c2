"""Leaves: nodes that a pod (or the agent, for http and plugin templates) carries out.

A pod is created once; afterwards `assess` reads its state into the node. What a pod looks like is `pods`' business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tiphys.machinery.actions import Create, Delete, Patch
from tiphys.machinery.resources import CONFIG_MAPS, PODS, ObjectKey
from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan import parallelism
from tiphys.workflows.plan.canonical import dumps
from tiphys.workflows.plan.nodes import ACTIVE, Node
from tiphys.workflows.plan.pods import build
from tiphys.workflows.plan.problems import NotYet, Outcome, Problem
from tiphys.workflows.plan.templates import is_daemon

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import Call, State
    from tiphys.workflows.plan.templates import Template


def execute_pod(state: State, call: Call, template: Template, kind: str) -> Outcome:
    """Makes the node and its pod, unless they are there."""
    node = state.nodes.by_id.get(call.node_id)
    if node is None:
        expects = not (kind == "Container" and is_daemon(template))
        node = executor.initialize(state, call, "Pod", "Pending", template=template, expects_result=expects)
        _claim(state, node)
    elif kind in ("Script", "Resource", "Data") and node.phase != "Pending":
        return Outcome(node)
    try:
        captures = kind == "Data" or (kind != "Resource" and _result_is_used(state, call))
        create_pod(state, call, node, template, captures_result=captures)
    except NotYet as err:
        state.mark_phase(node, "Pending", str(err))
        return Outcome(node)
    except Problem as err:
        return Outcome(node, err)
    if kind == "ContainerSet":
        _add_containers(state, call, node, template)
    return Outcome(node)


def _claim(state: State, node: Node) -> None:
    """The pod of a new node, and its result, may be there: an earlier life of the controller made it and died."""
    if node.id in state.pod_of:
        state.fresh_pods[state.pod_of[node.id]] = None
    if node.id in state.task_results:
        state.fresh_results[node.id] = None


def execute_task(state: State, call: Call, template: Template, kind: str) -> Outcome:
    """Hands an http or plugin template to the agent."""
    node = state.nodes.by_id.get(call.node_id)
    if node is None:
        node = executor.initialize(state, call, kind, "Pending", template=template)
    if not node.fulfilled:
        state.tasks[node.id] = template
        state.waits[call.name] = "the agent to carry it out"
    return Outcome(node)


def create_pod(state: State, call: Call, node: Node, template: Template, *, captures_result: bool) -> None:
    """Plans the pod of a node, unless it exists or nothing may start any more.

    Raises `Problem`; `NotYet` while a quota that was full is not asked again.
    """
    if state.nodes.pod_exists(node.id):
        return
    if not state.lets_run(call.on_exit):
        state.mark_phase(node, "Failed", f"workflow shutdown with strategy: {state.shutdown}")
        return
    if node.id in state.held_back:
        again, why = state.held_back[node.id]
        if state.now <= again:
            state.waits[call.name] = f"room in a quota: {why}"
            raise NotYet(why)
        del state.held_back[node.id]
    made = build.workload(state, call, node, template, captures_result=captures_result)
    if made is None:
        return
    for extra in made.config_maps:
        state.actions.append(Create(CONFIG_MAPS, extra, why=f"arguments of node {node.name}"))
    state.actions.append(Create(PODS, made.pod, why=f"node {node.name}"))
    state.pod_of[node.id] = made.pod["metadata"]["name"]
    state.nodes.set_pod_exists(node.id, True)
    state.unpaired.pop(node.id, None)
    state.created_pods.add(node.id)
    state.active_pods += 1
    if node.phase not in ACTIVE:
        state.remade[node.id] = None
    if made.progress:
        state.update(node, progress=made.progress)


def delete_pod(state: State, node: Node) -> None:
    """Plans the end of a node's pod, the very one that was seen."""
    name = state.pod_of.get(node.id)
    if name is None:
        return
    view = state.pods.get(name)
    uid = (view.obj.get("metadata") or {}).get("uid") if view is not None else None
    state.actions.append(
        Delete(PODS, ObjectKey(state.namespace, name), uid=uid, why=f"node {node.name} is out of time")
    )


def terminate_pod(state: State, node: Node) -> None:
    """Asks a pod's containers to stop: running ones get a signal, a pod that has not started is deleted."""
    name = state.pod_of.get(node.id)
    if name is None or name in state.terminated:
        return
    state.terminated.add(name)
    key = ObjectKey(state.namespace, name)
    view = state.pods.get(name)
    phase = ((view.obj.get("status") or {}).get("phase") if view is not None else None) or "Pending"
    if phase == "Running" and state.settings.executor == "in-pod":
        state.after.append(
            Patch(PODS, key, {"metadata": {"annotations": {TERMINATE: "true"}}}, why="stop its containers")
        )
    else:
        state.after.append(Delete(PODS, key, why="stop its containers"))


TERMINATE = "workflows.argoproj.io/terminate"
"""Asks whoever can reach the containers of an in-pod executor to signal them (``argoexec kill``)."""


def _add_containers(state: State, call: Call, node: Node, template: Template) -> None:
    """The nodes of a container set's containers, hung up by their dependencies."""
    containers = (template.get("containerSet") or {}).get("containers") or ()
    for container in containers:
        name = f"{node.name}.{container['name']}"
        if state.node_named(name) is None:
            executor.new_node(
                state,
                name,
                "Container",
                "Pending",
                scope_name=call.context.scope_name,
                holder=call.holder,
                boundary_id=node.id,
                flag=call.flag,
            )
    for container in containers:
        child_id = state.node_id(f"{node.name}.{container['name']}")
        for dependency in container.get("dependencies") or ():
            parent = state.node_named(f"{node.name}.{dependency}")
            if parent is not None:
                state.link(parent, child_id)
        if not container.get("dependencies"):
            state.link(node, child_id)


_RESULT_USES = {
    family: re.compile(
        rf"{family}\.([^.\s{{}}]+)\.outputs\.result|{family}\[(?:'|\\?\")?([^\]'\"\\]+)(?:'|\\?\")?\]\.outputs.result"
    )
    for family in ("", "steps", "tasks")
}


def _result_is_used(state: State, call: Call) -> bool:
    """Whether the template that called this one mentions the node's result anywhere."""
    if not call.boundary_id:
        return False
    template = parallelism.boundary_template(state, call.boundary_id)
    return template is not None and mentions_result(state, template, member_name(call.name))


def mentions_result(state: State, template: Template, name: str) -> bool:
    """Whether the text of a Steps or DAG template refers to ``<name>.outputs.result``."""
    known = state.result_uses.get(id(template))
    if known is None:
        family = "tasks" if template.get("dag") is not None else "steps" if template.get("steps") is not None else ""
        found = _RESULT_USES[family].findall(dumps(template))
        known = (template, frozenset(plain or bracketed for plain, bracketed in found))
        state.result_uses[id(template)] = known  # which keeps the template, so that nothing else gets its id
    return name in known[1]


def member_name(node_name: str) -> str:
    """The step or task that a node name ends in, without loop and retry indexes: ``wf[0].a(0:x)(1)`` is ``a``."""
    opener, end = "", 0
    for index in range(len(node_name) - 1, -1, -1):
        character = node_name[index]
        if character == opener:
            opener = ""
        elif opener:
            continue
        elif character in ")]":
            opener = "(" if character == ")" else "["
        else:
            end = index + 1
            break
    return node_name[:end].rpartition(".")[2]
