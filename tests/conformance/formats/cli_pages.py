"""Command lines of the ``argo`` program and what it printed: pages about workflows, and tables of them.

A file is ``{"group", "rows": [{name, args, state, exit, stdout, …}]}`` with the objects of each state beside it in
``states/``. Rows judged here are the successful ones of ``get WORKFLOW…`` with a tree (no output, ``-o wide``,
``-o short``), and of ``list`` in one namespace with a table or names, straight from Kubernetes (mode ``kube``). Left
out on purpose: other verbs and outputs; what a server with an archive lists (its own answer, with all doubled,
as its README says); workflows that only the archive had; lists with pods that run, because they went on meanwhile; the
blanks that pad a placeholder whose width the recorder changed (resources, a pod's hash, the table's times): runs of
blanks count as two there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.cli import describe, listing, tree
from tiphys.lang import names
from tiphys.machinery import selectors

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(minutes=1)


def recognises(sample: Sample) -> bool:
    """Whether some row of the file is judged here: many a file of this format holds other verbs only."""
    rows = sample.head.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not any(map(parsed, rows)):
        return False
    return states_of(sample).is_file() and next(judge(sample), None) is not None


def states_of(sample: Sample) -> Path:
    """The file beside it that holds the objects of each state."""
    return sample.path.parent / "states" / sample.path.name


# verb → flags that are understood, and whether they have a value; and the outputs that are judged
VERBS = {
    "get": ({"-n": 1, "-o": 1, "--no-color": 0, "--no-utf8": 0, "--status": 1}, ("", "wide", "short")),
    "list": (
        {"-n": 1, "-o": 1, "-l": 1, "--status": 1, "--running": 0, "--completed": 0, "--resubmitted": 0, "--prefix": 1,
         "--no-headers": 0},
        ("", "wide", "name"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A command line taken apart."""

    verb: str
    flags: dict[str, str]
    names: list[str]


def parsed(row: dict[str, Any]) -> Line | None:
    """The command line of a row; None where it is not one that is judged."""
    args = row.get("args")
    if not isinstance(args, list) or not args or row.get("exit") != 0 or not isinstance(row.get("state"), str):
        return None
    known, outputs = VERBS.get(args[0], ({}, ()))
    line, at = Line(args[0], {}, []), 1
    while at < len(args):
        if args[at] in known:
            values = known[args[at]]
            line.flags[args[at]] = args[at + 1] if values else "true"
            at += 1 + values
        elif args[at].startswith(("-", "@")):
            return None
        else:
            line.names.append(args[at])
            at += 1
    if line.verb == "list" and row.get("mode") != "kube":
        return None
    return line if line.flags.get("-o", "") in outputs else None


def judge(sample: Sample) -> Iterator[Row]:
    objects = json.loads(states_of(sample).read_text(encoding="utf-8"))
    for row in sample.head["rows"]:
        line = parsed(row)
        if line is None:
            continue
        workflows = [with_times(with_ids(o)) for o in objects[row["state"]] if o["kind"] == "Workflow"]
        lines = page_lines(line, workflows) if line.verb == "get" else list_lines(line, workflows)
        if lines is not None:
            in_table = line.verb == "list"
            expected, got = tidy(row["stdout"], in_table), tidy("\n".join(lines), in_table)
            yield Row(row["name"], expected == got, expected, got)


def page_lines(line: Line, workflows: list[dict[str, Any]]) -> list[str] | None:
    """What ``get`` prints; None where it asks for a workflow that only the archive knows."""
    by_name = {w["metadata"]["name"]: w for w in workflows}
    if not line.names or not by_name.keys() >= set(line.names):
        return None
    look = tree.Look(utf8="--no-utf8" not in line.flags, columns=line.flags.get("-o", ""))
    phase = line.flags.get("--status")
    shown = (lambda node: node.get("phase") == phase) if phase else None
    return [text for name in line.names for text in describe.page(by_name[name], look, NOW, shown)]


def list_lines(line: Line, workflows: list[dict[str, Any]]) -> list[str] | None:
    """What ``list`` prints; the state holds the objects of one namespace. None while pods run."""
    flags = line.flags
    text = listing.label_selector(
        flags.get("-l", ""),
        status=list(filter(None, flags.get("--status", "").split(","))),
        completed="--completed" in flags,
        running="--running" in flags,
        again="--resubmitted" in flags,
    )
    selector = selectors.parse_labels(text)
    found = listing.in_order(
        w
        for w in workflows
        if w["metadata"]["namespace"] == flags.get("-n")
        and selector.matches(w["metadata"].get("labels"))
        and w["metadata"]["name"].startswith(flags.get("--prefix", ""))
    )
    if any(any(listing.pod_counts(w["status"])[:2]) for w in found):
        return None
    if flags.get("-o") == "name":
        return [w["metadata"]["name"] for w in found]
    return listing.table(found, NOW, wide=flags.get("-o") == "wide", headers="--no-headers" not in flags)


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


def tidy(text: str, in_table: bool) -> list[str]:
    """Lines with the recorder's placeholders instead of times."""
    return [_tidy_line(line, in_table) for line in text.rstrip("\n").split("\n")]


def _tidy_line(line: str, in_table: bool) -> str:
    for pattern, placeholder in _PLACEHOLDERS:
        line = pattern.sub(placeholder, line)
    line = _DURATION_CELL.sub(lambda cell: "$dur".ljust(len(cell[0])), line)
    if (
        in_table or "*(" in line or "$unix" in line or "RESOURCESDURATION" in line
    ):  # here the recorder did not keep the width
        line = re.sub(r" {2,}", "  ", line)
    return sorted_resources(line)


def sorted_resources(line: str) -> str:
    """The original prints this map in random order."""
    return re.sub(r"\S+\*\([^)]*\)(?:,\S+\*\([^)]*\))*", lambda m: ",".join(sorted(re.split(r",(?=\$)", m[0]))), line)


FORMATS = [Format("pages and lists of workflows", recognises, judge)]
