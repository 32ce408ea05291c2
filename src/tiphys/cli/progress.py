"""How a run shows itself: a live tree on a terminal, a line per event elsewhere; both end with the final tree.

A view is told every newest state of every workflow (``state``) and drawn when its owner says so (``refresh``), which is
as often as drawing is cheap: see ``Pace``. A view never waits, reads no clock and knows no API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TextIO

from tiphys.cli import columns, tree
from tiphys.cli.screen import Screen
from tiphys.lang import durations

Workflow = Mapping[str, Any]

FINAL_LINES_MAX = 2_000  # a longer tree is cut; `get` prints all of it
HEADER = ("STEP", "TEMPLATE", "DURATION", "MESSAGE")
# what is shown first where not everything fits
_URGENCY = {"Running": 0, "Failed": 0, "Error": 0, "Pending": 1}


class View(Protocol):
    @property
    def moves(self) -> bool:
        """Whether it shows how time passes, and wants to be refreshed without news."""
        ...

    def state(self, workflow: Workflow) -> None:
        """The newest state of one workflow."""
        ...

    def say(self, text: str) -> None:
        """A remark or a log line, for good."""
        ...

    def refresh(self, now: datetime) -> None: ...

    def close(self, now: datetime) -> None:
        """Shows the end and leaves the terminal as it was."""
        ...


class Live:
    """A tree that is redrawn in place."""

    moves = True

    def __init__(self, stream: TextIO, look: tree.Look) -> None:
        self._screen = Screen(stream).__enter__()
        self._look = look
        self._latest: dict[str, Workflow] = {}

    def state(self, workflow: Workflow) -> None:
        self._latest[workflow["metadata"]["uid"]] = workflow

    def say(self, text: str) -> None:
        self._screen.above(text.split("\n"))

    def refresh(self, now: datetime) -> None:
        room = max(3, self._screen.size().lines - 2)
        self._screen.draw(list(forest(self._latest.values(), self._look, now, room)))

    def close(self, now: datetime) -> None:
        self._screen.draw([])
        self._screen.above(list(forest(self._latest.values(), self._look, now, FINAL_LINES_MAX)))
        self._screen.__exit__()


class Plain:
    """A line when a workflow or a step of it changes its phase; for logs and pipes."""

    moves = False

    def __init__(self, stream: TextIO, look: tree.Look, began: datetime) -> None:
        self._stream = stream
        self._look = look
        self._began = began
        self._latest: dict[str, Workflow] = {}
        self._changed: set[str] = set()
        self._phases: dict[str, str] = {}

    def state(self, workflow: Workflow) -> None:
        uid = workflow["metadata"]["uid"]
        self._latest[uid] = workflow
        self._changed.add(uid)

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def refresh(self, now: datetime) -> None:
        stamp = f"{(now - self._began).total_seconds():7.2f}s"
        for uid in sorted(self._changed):
            for line in self._news(uid, self._latest[uid]):
                print(f"{stamp}  {line}", file=self._stream)
        self._changed.clear()
        self._stream.flush()

    def close(self, now: datetime) -> None:
        self.refresh(now)
        print(file=self._stream)
        for line in forest(self._latest.values(), self._look, now, FINAL_LINES_MAX):
            print(line.rstrip(), file=self._stream)
        self._stream.flush()

    def _news(self, uid: str, workflow: Workflow) -> Iterator[str]:
        status = workflow.get("status") or {}
        for node_id, node in (status.get("nodes") or {}).items():
            phase = str(node.get("phase") or "")
            if node.get("type") not in tree.LEAVES or phase == "Omitted":
                continue
            if self._is_new(f"{uid}/{node_id}", phase):
                message = str(node.get("message") or "")
                yield f"{self._look.symbol(node)} {node.get('name')}  {phase}" + (f"  {message}" if message else "")
        phase = str(status.get("phase") or "")
        if phase and self._is_new(uid, phase):
            yield headline(workflow, self._look)

    def _is_new(self, key: str, phase: str) -> bool:
        if self._phases.get(key) == phase:
            return False
        self._phases[key] = phase
        return True


class Silent:
    """Shows nothing but remarks (``-o json`` with no terminal to draw on)."""

    moves = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def state(self, workflow: Workflow) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def refresh(self, now: datetime) -> None:
        pass

    def close(self, now: datetime) -> None:
        pass


@dataclass
class Pace:
    """Keeps drawing to a tenth of the time, at most ``per_second`` times a second, however large the tree is."""

    per_second: float = 15.0
    _next: float = 0.0

    def wait_seconds(self, monotonic: float) -> float:
        """How long until the next drawing is due; 0.0 for now."""
        return max(0.0, self._next - monotonic)

    def drew(self, began: float, ended: float) -> None:
        self._next = ended + max(1 / self.per_second, 9 * (ended - began))


def forest(workflows: Any, look: tree.Look, now: datetime, room: int) -> Iterator[str]:
    """All workflows in at most ``room`` lines (but at least a headline each)."""
    ordered = sorted(workflows, key=lambda w: (w["metadata"].get("creationTimestamp") or "", w["metadata"]["name"]))
    each = max(1, room // max(1, len(ordered)))
    for index, workflow in enumerate(ordered):
        if index:
            yield ""
        yield from one(workflow, look, now, each - (1 if index else 0))


def one(workflow: Workflow, look: tree.Look, now: datetime, room: int) -> Iterator[str]:
    """A headline and as much of the tree as fits."""
    yield headline(workflow, look, now)
    drawn = tree.lines(workflow, utf8=look.utf8)
    if not drawn or room < 4:
        return
    kept, left_out = choose(drawn, room - 2)
    rows = [list(HEADER), *(_cells(line, look, now) for line in kept)]
    yield from columns.align(rows)
    if left_out:
        yield f"   … {sum(left_out.values())} more: " + ", ".join(f"{n} {phase}" for phase, n in left_out.items())


def headline(workflow: Workflow, look: tree.Look, now: datetime | None = None) -> str:
    """``✔ Succeeded  hello-x7k2p  5/5 steps  3s  message``."""
    status = workflow.get("status") or {}
    phase = str(status.get("phase") or "Pending")
    parts = [f"{look.symbol({'phase': phase})} {look.paint(phase, 1)}" if look.utf8 else phase]
    parts.append(str(workflow["metadata"]["name"]))
    if status.get("progress"):
        parts.append(f"{status['progress']} steps")
    if now is not None and status.get("startedAt"):
        began, ended = tree.parse_time(status["startedAt"]), tree.parse_time(status.get("finishedAt"))
        parts.append(durations.humanize_short(tree.elapsed_ns(began, ended, now)))
    if status.get("message"):
        parts.append(" ".join(str(status["message"]).split()))
    return "  ".join(parts)


def choose(drawn: Sequence[tree.Line], room: int) -> tuple[list[tree.Line], dict[str, int]]:
    """The lines to show where only ``room`` fit, and how many of each phase are left out.

    The root stays, then what runs or went wrong, then what waits, then the rest; the order is kept.
    """
    if len(drawn) <= room:
        return list(drawn), {}
    ranked = sorted(range(len(drawn)), key=lambda i: (-1 if i == 0 else _urgency(drawn[i]), i))
    kept = set(ranked[: room - 1])
    left_out = Counter(
        str(line.node.get("phase")) for i, line in enumerate(drawn) if i not in kept and line.node is not None
    )
    return [drawn[i] for i in sorted(kept)], dict(left_out.most_common())


def _urgency(line: tree.Line) -> int:
    return 3 if line.node is None else _URGENCY.get(str(line.node.get("phase")), 2)


def _cells(line: tree.Line, look: tree.Look, now: datetime) -> list[str]:
    if line.node is None:
        return ["", "", "", ""]
    node = line.node
    reference = node.get("templateRef")
    template = f"{reference.get('name')}/{reference.get('template')}" if reference else node.get("templateName") or ""
    took = tree.duration(node, now) if node.get("startedAt") and node.get("type") in tree.LEAVES else ""
    name = f"{line.prefix}{look.symbol(node)} {node.get('displayName') or node.get('name', '')}"
    return [name, str(template), took, " ".join(str(node.get("message") or "").split())]
