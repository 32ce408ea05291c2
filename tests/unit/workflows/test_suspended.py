"""What people do to suspended workflows from outside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tiphys.machinery.errors import SpecError
from tiphys.workflows.plan.suspended import resume, set_nodes

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDED = {"phase": "Succeeded", "finishedAt": "2026-01-01T12:00:00Z"}


def workflow(*nodes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "spec": spec, "status": {"nodes": {n["id"]: n for n in nodes}}}


def suspended(step: str, /, **outputs: Any) -> dict[str, Any]:
    node = {"id": step, "name": f"wf.{step}", "displayName": step, "type": "Suspend", "phase": "Running"}
    return node | ({"outputs": {"parameters": [outputs]}} if outputs else {})


def test_resume_ends_every_suspended_step_and_the_suspension_of_the_workflow() -> None:
    done = suspended("b") | {"phase": "Succeeded"}
    assert resume(workflow(suspended("a"), done, suspend=True), NOW) == {
        "metadata": {"resourceVersion": "7"},
        "spec": {"suspend": None},
        "status": {"nodes": {"a": ENDED}},
    }


def test_nothing_to_resume() -> None:
    assert resume(workflow(suspended("a") | {"phase": "Succeeded"}), NOW) is None


def test_defaults_take_the_place_of_what_was_not_supplied() -> None:
    waiting = suspended("a", name="p", valueFrom={"supplied": {}, "default": "d"})
    changed = resume(workflow(waiting), NOW)
    assert changed is not None
    assert changed["status"]["nodes"]["a"]["outputs"] == {"parameters": [{"name": "p", "value": "d"}]}


def test_without_a_default_the_step_is_named() -> None:
    with pytest.raises(SpecError, match=r"wf.a: raw output parameter 'p' has not been set"):
        resume(workflow(suspended("a", name="p", valueFrom={"supplied": {}})), NOW)


def test_only_chosen_steps() -> None:
    changed = resume(workflow(suspended("a"), suspended("b"), suspend=True), NOW, lambda n: n["displayName"] == "b")
    assert changed == {"metadata": {"resourceVersion": "7"}, "status": {"nodes": {"b": ENDED}}}
    with pytest.raises(SpecError, match="no suspended step fits"):
        resume(workflow(suspended("a")), NOW, lambda n: False)


def test_outputs_are_supplied_to_steps_that_wait_for_them() -> None:
    waiting = workflow(suspended("a", name="p", valueFrom={"supplied": {}}))
    changed = set_nodes(waiting, NOW, lambda n: True, outputs={"p": "v"}, message="by hand")
    assert changed["status"]["nodes"]["a"] == {
        "message": "by hand",
        "outputs": {"parameters": [{"name": "p", "value": "v"}]},
    }
    with pytest.raises(SpecError, match="does not wait for an output 'q'"):
        set_nodes(waiting, NOW, lambda n: True, outputs={"q": "v"})
    with pytest.raises(SpecError, match="does not wait for outputs"):
        set_nodes(workflow(suspended("b")), NOW, lambda n: True, outputs={"q": "v"})


def test_failing_a_step_ends_it() -> None:
    changed = set_nodes(workflow(suspended("a")), NOW, lambda n: True, phase="Failed", message="no")
    assert changed["status"]["nodes"]["a"] == ENDED | {"phase": "Failed", "message": "no"}
