"""Command lines of the ``argo`` program and what it printed: the pages about a workflow.

A file is ``{"group", "rows": [{name, args, state, exit, stdout, …}]}`` with the objects of each state beside it in
``states/``. Rows judged here: successful ``get WORKFLOW…`` with the tree (no output, ``-o wide``, ``-o short``). Left
out on purpose: rows of other verbs and other outputs (they are not pages), and the blanks that pad a placeholder whose
width the recorder changed (resources, a pod's hash): runs of blanks count as two there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.cli import describe, tree
from tiphys.lang import names

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(minutes=1)


def recognises(sample: Sample) -> bool:
    rows = sample.head.get("rows")
    return isinstance(rows, list) and any(pages_of(row) for row in rows if isinstance(row, dict))


def pages_of(row: dict[str, Any]) -> list[str]:
    """The workflows whose pages a row prints; none where it is another kind of row."""
    args = row.get("args")
    if (
        not isinstance(args, list)
        or args[:1] != ["get"]
        or row.get("exit") != 0
        or not isinstance(row.get("state"), str)
    ):
        return []
    flags = {"-n": 1, "-o": 1, "--no-color": 0, "--no-utf8": 0, "--status": 1}
    wanted, at = [], 1
    while at < len(args):
        if args[at] in flags:
            at += 1 + flags[args[at]]
        elif args[at].startswith("-") or args[at].startswith("@"):
            return []
        else:
            wanted.append(args[at])
            at += 1
    if option(args, "-o") not in ("", "wide", "short"):
        return []
    return wanted


def option(args: list[str], name: str) -> str:
    return args[args.index(name) + 1] if name in args else ""


def judge(sample: Sample) -> Iterator[Row]:
    states = sample.path.parent / "states" / sample.path.name
    objects = json.loads(states.read_text(encoding="utf-8"))
    for row in sample.head["rows"]:
        found = [live(objects[row["state"]], name) for name in pages_of(row)]
        if found and None not in found:
            expected, got = tidy(row["stdout"]), tidy("\n".join(printed(row["args"], found)))
            yield Row(row["name"], expected == got, expected, got)


def live(state: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The workflow in the cluster; one that only the archive knows is not in the recording."""
    return next((o for o in state if o["kind"] == "Workflow" and o["metadata"]["name"] == name), None)


def printed(args: list[str], workflows: list[dict[str, Any]]) -> Iterator[str]:
    look = tree.Look(utf8="--no-utf8" not in args, columns=option(args, "-o"))
    phase = option(args, "--status")
    shown = (lambda node: node.get("phase") == phase) if phase else None
    for workflow in workflows:
        yield from describe.page(with_times(with_ids(workflow)), look, NOW, shown)


def with_ids(workflow: dict[str, Any]) -> dict[str, Any]:
    """A node id whose hash looked like a time to the recorder (``x-$unix``), made again from the node's name."""
    nodes = workflow.get("status", {}).get("nodes", {})
    lost = next((node for key, node in nodes.items() if key.endswith("-$unix")), None)
    if lost is None:
        return workflow
    restored: dict[str, Any] = json.loads(
        json.dumps(workflow).replace(lost["id"], names.node_id(workflow["metadata"]["name"], lost["name"]))
    )
    return restored


def with_times(value: Any) -> Any:
    """``$T+4s`` as a timestamp, ``$duration`` as a second."""
    if value == "$duration":
        return 1
    if isinstance(value, dict):
        return {key: with_times(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_times(inner) for inner in value]
    if isinstance(value, str) and (match := re.fullmatch(r"\$T([+-]\d+)s", value)):
        return (START + timedelta(seconds=int(match[1]))).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


_PLACEHOLDERS = (
    (re.compile(r"^((?:Created|Started|Finished): +).*$"), r"\1$date"),
    (re.compile(r"^(Duration: +).*$"), r"\1$duration"),
    (re.compile(r"\d+s(?=\*\()"), "$dur"),
    (re.compile(r"(-fail-)\d+(?=  )"), r"\1$unix"),
)
_DURATION_CELL = re.compile(r"(?<=  )\d+[smh]( {2,}| *$)")


def tidy(text: str) -> list[str]:
    """Lines with the recorder's placeholders instead of times."""
    return [_tidy_line(line) for line in text.rstrip("\n").split("\n")]


def _tidy_line(line: str) -> str:
    for pattern, placeholder in _PLACEHOLDERS:
        line = pattern.sub(placeholder, line)
    line = _DURATION_CELL.sub(lambda cell: "$dur".ljust(len(cell[0])), line)
    if "*(" in line or "$unix" in line or "RESOURCESDURATION" in line:  # here the recorder did not keep the width
        line = re.sub(r" {2,}", "  ", line)
    return sorted_resources(line)


def sorted_resources(line: str) -> str:
    """The original prints this map in random order."""
    return re.sub(r"\S+\*\([^)]*\)(?:,\S+\*\([^)]*\))*", lambda m: ",".join(sorted(re.split(r",(?=\$)", m[0]))), line)


FORMATS = [Format("pages of a workflow", recognises, judge)]
