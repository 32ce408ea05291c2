"""Custom metrics of templates and workflows: what is wrong with them shows as the condition MetricsError.

    node made       real-time gauges are checked
    node fulfilled  everything is computed from the node: status, duration, retries, inputs, outputs, durations

Values are computed as far as they can go wrong; nothing is exported. An attempt of a retried node counts only while
the retried node goes on; its last one is spoken for by the node itself. A workflow's own real-time gauges are checked
once, not in every pass: the original's message grows each time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang.gofmt import format_float, quote
from tiphys.lang.govalues import parse_float
from tiphys.workflows.plan import execute
from tiphys.workflows.plan.canonical import dumps
from tiphys.workflows.plan.nodes import COMPLETED, Node
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.templates import Template, is_daemon
from tiphys.workflows.plan.text import Layers, Values, replace, should_execute

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

Metric = Mapping[str, Any]
ENDED = COMPLETED | {"Skipped", "Omitted"}
_WITHOUT = frozenset(("StepGroup", "TaskGroup", "Skipped", "Container"))
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REAL_TIME_OF_WORKFLOW = ("workflow.duration",)
_REAL_TIME_OF_NODE = ("workflow.duration", "duration")


def of_pass(state: State) -> None:
    """Computes the metrics of the nodes that were made or fulfilled in this pass."""
    if not _any(state):
        return
    for node_id, before in list(state.nodes.pass_before.items()):
        node = state.nodes.by_id.get(node_id)
        if node is None or node.type in _WITHOUT:
            continue
        ends = node.fulfilled and before not in ENDED
        if (ends or before is None) and (template := _template(state, node)) is not None:
            _of_node(state, node, template, before, ends=ends)


def of_new_workflow(state: State) -> None:
    """Checks the workflow's own real-time gauges."""
    _compute_all(state, state.spec, _defaults(state), _REAL_TIME_OF_WORKFLOW, real_time_only=True)


def of_finished_workflow(state: State, root: Node) -> None:
    """Computes the workflow's own metrics."""
    _compute_all(state, state.spec, _scope(state, root), _REAL_TIME_OF_NODE)


def _any(state: State) -> bool:
    """Whether any template known so far has metrics."""
    known = state.has_metrics
    if known is None or known[0] != len(state.stored_templates):
        templates = [*(state.spec.get("templates") or ()), *state.stored_templates.values()]
        templates.append(state.spec.get("templateDefaults") or {})
        known = state.has_metrics = (len(state.stored_templates), any(t.get("metrics") for t in templates))
    return known[1]


def _template(state: State, node: Node) -> Template | None:
    """The processed template that a node executes, where it has metrics."""
    call = state.calls.get(node.id)
    if call is None:
        return None
    try:
        template = execute.resolve(state, call)[1]
        return execute.process(state, call, node, template) if template.get("metrics") else None
    except Problem:  # which the node shows itself
        return None


def _of_node(state: State, node: Node, template: Template, before: str | None, *, ends: bool) -> None:
    if node.retried:
        call = state.calls[node.id]
        retried = state.nodes.by_id.get(call.parent)
        if not ends or (retried is not None and retried.fulfilled):
            return
    elif before is None:
        _compute_all(state, template, _scope(state, node), _REAL_TIME_OF_NODE, real_time_only=True)
    if ends and not (is_daemon(template) and before == "Running"):
        _compute_all(state, template, _scope(state, node), _REAL_TIME_OF_NODE)


def _defaults(state: State) -> Values:
    own = {"duration": "0", "status": "Pending", "resourcesDuration.cpu": "0", "resourcesDuration.memory": "0"}
    return Layers(own, state.globals)


