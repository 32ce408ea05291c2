"""When a cron workflow may start and when it stops for good."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.lang.cron_conditions import ConditionError, may_start, should_stop, variables
from tiphys.lang.govaluate import GovaluateError
from tiphys.lang.moments import Time
from tiphys.lang.tags import TagError


def cron(when: str = "", stop: str | None = None, **status: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"when": when}
    if stop is not None:
        spec["stopStrategy"] = {"expression": stop}
    metadata = {"name": "nightly", "namespace": "ops", "labels": {"team": "a"}, "annotations": {"note": "x"}}
    return {"metadata": metadata, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("when", "starts"),
    [
        ("", True),
        ("'{{cronworkflow.name}}' == 'nightly'", True),
        ("{{=cronworkflow.failed}} > 2", True),
        ("{{=cronworkflow.succeeded}} > 2", False),
        ("{{=cronworkflow.failed == 3}}", True),
        ("{{=cronworkflow.lastScheduledTime == nil}}", True),
    ],
)
def test_may_start(when: str, starts: bool) -> None:
    assert may_start(cron(when, failed=3)) is starts


def test_a_condition_that_cannot_be_evaluated() -> None:
    with pytest.raises(TagError):
        may_start(cron("{{cronworkflow.nope}} == 1"))
    with pytest.raises(GovaluateError):
        may_start(cron("1 +"))
    with pytest.raises(TagError, match=r"{{cronworkflow.failed}} to string"):  # only {{=…}} gives numbers
        may_start(cron("{{cronworkflow.failed}} > 2"))
    with pytest.raises(GovaluateError, match="No parameter 'nightly' found"):  # and only quotes make text
        may_start(cron("{{cronworkflow.name}} == nightly"))


@pytest.mark.parametrize(
    ("stop", "stops"),
    [
        (None, False),
        ("cronworkflow.failed >= 3", True),
        ("cronworkflow.succeeded >= 3", False),
        ("cronworkflow.labels['team'] == 'a'", True),
        ("cronworkflow.lastScheduledTime == nil", True),
    ],
)
def test_should_stop(stop: str | None, stops: bool) -> None:
    assert should_stop(cron(stop=stop, failed=3)) is stops


def test_a_stop_expression_that_cannot_be_evaluated() -> None:
    with pytest.raises(ConditionError, match="failed to evaluate stop expression: unknown name nope"):
        should_stop(cron(stop="nope"))
    with pytest.raises(ConditionError, match="unable to cast expression result '%!s\\(int=1\\)' to bool"):
        should_stop(cron(stop="1"))


def test_variables() -> None:
    found = variables(cron(lastScheduledTime="2024-01-02T03:04:05Z"))
    assert found["cronworkflow.lastScheduledTime"] == Time(1704164645, 0)
    assert found["cronworkflow.labels.json"] == b'{"team":"a"}'
    assert found["cronworkflow.annotations"] == found["cronworkflow.labels"]
    assert variables({})["cronworkflow.failed"] == 0
