"""Progress ``N/M``: each executable node counts, every other node sums what is below it (by children), once each.

``resourcesDuration`` is summed the same way, from the pods.

The sums are kept by differences: a change of one node goes to its lineage, the composite nodes above it. Nodes with
one parent share the lineage of that parent, so a chain of pods in a DAG has one lineage, not one for each.

In a long chain every finished group counts all that comes after it. There a lineage is cut: it has the nearest nodes
and those that are not done; the others are brought up to date when the workflow is complete. And where steps end in
quick succession, the groups before them, themselves finished, do not show each, but catch up a little later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tiphys.workflows.plan import usage
from tiphys.workflows.plan.assess import progress_of
from tiphys.workflows.plan.nodes import EXECUTABLE, Node, NodeStore
from tiphys.workflows.plan.state import LONG_AGO

NEAR = 6
FEW_NODES = 200  # with which nothing is cut
SHOWN_AT_ONCE = 10  # so many steps in a row, then one in each CATCH_UP
CATCH_UP = timedelta(seconds=1)


@dataclass(slots=True, eq=False)
class Sum:
    """What is below one composite node."""

    node_id: str
    done: int = 0
    total: int = 0
    durations: usage.Durations = field(default_factory=dict)


Lineage = tuple[Sum, ...]


@dataclass(eq=False)
class Progress:
    """The sums of one run. ``whole`` is the workflow's; ``behind`` are nodes that do not show their sum yet."""

    nodes: NodeStore
    whole: Sum = field(default_factory=lambda: Sum(""))
    sums: dict[str, Sum] = field(default_factory=dict)
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)
    timed: dict[str, usage.Durations] = field(default_factory=dict)
    lineages: dict[str, Lineage] = field(default_factory=dict)
    below: dict[str, Lineage] = field(default_factory=dict)
    behind: dict[Sum, None] = field(default_factory=dict)
    due: datetime | None = None
    shown: int = 0
    shown_since: datetime = LONG_AGO
    stale: bool = False
    is_cut: bool = False

    def refresh(self, changed: Iterable[str], now: datetime) -> datetime | None:
        """Brings progress up to date after ``changed`` nodes were; says when to catch up with what was put off."""
        if self._has_late_links():
            self._rebuild()
            return None
        self._account(changed)
        if self.behind and self._may_show(now):
            self._catch_up()
        if not self.behind or (self.due is not None and now < self.due):
            return None
        self.due = now + CATCH_UP
        return self.due

    def _may_show(self, now: datetime) -> bool:
        """Whether those that were put off may show their sums now, which is counted."""
        if now >= self.shown_since + CATCH_UP:
            self.shown, self.shown_since = max(self.shown - (now - self.shown_since) // CATCH_UP, 0), now
        if self.shown >= SHOWN_AT_ONCE:
            return False
        self.shown += 1
        return True

    def settle(self) -> None:
        """Brings everything up to date once the workflow is complete.

        What lineages left out is summed anew: each node counts for the first parent that leads to it.
        """
        self._catch_up()
        if not self.is_cut:
            return
        self.is_cut = False
        order = self._order()
        fresh: dict[str, list[int]] = {}
        for node_id in reversed(order):
            own = fresh.setdefault(node_id, [0, 0])
            done, total = self.counted.get(node_id, (0, 0))
            above = fresh.setdefault(order[node_id], [0, 0])
            above[0] += own[0] + done
            above[1] += own[1] + total
        for node_id in order:
            known = self.sums.get(node_id)
            if known is not None and fresh[node_id][1] > known.total:
                known.done, known.total = fresh[node_id]
                self._show(known)

    def _order(self) -> dict[str, str]:
        """Every node with the parent that leads to it first, parents before their children."""
        order: dict[str, str] = {}
        todo = [(node.id, "") for node in self.nodes if not self.nodes.parents.get(node.id)]
        while todo:
            node_id, parent = todo.pop()
            if node_id in order or node_id not in self.nodes.by_id:
                continue
            order[node_id] = parent
            todo.extend((child, node_id) for child in reversed(self.nodes.by_id[node_id].children))
        return order

    def _account(self, changed: Iterable[str]) -> None:
        touched: dict[Sum, None] = {}
        ended: list[Sum] = []
        for node_id in list(changed):
            node = self.nodes.by_id[node_id]
            if node.type in EXECUTABLE:
                self._count(node, touched)
                self._time(node, touched)
            elif node_id in self.sums and node.fulfilled:
                ended.append(self.sums[node_id])
        for own in touched:
            if own in self.behind:
                continue
            if self.nodes.by_id[own.node_id].phase_fulfilled:
                self.behind[own] = None
            else:
                self._show(own)
        for own in ended:
            self._show(own)

    def _count(self, node: Node, touched: dict[Sum, None]) -> None:
        done, total = _own(self.nodes, node)
        before = self.counted.get(node.id)
        if before == (done, total):
            return
        self.counted[node.id] = (done, total)
        more_done, more_total = (done, total) if before is None else (done - before[0], total - before[1])
        self.whole.done += more_done
        self.whole.total += more_total
        for above in self._lineage(node.id):
            above.done += more_done
            above.total += more_total
            touched[above] = None

    def _time(self, node: Node, touched: dict[Sum, None]) -> None:
        """Adds how long a pod used its resources to all above it."""
        own = node.resources_duration
        before = self.timed.get(node.id)
        if not own or before == own:
            return
        self.timed[node.id] = own
        more = own if before is None else {**own, **{name: own.get(name, 0) - known for name, known in before.items()}}
        usage.add(self.whole.durations, more)
        is_nothing, units = not any(more.values()), more.keys()
        for above in self._lineage(node.id):
            if is_nothing and units <= above.durations.keys():
                continue  # it used less than a unit of anything
            usage.add(above.durations, more)
            touched[above] = None

    def _catch_up(self) -> None:
        behind, self.behind = self.behind, {}
        for own in behind:
            self._show(own)

    def _show(self, own: Sum) -> None:
        node = self.nodes.by_id.get(own.node_id)
        if node is None:
            return
        fields: dict[str, Any] = {}
        if own.total > 0:
            fields["progress"] = f"{own.done}/{own.total}"
        if own.durations and node.resources_duration != own.durations and node.fulfilled:
            fields["resources_duration"] = dict(own.durations)
        self.nodes.update(node, **fields)

    def _lineage(self, node_id: str) -> Lineage:
        """The composite nodes above a node, nearest first."""
        known = self.lineages.get(node_id)
        if known is not None:
            return known
        parents = self.nodes.parents.get(node_id, [])
        if all(parent in self.lineages for parent in parents):  # as is with every node that a run makes itself
            known = self.lineages[node_id] = self._merged(parents)
            return known
        todo = [node_id]
        while todo:
            current = todo[-1]
            missing = [p for p in self.nodes.parents.get(current, ()) if p not in self.lineages]
            if missing:
                todo.extend(missing)  # again those that wait further down: this one needs them first
                if len(todo) > 64 * (len(self.nodes) + 1):  # a circle in damaged data
                    self.lineages[current] = ()
                    todo.pop()
                continue
            self.lineages[current] = self._merged(self.nodes.parents.get(current, []))
            todo.pop()
        return self.lineages[node_id]

    def _merged(self, parents: list[str]) -> Lineage:
        found: Lineage | None = None
        for parent_id in parents:
            parent = self.nodes.by_id.get(parent_id)
            if parent is None:
                continue
            above = self.lineages[parent_id] if parent.type in EXECUTABLE else self._below(parent_id)
            found = above if found is None or found is above else tuple(dict.fromkeys((*found, *above)))
        return self._cut(found or ())

    def _below(self, node_id: str) -> Lineage:
        """The lineage of what hangs below a composite node."""
        known = self.below.get(node_id)
        if known is None:
            own = self.sums[node_id] = Sum(node_id)
            known = self.below[node_id] = (own, *self.lineages[node_id])
        return known

    def _cut(self, lineage: Lineage) -> Lineage:
        if len(lineage) <= 2 * NEAR or len(self.nodes) < FEW_NODES:
            return lineage
        far = (above for above in lineage[NEAR:] if not self.nodes.by_id[above.node_id].phase_fulfilled)
        kept = (*lineage[:NEAR], *far)
        self.is_cut = self.is_cut or len(kept) < len(lineage)
        return kept

    def _has_late_links(self) -> bool:
        """Whether a node that was counted got another parent: sums above it may be wrong."""
        links, self.nodes.fresh_links = self.nodes.fresh_links, []
        late = self.stale or any(child in self.lineages or child in self.sums for _, child in links)
        self.stale = False
        return late

    def _rebuild(self) -> None:
        self.whole, self.sums, self.counted, self.timed = Sum(""), {}, {}, {}
        self.lineages, self.below, self.behind, self.is_cut = {}, {}, {}, False
        touched: dict[Sum, None] = {}
        for node in list(self.nodes):
            if node.type in EXECUTABLE:
                self._count(node, touched)
                self._time(node, touched)
        for own in touched:
            self._show(own)


def _own(nodes: NodeStore, node: Node) -> tuple[int, int]:
    """What an executable node counts; a finished one is complete."""
    if not node.progress:
        nodes.update(node, progress="0/1")
    known = progress_of(node.progress)
    if known is None:
        return 0, 0
    done, total = known
    if node.phase in ("Succeeded", "Skipped", "Omitted"):
        nodes.update(node, progress=f"{total}/{total}")
        done = total
    return done, total