def _scope(state: State, node: Node) -> Values:
    """What the metrics of a node can name beside the workflow's variables."""
    seconds = 0.0
    if node.started_at is not None:
        until = node.finished_at if node.fulfilled and node.finished_at is not None else state.now
        seconds = (until - node.started_at).total_seconds()
    own: dict[str, Any] = {"duration": f"{seconds:f}"}
    if node.children:
        own["retries"] = str(len(node.children) - 1)
    if node.phase:
        own["status"] = node.phase
    outputs = node.outputs or {}
    own.update((key, outputs[field]) for key, field in _RESULTS.items() if outputs.get(field) is not None)
    for prefix, holder in (("inputs", node.inputs or {}), ("outputs", outputs)):
        for param in holder.get("parameters") or ():
            own[f"{prefix}.parameters.{param['name']}"] = param.get("value") if param.get("value") is not None else ""
    own.update((f"resourcesDuration.{name}", format_float(float(amount))) for name, amount in _durations(node))
    return Layers(own, _defaults(state))


_RESULTS = {"outputs.result": "result", "exitCode": "exitCode"}


def _durations(node: Node) -> Iterable[tuple[str, int]]:
    return (node.resources_duration or {}).items()


def _compute_all(
    state: State,
    holder: Mapping[str, Any],
    scope: Values,
    real_time: Collection[str],
    *,
    real_time_only: bool = False,
) -> None:
    for metric in (holder.get("metrics") or {}).get("prometheus") or ():
        if real_time_only and not _is_real_time(metric):
            continue
        try:
            _compute(state, metric, scope, real_time)
        except Problem as err:
            _report(state, str(err))


def _compute(state: State, metric: Metric, scope: Values, real_time: Collection[str]) -> None:
    """Computes one metric. Raises `Problem` for what is wrong with it."""
    name = metric.get("name", "")
    if not metric.get("help"):
        raise Problem(f"metric '{name}' must contain a help string under 'help: ' field")
    filled: Metric = orjson.loads(_replaced(name, dumps(metric), scope))
    name = filled.get("name", "")
    try:
        if not should_execute(str(filled.get("when") or "")):
            return
    except Problem as err:
        raise Problem(f"unable to compute 'when' clause for metric '{state.name}': {err}") from err
    if _is_real_time(metric):
        _check_real_time(str(metric["gauge"].get("value") or ""), real_time)
    _check_value(name, filled)


def _replaced(name: str, text: str, scope: Values) -> str:
    try:
        return replace(text, scope, allow_unresolved=False)
    except Problem as err:
        raise Problem(f"unable to substitute parameters for metric '{name}': {err}") from err


def _check_real_time(value: str, known: Collection[str]) -> None:
    if not value.startswith("{{") or not value.endswith("}}"):
        raise Problem("real time metrics can only be used with metric variables")
    variable = value[2:-2].strip()
    if variable not in known:
        raise Problem(f"'{variable}' is not available as a real time metric")


def _check_value(name: str, metric: Metric) -> None:
    """Raises `Problem` for a metric that cannot be set."""
    failed = f"could not construct metric '{name}': "
    if not _NAME.fullmatch(name):
        raise Problem(f"{failed}metric name is invalid: names may only contain alphanumeric characters or '_'")
    kind = next((kind for kind in ("gauge", "histogram", "counter") if metric.get(kind) is not None), "")
    if not kind:
        raise Problem(f"{failed}invalid metric spec")
    if _is_real_time(metric):
        return
    value = str(metric[kind].get("value") or "")
    try:
        parse_float(value)
    except ValueError as err:
        raise Problem(f"{failed}strconv.ParseFloat: parsing {quote(value)}: {err}") from err


def _is_real_time(metric: Metric) -> bool:
    return bool((metric.get("gauge") or {}).get("realtime"))


def _report(state: State, message: str) -> None:
    """Adds a message to the condition; those before it stay."""
    conditions = list(state.status.get("conditions") or ())
    at = next((i for i, condition in enumerate(conditions) if condition.get("type") == "MetricsError"), None)
    if at is None:
        conditions.append({"type": "MetricsError", "status": "True", "message": message})
    else:
        conditions[at] = {**conditions[at], "message": f"{conditions[at].get('message', '')}, {message}"}
    state.status["conditions"] = conditions
    state.updated = True
