"""Expressions that need the time or chance, inside and outside of a decision."""

from __future__ import annotations

import pytest

from tests.unit.workflows.kit import START, Cluster
from tiphys.workflows.plan import chance
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.text import evaluate, evaluate_bool, replace

TEXT = "\"{{=now().Year()}} {{=sprig.date('2006-01', sprig.now())}} {{=sprig.uuidv4()}} {{=sprig.randNumeric(3)}}\""


def test_the_present_is_that_of_the_decision() -> None:
    with chance.deciding("u", START):
        assert replace(TEXT, {}).startswith('"2026 2026-01 ')
        assert evaluate("now().Unix()", {}) == int(START.timestamp())
        assert evaluate_bool("sprig.now() == now()", {})


def test_chance_follows_from_the_workflow_and_the_present() -> None:
    def draw(seed: str) -> list[str]:
        with chance.deciding(seed, START):
            return [replace(TEXT, {}), replace(TEXT, {})]

    first, second = draw("u")
    assert first != second
    assert draw("u") == [first, second]
    assert draw("another") != [first, second]


def test_there_is_none_outside_of_a_decision() -> None:
    assert replace(TEXT, {}) == TEXT
    with pytest.raises(Problem, match="not available here"):
        evaluate("sprig.now()", {})
    with pytest.raises(Problem, match="not available here"):
        evaluate("now()", {})


def test_a_container_gets_them() -> None:
    template = {"name": "main", "container": {"image": "x", "command": ["{{=now().Year()}}", "{{=sprig.uuidv4()}}"]}}
    cluster = Cluster({"entrypoint": "main", "templates": [template]})
    cluster.decide()
    year, name = cluster.lookup.live_pods[cluster.pod_of("wf")]["spec"]["containers"][0]["command"]
    assert (year, len(name)) == ("2026", 36)
