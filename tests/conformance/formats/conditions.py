"""``when``, cron conditions and ``depends``.

``validateDepends`` rows are a DAG of a workflow called ``d`` whose tasks all use one template. "PANIC:" before an error
of ``depends`` says that the original crashed with that text; we raise it. Other panics only have to be refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import name
from tests.conformance.golden import Format, Row, Sample
from tiphys.lang import cron_conditions, depends
from tiphys.lang.govaluate import GovaluateError, should_execute, should_schedule
from tiphys.lang.tags import TagError
from tiphys.workflows.plan.validate import validate

Record = Mapping[str, Any]

_APIS = frozenset(("when", "cronWhen", "cronEvalWhen", "cronStop", "depends", "validateDepends"))
_ANSWER = ("out", "error", "dependencies", "logic")
_ERRORS = (GovaluateError, TagError, depends.DependsError, cron_conditions.ConditionError)


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(row.get("api") in _APIS for row in sample.rows)


def judge(sample: Sample) -> Iterable[Row]:
    for index, row in enumerate(sample.rows):
        expected, got = {key: row[key] for key in _ANSWER if key in row}, answer(row)
        same = "error" in got if row.get("errorKind") == "panic" else got == expected
        yield Row(name(index, row), same, {**row}, got)


def answer(row: Record) -> dict[str, Any]:
    try:
        return asked(row)
    except _ERRORS as err:
        return {"error": str(err)}


def asked(row: Record) -> dict[str, Any]:
    match row["api"]:
        case "when":
            return {"out": should_execute(row["in"])}
        case "cronWhen":
            return {"out": should_schedule(row["in"])}
        case "cronEvalWhen":
            return {"out": cron_conditions.may_start(row["cron"] | {"spec": {"when": row["in"]}})}
        case "cronStop":
            stop = {"stopStrategy": {"expression": row["in"]}}
            return {"out": cron_conditions.should_stop(row["cron"] | {"spec": stop})}
        case "depends":
            return depends_of(row)
    return validated(row)


def depends_of(row: Record) -> dict[str, Any]:
    tasks = {task["name"]: task for task in row["tasks"]}
    try:
        logic = depends.rewrite(tasks[row["in"]], tasks)
    except depends.DependsError as err:
        return {"error": f"PANIC: {err}"}
    found: dict[str, Any] = {"dependencies": sorted(logic.needs), "logic": logic.text}
    try:
        outcome = depends.decide(logic, {key: state(node) for key, node in row["nodes"].items()})
    except depends.DependsError as err:
        return found | {"error": str(err)}
    return {"out": found | {"execute": outcome.execute, "proceed": outcome.proceed}}


def state(node: Record) -> depends.State:
    items = tuple(node["children"]) if "children" in node else None
    return depends.State(node["phase"], daemoned=node.get("daemoned", False), items=items)


def validated(row: Record) -> dict[str, Any]:
    tasks = [{"template": "t"} | task for task in row["tasks"]]
    dag = {"tasks": tasks} | ({"target": row["target"]} if "target" in row else {})
    leaf = {"name": "t", "container": {"image": "i"}}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "w"},
        "spec": {"entrypoint": "d", "templates": [{"name": "d", "dag": dag}, leaf]},
    }
    problems = validate(workflow)
    return {"error": problems[0].message} if problems else {"out": "ok"}


FORMATS = (Format("conditions", recognises, judge),)
