"""Hooks and exit handlers of steps and tasks.

A hook runs at most once, when its expression first holds; ``hooks.exit`` (or ``onExit``) runs when its node completed.
Whoever depends on the node waits for all of them. Their nodes are children of the node, flagged ``hooked``:

    <node>.hooks.<name>        <node>.onExit
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan.canonical import any_string, dumps
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Blocked, Problem
from tiphys.workflows.plan.references import Strings, resolve_artifacts
from tiphys.workflows.plan.scope import Scope, last_attempt_or_self
from tiphys.workflows.plan.state import Call
from tiphys.workflows.plan.text import evaluate_bool, replace

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import TemplateContext

Holder = Mapping[str, Any]
EXIT = "exit"


@dataclass(slots=True)
class Place:
    """Where hooks run: the boundary's call and context, the variables, and what its members are called there.

    ``family`` is "steps" or "tasks"; ``hook_nodes`` collects the ids of hook nodes and whose they are.
    """

    boundary: Call
    context: TemplateContext
    scope: Scope
    family: str
    name: str
    hook_nodes: dict[str, str]


def exit_hook(state: State, holder: Holder) -> Holder | None:
    """The exit handler of a step, task or spec; without own arguments it gets the workflow's."""
    if handler := holder.get("onExit"):
        return {"template": handler, "arguments": state.spec.get("arguments") or {}}
    hook: Holder | None = (holder.get("hooks") or {}).get(EXIT)
    if hook is None or _has_any(hook.get("arguments")):
        return hook
    return {**hook, "arguments": state.spec.get("arguments") or {}}


def are_declared(state: State) -> bool:
    """Whether any step or task known so far has hooks or an exit handler."""
    known = state.has_hooks
    if known is None or known[0] != len(state.stored_templates):
        text = dumps([state.spec.get("templates"), state.spec.get("templateDefaults"), state.stored_templates])
        known = state.has_hooks = (len(state.stored_templates), '"hooks"' in text or '"onExit"' in text)
    return known[1]


def watches_others(holder: Holder, names: Collection[str]) -> bool:
    """Whether a hook may have to run though neither its node (called ``names``) nor a workflow variable changed."""
    for name, hook in (holder.get("hooks") or {}).items():
        expression = str(hook.get("expression") or "")
        if name == EXIT or not expression:
            continue
        mentioned = {(found[1] or found[2]) for found in _MENTIONED.findall(expression)}
        if not mentioned.issubset(names) or any(word in expression for word in _TIME):
            return True
    return False


_MENTIONED = re.compile(r"""\b(steps|tasks)\b(?:\.([\w-]+)|\[\s*['"]([^'"]+)['"]\s*\])?""")
_TIME = ("duration", "now", "sprig")


def run_hooks(state: State, at: Place, holder: Holder, node: Node) -> bool:
    """Runs the hooks whose moment has come; says whether those that ran are done. Raises `Problem`."""
    done = True
    for name, hook in sorted((holder.get("hooks") or {}).items()):
        if name == EXIT:
            continue
        hook_name = f"{node.name}.hooks.{name}"
        known = state.node_named(hook_name)
        if not hook.get("expression"):
            raise Problem(f"Expression required for hook {hook_name}")
        if not evaluate_bool(hook["expression"], state.values(at.scope)) and known is None:
            continue
        outputs = last_attempt_or_self(state, node).outputs
        try:
            made = _execute(state, at, hook, node, hook_name, outputs, resolves=outputs is not None, on_exit=False)
        except Blocked:  # it waits for its turn; the original ends the node in an error
            made = None
        done = done and made is not None and made.fulfilled
    return done


def run_exit_handler(state: State, at: Place, holder: Holder, node: Node) -> bool:
    """Runs the exit handler of a completed node; False while it is not done. Raises `Problem`.

    Once the workflow is terminated only one that has begun is looked at, so that it ends, and nobody waits for it.
    """
    hook = exit_hook(state, holder)
    if hook is None:
        return True
    if not state.lets_run(on_exit=True):
        _end_exit_handler(state, at, hook, node)
        return True
    if hook.get("expression") and not evaluate_bool(hook["expression"], state.values(at.scope)):
        return True
    outputs = last_attempt_or_self(state, node).outputs
    made = _execute(state, at, hook, node, f"{node.name}.onExit", outputs, resolves=True, on_exit=True)
    return made is not None and made.fulfilled


def _end_exit_handler(state: State, at: Place, hook: Holder, node: Node) -> None:
    """Has the shutdown seen by an exit handler whose pod, or next attempt, was not made before: none is made now."""
    known = state.node_named(f"{node.name}.onExit")
    if known is not None and not known.fulfilled:
        _execute(state, at, hook, node, known.name, None, resolves=False, on_exit=True)


def _execute(
    state: State,
    at: Place,
    hook: Holder,
    node: Node,
    name: str,
    outputs: Mapping[str, Any] | None,
    *,
    resolves: bool,
    on_exit: bool,
) -> Node | None:
    node_id = state.node_id(name)
    call = state.calls.get(node_id)
    if call is None:
        arguments = hook.get("arguments") or {}
        if _has_any(arguments) and resolves:
            arguments = _resolve_arguments(state, at, arguments, outputs)
        call = Call(
            node_id=node_id,
            name=name,
            holder={key: hook[key] for key in ("template", "templateRef") if hook.get(key)},
            kind="step",
            context=at.context,
            arguments=arguments,
            parent=at.boundary.node_id,
            boundary_id=at.boundary.node_id,
            on_exit=on_exit,
            flag={"hooked": True},
        )
    at.hook_nodes[node_id] = node.id
    outcome = executor.execute(state, call)
    if on_exit or outcome.problem is None:
        state.link(node, node_id)
    if outcome.problem is not None:
        raise outcome.problem
    return outcome.node


def _resolve_arguments(
    state: State, at: Place, arguments: Mapping[str, Any], outputs: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """The arguments of a hook; they may refer to the outputs of the very node it belongs to."""
    prefix = f"{at.family}.{at.name}.outputs"
    for param in (outputs or {}).get("parameters") or ():
        at.scope[f"{prefix}.parameters.{param['name']}"] = any_string(param.get("value") or "")
    for artifact in (outputs or {}).get("artifacts") or ():
        at.scope[f"{prefix}.artifacts.{artifact['name']}"] = artifact
    arguments = at.scope.mark_absent_arguments(arguments)
    text = dumps(arguments)
    made = dict(orjson.loads(replace(text, state.values(Strings(at.scope))))) if "{{" in text else dict(arguments)
    if made.get("artifacts"):
        made = {**made, "artifacts": resolve_artifacts(at.scope, made["artifacts"], all_optional=True)}
    return made


def _has_any(arguments: Any) -> bool:
    return bool(arguments) and bool(arguments.get("parameters") or arguments.get("artifacts"))


def all_done(state: State, node: Node) -> bool:
    """Whether every hook of a node that was started is done."""
    for child_id in node.children:
        child = state.nodes.by_id.get(child_id)
        if child is not None and child.hooked and not child.fulfilled:
            return False
    return True


def kill_daemons(state: State, boundary_id: str) -> None:
    """Ends the daemons of a boundary that is done (all where ``boundary_id`` is ""): their nodes have succeeded."""
    for node_id in list(state.nodes.daemoned):
        node = state.nodes.by_id[node_id]
        if node.boundary_id == boundary_id:
            state.terminate(node)
            state.update(node, phase="Succeeded", daemoned=False)
