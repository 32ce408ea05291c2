"""A workflow's nodes as the tree that Argo users know, and each node as the cells of a table.

Not a picture of ``children``: those say what ran after what. The tree follows containment (``boundaryID``), except that
what a StepGroup or a Retry node lists as children hangs below it. Step groups, retries with one attempt and omitted
nodes have no line of their own; the first child of a step group takes the group's place. Siblings stand in the order
they started, loop items by their index.

    ● outer                  a root: the entrypoint, then (after an empty line) the exit handler
    ├───✔ first              a step group of one
    └─┬─✔ left               a step group of two
      └─● right

Pure: a workflow (dict, read-only) and the time go in, cells come out; ``columns`` aligns them, ``live`` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from typing import Any

from tiphys.lang import durations, names

Node = Mapping[str, Any]

GROUPS = ("StepGroup", "Retry")  # what they list as children hangs below them
BOUNDARIES = ("DAG", "Steps")  # what names them as boundaryID hangs below them
LEAVES = ("Pod", "Skipped", "Suspend", "HTTP", "Plugin")

RED, GREEN, YELLOW, CYAN = 31, 32, 33, 36
# phase → (symbol, colour); 39 is the terminal's own colour
SYMBOLS = {
    "Pending": ("◷", YELLOW),
    "Running": ("●", CYAN),
    "Succeeded": ("✔", GREEN),
    "Skipped": ("○", 39),
    "Failed": ("✖", RED),
    "Error": ("⚠", RED),
}
SUSPENDED = ("ǁ", CYAN)
HEADERS = {
    "": ["STEP", "TEMPLATE", "PODNAME", "DURATION", "MESSAGE"],
    "wide": [
        "STEP", "TEMPLATE", "PODNAME", "DURATION", "ARTIFACTS", "MESSAGE", "RESOURCESDURATION", "NODENAME",
    ],
    "short": ["STEP", "TEMPLATE", "PODNAME", "DURATION", "MESSAGE", "NODENAME"],
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How to draw: ``columns`` is "", "wide" or "short"; without ``utf8`` phases are words and lines are ASCII."""

    colour: bool = False
    utf8: bool = True
    columns: str = ""

    def symbol(self, node: Node) -> str:
        phase = str(node.get("phase") or "")
        if is_active_suspend(node):
            sign, colour, word = *SUSPENDED, "Suspend"
        elif phase in SYMBOLS:
            sign, colour, word = *SYMBOLS[phase], phase
        else:
            return ""
        return self.paint(sign if self.utf8 else word, colour)

    def paint(self, text: str, *codes: int) -> str:
        return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if self.colour else text


@dataclass(frozen=True)
class Line:
    """One line of the tree: ``prefix`` is the drawing in front of the symbol. ``node`` None separates two trees."""

    prefix: str
    node: Node | None


def is_active_suspend(node: Node) -> bool:
    return node.get("type") == "Suspend" and node.get("phase") == "Running"


def lines(workflow: Mapping[str, Any], shown: Callable[[Node], bool] | None = None, utf8: bool = True) -> list[Line]:
    """The tree of ``workflow``, line by line; ``[]`` while there is no entrypoint node."""
    name = workflow["metadata"]["name"]
    nodes: Mapping[str, Node] = (workflow.get("status") or {}).get("nodes") or {}
    if name not in nodes:
        return []
    below = _below(nodes)
    out = list(_walk(name, nodes, below, " ", " ", shown, utf8))
    on_exit = names.node_id(name, f"{name}.onExit")
    if on_exit in nodes:
        out += [Line("", None), *_walk(on_exit, nodes, below, " ", " ", shown, utf8)]
    return out


def table(tree: Iterable[Line], workflow: Mapping[str, Any], look: Look, now: datetime) -> list[list[str]]:
    """Header and lines as cells for ``columns.align``."""
    meta = workflow["metadata"]
    version = names.pod_name_version(meta.get("annotations"))
    rows = [list(HEADERS[look.columns])]
    for line in tree:
        if line.node is None:
            rows.append([""] * 6)
        else:
            rows.append(_cells(line.prefix, line.node, meta["name"], version, look, now))
    return rows


def duration(node: Node, now: datetime) -> str:
    """``4s``, ``2m`` …: how long it took, or takes until ``now``."""
    started, finished = parse_time(node.get("startedAt")), parse_time(node.get("finishedAt"))
    return durations.humanize_short(elapsed_ns(started, finished, now))


def elapsed_ns(started: datetime | None, finished: datetime | None, now: datetime) -> int:
    """Nanoseconds between the two; an absent end is ``now``, an absent start means nothing has passed."""
    if started is None:
        return 0
    return int(((finished or now) - started).total_seconds() * durations.SECOND)


