"""Label and field selectors, node selectors, and list requests of the Workflows API (one call per row).

Nothing is left out: error texts are compared whole, and the gRPC code of ``listOptions`` errors with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conformance.formats._calls import Answer, answer, apis, judge_by
from tests.conformance.golden import Format
from tiphys.lang import gotime
from tiphys.machinery import selectors, workflow_lists

Row = Mapping[str, Any]


def fields(row: Row) -> dict[str, Any]:
    selector = selectors.parse_fields(row["in"])
    return {
        "empty": selector.is_empty,
        "matches": selector.matches(row["data"]),
        "requirements": [[t.field, "!=" if t.negated else "=", t.value] for t in selector.terms],
        "string": str(selector),
    }


def labels(row: Row) -> dict[str, Any]:
    selector = selectors.parse_labels(row["in"])
    return {"empty": selector.is_empty, "matches": selector.matches(row["data"]), "string": str(selector)}


def list_options(request: Mapping[str, Any]) -> workflow_lists.ListOptions:
    names = {
        "Namespace": "namespace",
        "FieldSelector": "field_selector",
        "LabelSelector": "label_selector",
        "NamePrefix": "name_prefix",
        "NameFilter": "name_filter",
        "CreatedAfter": "created_after",
        "FinishedBefore": "finished_before",
        "Limit": "limit",
        "Continue": "continue_from",
    }
    return workflow_lists.parse(**{names[key]: value for key, value in request.items()})


def shown(moment: datetime | None) -> str:
    return gotime.format(gotime.RFC3339, moment.astimezone(UTC)) if moment else ""


def options(row: Row) -> dict[str, Any]:
    seen = list_options(row["in"])
    return {
        "createdAfter": shown(seen.created_after),
        "finishedBefore": shown(seen.finished_before),
        "labels": [str(r) for r in seen.labels.requirements],
        "limit": seen.limit,
        "maxStartedAt": shown(seen.started_to),
        "minStartedAt": shown(seen.started_from),
        "name": seen.name,
        "nameFilter": seen.name_filter,
        "namePrefix": seen.name_prefix,
        "namespace": seen.namespace,
        "namespaceFilter": seen.namespace_filter,
        "offset": seen.offset,
        "showRemainingItemCount": seen.show_remaining_item_count,
    }


def server_list(row: Row) -> list[str]:
    workflows = [
        {
            "metadata": {k: data[k] for k in ("name", "namespace", "labels", "creationTimestamp") if k in data},
            "status": {k: data[k] for k in ("phase", "startedAt", "finishedAt") if k in data},
        }
        for data in row["data"]
    ]
    found = workflow_lists.select(list_options(row["in"]), workflows)
    return [f"{w['metadata']['namespace']}/{w['metadata']['name']}" for w in found]


CALLS: dict[str, Callable[[Row], Any]] = {
    "fields": fields,
    "labels": labels,
    "node": lambda row: selectors.parse_fields(row["in"]).matches(workflow_lists.node_fields(row["data"])),
    "listOptions": options,
    "serverList": server_list,
    "wfNameFromSelector": lambda row: workflow_lists.workflow_name_in(row["in"]),
}


def ask(row: Row) -> Answer:
    return answer(lambda: CALLS[row["api"]](row), selectors.SelectorError, workflow_lists.ListOptionsError)


def same(expected: Answer, got: Answer, row: Row) -> bool:
    return expected == got and ("code" not in row or f"code = {row['code']} " in got["error"])


FORMATS = (Format("selectors", lambda s: bool(s.rows) and apis(s) <= set(CALLS), judge_by(ask, same)),)
