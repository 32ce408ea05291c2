"""retryStrategy: a node that is tried again.

The node becomes a Retry node; its attempts are children named ``<name>(0)``, ``(1)`` … It takes the phase and outputs
of its last attempt when that ends it. Whether to try again is arithmetic over the manifest (``tiphys.lang.backoff``).

    attempt failed ── shutdown or deadline? ── maxDuration, back-off ── policy ── limit ── expression ── next attempt
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tiphys.lang import backoff, durations
from tiphys.workflows.plan import arguments, execute, locks, parallelism
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Outcome, Problem
from tiphys.workflows.plan.state import Call, State
from tiphys.workflows.plan.templates import Template, TemplateContext, is_pod
from tiphys.workflows.plan.text import evaluate_bool

_TRANSIENT = ("exceeded quota", "etcdserver: leader changed", "etcdserver: request timed out")


def strategy_of(state: State, template: Template) -> dict[str, Any] | None:
    """The template's strategy, else the workflow's."""
    own = template.get("retryStrategy")
    return own if own is not None else state.spec.get("retryStrategy")


def retries_errors(state: State, template: Template) -> bool:
    """Whether a node in Error may be tried again, so that its locks are kept."""
    strategy = strategy_of(state, template)
    if strategy is None:
        return False
    policy = strategy.get("retryPolicy") or ("Always" if strategy.get("expression") else "OnFailure")
    return policy in ("Always", "OnError", "OnTransientError")


def execute_template(
    state: State, call: Call, node: Node | None, template: Template, inner: TemplateContext
) -> Outcome:
    """Executes a template that has a strategy: the Retry node and its newest attempt."""
    strategy = strategy_of(state, template)
    assert strategy is not None
    if node is None:
        node = execute.initialize(state, call, "Retry", "Running", template=template)
        if call.flag is not None:
            node.flag = {**call.flag, "retried": True}
    try:
        goes_on = _judge(state, call, node, strategy)
    except (Problem, backoff.RetryStrategyError, ValueError) as err:
        problem = err if isinstance(err, Problem) else Problem(str(err))
        return Outcome(state.mark_error(node, problem), problem)
    if not goes_on:
        return Outcome(node)
    attempts = state.attempts(node)
    last = attempts[-1] if attempts else None
    # Tasks that follow an exit handler hang below its node: that they are open is no reason for another attempt.
    is_over = node.hooked and node.phase_fulfilled and last is not None and last.phase_fulfilled
    if node.fulfilled and (is_over or _children_fulfilled(state, node) or (node.daemoned and node.unsuccessful)):
        if last is not None:
            state.update(node, outputs=last.outputs)
        locks.release(state, node.id, template.get("synchronization"))
        return Outcome(node)
    begins = last is not None and last.phase_fulfilled and is_pod(template)
    if begins and (limit := parallelism.unpaired_reached(state, call)) is not None:
        return parallelism.blocked(state, call, node, limit)
    return _attempt(state, call, node, attempts, template, inner)


def _attempt(
    state: State, call: Call, node: Node, attempts: list[Node], template: Template, inner: TemplateContext
) -> Outcome:
    last = attempts[-1] if attempts else None
    if last is not None and not last.phase_fulfilled:
        name, number = last.name, len(attempts) - 1
    else:
        name, number = f"{call.name}({len(attempts)})", len(attempts)
        state.link(node, state.node_id(name))
    attempt = Call(
        node_id=state.node_id(name),
        name=name,
        holder=call.holder,
        kind=call.kind,
        context=call.context,
        arguments=call.arguments,
        parent=call.node_id,
        boundary_id=call.boundary_id,
        on_exit=call.on_exit,
        flag={**(call.flag or {}), "retried": True},
        deadline=call.deadline,
    )
    state.clean(attempt)
    state.calls[attempt.node_id] = attempt
    try:
        processed = _processed(state, attempt, number, last, template)
    except Problem as problem:
        return execute.fail(state, attempt, state.nodes.by_id.get(attempt.node_id), problem)
    outcome = execute.run(state, attempt, processed, inner)
    if outcome.problem is not None:
        return Outcome(outcome.node, outcome.problem)
    return _swap_back(state, call, node, outcome.node)


def _swap_back(state: State, call: Call, node: Node, attempt: Node | None) -> Outcome:
    """The Retry node in place of its attempt; judged again when the attempt ended at once."""
    if attempt is not None and not node.phase_fulfilled and attempt.phase_fulfilled:
        state.mark(call.node_id)
        outcome = execute.execute(state, call)
        if outcome.problem is not None:
            return Outcome(state.mark_error(attempt, outcome.problem), outcome.problem)
        node = outcome.node or node
    if attempt is not None and not attempt.phase_fulfilled and attempt.daemoned:
        state.mark_phase(node, attempt.phase)
        state.update(node, daemoned=True)
    return Outcome(node)


def _processed(state: State, attempt: Call, number: int, last: Node | None, template: Template) -> Template:
    """The template with the variables of one attempt."""
    known = state.processed.get(attempt.node_id)
    if known is not None and known[1] is template:
        found: Template = known[3]
        return found
    local: dict[str, Any] = {"retries": str(number), **_last_retry(last)}
    if is_pod(template):
        local["pod.name"] = state.pod_name(attempt.name, str(template.get("name") or ""))
    made = arguments.substitute(state, template, template.get("inputs") or {}, local)
    state.processed[attempt.node_id] = (state.globals_version, template, attempt.arguments, made)
    return made


def _last_retry(last: Node | None) -> dict[str, str]:
    """``lastRetry.*`` inside a template; the first attempt sees an exit code of 0 and no status."""
    exit_code = (last.outputs or {}).get("exitCode") if last is not None else None
    return {
        "lastRetry.exitCode": exit_code if exit_code is not None else "0",
        "lastRetry.duration": go_float(_seconds(last)) if last is not None else "0",
        "lastRetry.status": last.phase if last is not None else "",
        "lastRetry.message": last.message if last is not None else "",
    }


def _judge(state: State, call: Call, node: Node, strategy: dict[str, Any]) -> bool:
    """Updates the Retry node from its last attempt; False while a back-off is waited for."""
    if node.phase_fulfilled:
        return True
    attempts = state.attempts(node)
    if not attempts:
        return True
    last = attempts[-1]
    if not last.phase_fulfilled:
        if last.daemoned:
            state.mark_phase(node, last.phase)
            state.update(node, daemoned=True)  # after the phase: the time it finished is for the next pass
        return True
    if not last.unsuccessful:
        state.update(node, outputs=last.outputs)
        state.mark_phase(node, "Succeeded")
        return True
    if state.shutdown:
        state.mark_phase(node, last.phase, f"Stopped with strategy '{state.shutdown}'")
        return True
    if state.is_past_deadline:
        state.mark_phase(node, last.phase, f"retry exceeded workflow deadline {_go_time(state)}")
        return True
    return _decide(state, call, node, strategy, attempts)


def _decide(state: State, call: Call, node: Node, strategy: dict[str, Any], attempts: list[Node]) -> bool:
    first, last = attempts[0], attempts[-1]
    seen = backoff.Attempts(
        count=len(attempts),
        phase=last.phase,
        message=last.message,
        since_first_start_ns=_since(state, first.started_at),
        since_last_finish_ns=_since(state, last.finished_at),
        is_daemoned=last.daemoned,
        is_transient=any(text in last.message for text in _TRANSIENT),
    )
    decision = backoff.decide(strategy, seen, lambda text: _expression(node, attempts, text))
    if decision.verdict == "wait":
        ready = (last.finished_at or state.now) + timedelta(microseconds=decision.wait_ns / 1000)
        state.at(ready - timedelta(microseconds=1), call.node_id)  # at that very moment already
        state.waits[call.name] = f"a back-off of {durations.format(decision.wait_ns)} before the next attempt"
        state.mark_phase(node, node.phase, decision.message)
        return False
    if strategy.get("backoff") is not None:
        call.deadline = _execution_deadline(strategy["backoff"], first)
        state.mark_phase(node, node.phase, "")
    if decision.verdict == "give up":
        state.mark_phase(node, last.phase, decision.message)
    return True


def _execution_deadline(spec: dict[str, Any], first: Node) -> Any:
    if not spec.get("maxDuration") or first.started_at is None:
        return None
    return first.started_at + timedelta(seconds=durations.parse_argo(spec["maxDuration"]) / 1e9)


def _expression(node: Node, attempts: list[Node], text: str) -> bool:
    last = attempts[-1]
    exit_code = (last.outputs or {}).get("exitCode")
    return evaluate_bool(
        text,
        {
            "retries": str(len(attempts) - 1),
            "lastRetry.exitCode": exit_code if exit_code is not None else "-1",
            "lastRetry.status": last.phase,
            "lastRetry.duration": go_float(_seconds(last)),
            "lastRetry.message": last.message,
        },
    )


def _children_fulfilled(state: State, node: Node) -> bool:
    """Whether everything that follows a node (not only below it) is fulfilled."""
    seen: set[str] = set()
    todo = [node.id]
    while todo:
        current = state.nodes.by_id.get(todo.pop())
        if current is None or current.id in seen:
            continue
        seen.add(current.id)
        if not current.children and not current.fulfilled:
            return False
        todo.extend(current.children)
    return True


def _since(state: State, when: Any) -> int:
    if when is None:
        return durations.INT64_MAX
    return int((state.now - when) / timedelta(microseconds=1)) * 1000


def _seconds(node: Node) -> float:
    if node.finished_at is None or node.started_at is None:
        return 0.0
    return (node.finished_at - node.started_at).total_seconds()


def go_float(value: float) -> str:
    """A float as Go's fmt.Sprint writes it, for seconds."""
    return str(int(value)) if value == int(value) else repr(value)


def _go_time(state: State) -> str:
    deadline = state.deadline
    return f"{deadline:%Y-%m-%d %H:%M:%S} +0000 UTC" if deadline is not None else ""