def parse_time(text: object) -> datetime | None:
    """A timestamp as the API writes it; None where absent or not one."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# --- what hangs below what -------------------------------------------------------------------------------------------


def _below(nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """Node id → ids of what is drawn below it, in order."""
    group_of = {
        child: group_id
        for group_id, group in nodes.items()
        if group.get("type") in GROUPS
        for child in group.get("children") or ()
    }
    below: dict[str, list[str]] = {}
    for node_id, node in nodes.items():
        if node.get("type") not in (*GROUPS, *BOUNDARIES, *LEAVES):
            continue
        parent = group_of.get(node_id) or node.get("boundaryID")
        if parent and parent != node_id:
            below.setdefault(parent, []).append(node_id)
    started_first = cmp_to_key(_order)
    for siblings in below.values():
        siblings.sort(key=lambda node_id: started_first(nodes[node_id]))
    return below


def _order(a: Node, b: Node) -> int:
    started = (a.get("startedAt") or "", b.get("startedAt") or "")
    if started[0] != started[1]:
        return -1 if started[0] < started[1] else 1
    mine, other = str(a.get("displayName") or ""), str(b.get("displayName") or "")
    my_index, other_index = _loop_index(mine), _loop_index(other)
    if my_index >= 0 and other_index >= 0:
        return my_index - other_index
    return (mine > other) - (mine < other)


def _loop_index(name: str) -> int:
    try:
        return names.recover_index(name)
    except names.NamingError:
        return -1


# --- drawing ---------------------------------------------------------------------------------------------------------

# (only child, first, last, other): what stands before the symbol, and what stands below it
_GROUP_ARMS = (("──", "  "), ("┬─", "│ "), ("└─", "  "), ("├─", "│ "))
_ASCII_GROUP_ARMS = (("--", "  "), ("+-", "| "), ("`-", "  "), ("|-", "| "))


def _walk(
    node_id: str,
    nodes: Mapping[str, Node],
    below: Mapping[str, Sequence[str]],
    prefix: str,
    child_prefix: str,
    shown: Callable[[Node], bool] | None,
    utf8: bool,
) -> Iterator[Line]:
    """Depth first, with a stack of our own: a recursive workflow may be deeper than Python's."""
    waiting = [(node_id, prefix, child_prefix)]
    seen: set[str] = set()
    while waiting:
        current, own, lower = waiting.pop()
        if current in seen:  # a loop in the status of somebody else's making
            continue
        seen.add(current)
        node = nodes[current]
        hidden, in_group = _hidden(node, shown)
        if not hidden:
            yield Line(own, node)
        children = below.get(current, ())
        drawn = []
        for index, child in enumerate(children):
            arm, under = _arm(index, len(children), hidden, in_group, utf8)
            first_of_hidden = hidden and index == 0
            drawn.append((child, (own if first_of_hidden else lower) + arm, lower + under))
        waiting += reversed(drawn)


def _hidden(node: Node, shown: Callable[[Node], bool] | None) -> tuple[bool, bool]:
    """``(has no line, its children are drawn as a group)``."""
    kind = node.get("type")
    if kind == "Retry" and len(node.get("children") or ()) == 1:
        return True, False
    if kind == "StepGroup":
        return True, True
    if kind == "Skipped" and node.get("phase") == "Omitted":
        return True, False
    return (shown is not None and not shown(node)), False


def _arm(index: int, count: int, parent_hidden: bool, in_group: bool, utf8: bool) -> tuple[str, str]:
    only, first, last, other = _GROUP_ARMS if utf8 else _ASCII_GROUP_ARMS
    if parent_hidden and not in_group:
        return "", ""
    if parent_hidden and count == 1:
        return only
    if parent_hidden and index == 0:
        return first
    return last if index == count - 1 else other


def _cells(prefix: str, node: Node, workflow: str, version: str, look: Look, now: datetime) -> list[str]:
    is_pod = node.get("type") == "Pod"
    reference = node.get("templateRef")
    template = f"{reference.get('name')}/{reference.get('template')}" if reference else node.get("templateName") or ""
    own_template = str((reference or {}).get("template") or node.get("templateName") or "")
    pod = names.pod_name(workflow, node.get("name", ""), own_template, node.get("id", ""), version) if is_pod else ""
    message = " ".join(str(node.get("message") or "").split("\n"))
    cells = [
        f"{prefix}{look.symbol(node)} {node.get('displayName') or node.get('name', '')}",
        template,
        pod,
        duration(node, now) if is_pod else "",
    ]
    host = str(node.get("hostNodeName") or "") if is_pod else ""
    if look.columns == "wide":
        made = (node.get("outputs") or {}).get("artifacts") or ()
        artifacts = ",".join(str(a.get("name")) for a in made)
        return [*cells, artifacts, message, resources_duration(node.get("resourcesDuration")), host]
    return [*cells, message, host if look.columns == "short" else ""]


_DENOMINATORS = {"memory": "100Mi", "storage": "10Gi", "ephemeral-storage": "10Gi"}


def resources_duration(used: Mapping[str, Any] | None) -> str:
    """``4s*(1 cpu),2s*(100Mi memory)``: seconds of each resource's unit."""
    return ",".join(
        f"{durations.format(int(seconds) * durations.SECOND)}*({_DENOMINATORS.get(name, '1')} {name})"
        for name, seconds in sorted((used or {}).items())
    )
