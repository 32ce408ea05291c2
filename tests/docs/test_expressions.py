"""docs/reference/expressions.md says what is true: every row of its tables is run.

A section's heading chooses who runs its rows; a section with a table and no runner fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.formats.expressions import plain
from tiphys.lang import cron, cron_conditions, depends, durations, gjson, goyaml, items, jq, jsonpath, tags
from tiphys.lang.expr import environment, evaluate
from tiphys.lang.gotemplate import appset
from tiphys.lang.gotemplate import compile as compile_template
from tiphys.lang.govaluate import should_execute
from tiphys.machinery import resource_conditions, selectors

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "expressions.md"
_CELL = re.compile(r"`((?:[^`])*)`")


def _tag(template: str, variables: str) -> Any:
    document = json.dumps({"value": template})
    nested = "{{" in template[2:]
    return json.loads(tags.replace(document, json.loads(variables), allow_unresolved=nested))["value"]


def _cron(condition: str, cron: str) -> Any:
    kind, _, text = condition.partition(": ")
    if kind == "when":
        return cron_conditions.may_start(json.loads(cron) | {"spec": {"when": text}})
    return cron_conditions.should_stop(json.loads(cron) | {"spec": {"stopStrategy": {"expression": text}}})


def _depends(text: str, phases: str) -> Any:
    states = {name: depends.State(phase) for name, phase in json.loads(phases).items()}
    tasks: dict[str, dict[str, Any]] = {name: {} for name in states}
    return depends.decide(depends.rewrite({"depends": text}, tasks), states).execute


def _items(step: str) -> Any:
    argument = {"arguments": {"parameters": [{"name": "p", "value": "{{item}}"}]}}
    made = items.expand_step({"name": "s"} | argument | json.loads(step), {})
    return [[one["name"], one["arguments"]["parameters"][0]["value"]] for one in made]


def _cron_schedule(spec: str) -> Any:
    due = cron.parse(spec).next(datetime(2024, 1, 15, 10, 7, 30, tzinfo=UTC))
    return due.isoformat() if due else None


def _resource_condition(success: str, failure: str, document: str) -> str:
    return resource_conditions.evaluate(resource_conditions.parse(success, failure), document).result


def _go_template(text: str, params: str) -> Any:
    return compile_template(text, "base", appset.FUNCTIONS).execute(json.loads(params))


RUNNERS: dict[str, Callable[..., Any]] = {
    "Template tags": _tag,
    "expr-lang": lambda text, env: plain(evaluate(text, environment(json.loads(env)))),
    "when": should_execute,
    "Cron conditions": _cron,
    "depends": _depends,
    "Items": _items,
    "YAML": goyaml.load,
    "Cron schedules": _cron_schedule,
    "Durations": lambda text: durations.format(durations.parse_argo(text)),
    "kubectl JSONPath": lambda template, document: jsonpath.compile(template).render(
        json.loads(document), allow_missing_keys=True
    ),
    "gjson": lambda path, document: str(gjson.get(document, path)),
    "jq": jq.argo_filter,
    "Resource conditions": _resource_condition,
    "Selectors": lambda text, labels: selectors.parse_labels(text).matches(json.loads(labels)),
    "Go templates": _go_template,
    "sprig": _go_template,
}
ERRORS = (ValueError,)


def rows() -> Iterator[tuple[str, list[str]]]:
    """``(heading, cells)`` of every row below a second-level heading."""
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
        elif heading and line.startswith("| `"):
            yield heading, [cell.replace("\\|", "|") for cell in _CELL.findall(line)]


@pytest.mark.parametrize(("heading", "cells"), [pytest.param(*row, id=f"{row[0]}: {row[1][0]}") for row in rows()])
def test_row(heading: str, cells: list[str]) -> None:
    *given, expected = cells
    run = RUNNERS[heading]
    if expected.startswith("error: "):
        with pytest.raises(ERRORS) as caught:
            run(*given)
        assert str(caught.value).startswith(expected.removeprefix("error: "))
        return
    got = run(*given)
    assert json.dumps(got, sort_keys=True) == json.dumps(json.loads(expected), sort_keys=True)


def test_every_language_has_examples() -> None:
    assert {heading for heading, _ in rows()} >= RUNNERS.keys()
