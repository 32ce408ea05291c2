"""What the state of a pod means for its node: one row a pod, with the node before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.lang import names
from tiphys.workflows.plan import assess
from tiphys.workflows.plan.nodes import from_wire, to_wire
from tiphys.workflows.settings import FailedPodRestart

NOW = datetime(2099, 1, 1, tzinfo=UTC)


def recognises(sample: Sample) -> bool:
    head = sample.head
    given = head.get("in")
    return isinstance(given, dict) and {"pod", "node", "template"} <= given.keys() and "needsTermination" in head["out"]


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        expected, got = dict(row["out"]), outcome(row["in"])
        got = {key: got.get(key) for key in expected}
        yield Row(row["name"], expected == got, expected, got)


def outcome(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the row's `out` should say."""
    pod, template = given["pod"], given["template"]
    restart = given.get("failedPodRestart") or {}
    settings = FailedPodRestart(bool(restart.get("enabled")), int(restart.get("maxRestarts") or 3))
    node = from_wire(given["node"])
    result = assess.assess(pod, node, template, settings, NOW)
    out: dict[str, Any] = {"node": None, "taskResultsCompletionStatus": None}
    if result.fields is not None:
        changed = from_wire(given["node"])
        for name, value in result.fields.items():
            setattr(changed, name, value)
        out["node"] = to_wire(changed)
    children = {child["name"]: {"phase": child["phase"], "message": ""} for child in given.get("children") or ()}
    ids = {child["name"]: child["id"] for child in given.get("children") or ()}
    for name, phase, message in result.containers:
        if ids.get(name) == names.node_id(node.name, name):  # not so in the recording: nothing was found by name there
            children[name].update(phase=phase, **({} if message is None else {"message": message}))
    out["children"] = children
    status = pod.get("status") or {}
    phase, message = assess.failed_reason(pod, template)
    out["failedReason"] = {"phase": phase, "message": message}
    out["pendingReason"] = assess.pending_reason(status)
    out["needsTermination"] = assess.needs_termination(pod, template)
    return out


FORMATS = [Format("pod messages", recognises, judge)]
