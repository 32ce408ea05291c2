"""Progress ``N/M``: each executable node counts, every other node sums what is below it (by children), once each.

``resourcesDuration`` is summed the same way, from the pods.

The sums are kept by differences: a change of one node goes to its lineage, the composite nodes above it. Nodes with
one parent share the lineage of that parent, so a chain of pods in a DAG has one lineage, not one for each.

In a long chain every finished group counts all that comes after it. There a lineage is cut: it has the nearest nodes
and those that are not done; the others are brought up to date when the workflow is complete.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tiphys.workflows.plan import usage
from tiphys.workflows.plan.assess import is_valid_progress
from tiphys.workflows.plan.nodes import EXECUTABLE, Node, NodeStore

Lineage = tuple[str, ...]
NEAR = 24
FEW_NODES = 500  # with which nothing is cut


@dataclass(eq=False)
class Progress:
    """The sums of one run. ``total`` is the workflow's."""

    nodes: NodeStore
    total: list[int] = field(default_factory=lambda: [0, 0])
    sums: dict[str, list[int]] = field(default_factory=dict)
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)
    lineages: dict[str, Lineage] = field(default_factory=dict)
    durations: dict[str, dict[str, int]] = field(default_factory=dict)
    timed: dict[str, dict[str, int]] = field(default_factory=dict)
    stale: bool = False
    is_cut: bool = False

    def refresh(self, changed: list[str]) -> None:
        """Brings the progress of all nodes up to date after ``changed`` ones were."""
        if self._has_late_links():
            self._rebuild()
            return
        touched: dict[str, None] = {}
        for node_id in changed:
            node = self.nodes.by_id.get(node_id)
            if node is not None and node.type in EXECUTABLE:
                self._count(node, touched)
                self._time(node)
        for node_id in touched:
            self._show(node_id)
        for node_id in dict.fromkeys((*changed, *touched)):
            self._show_durations(node_id)

    @property
    def total_durations(self) -> dict[str, int]:
        """``resourcesDuration`` of the workflow."""
        return self.durations.get("", {})

    def _time(self, node: Node) -> None:
        """Adds how long a pod used its resources to all above it."""
        own = node.resources_duration
        if not own or self.timed.get(node.id) == own:
            return
        more = dict(own)
        usage.add(more, {resource: -seconds for resource, seconds in self.timed.get(node.id, {}).items()})
        self.timed[node.id] = own
        for above in ("", *self._lineage(node.id)):
            usage.add(self.durations.setdefault(above, {}), more)

    def _show_durations(self, node_id: str) -> None:
        node = self.nodes.by_id.get(node_id)
        if node is not None and node.type not in EXECUTABLE and node.fulfilled and node_id in self.durations:
            self.nodes.update(node, resources_duration=dict(self.durations[node_id]))

    def settle(self) -> None:
        """Brings those up to date that lineages leave out: each node counts for the first parent that leads to it."""
        if not self.is_cut:
            return
        self.is_cut = False
        order: dict[str, str] = {}
        todo = [(node.id, "") for node in self.nodes if not self.nodes.parents.get(node.id)]
        while todo:
            node_id, parent = todo.pop()
            if node_id in order or node_id not in self.nodes.by_id:
                continue
            order[node_id] = parent
            todo.extend((child, node_id) for child in reversed(self.nodes.by_id[node_id].children))
        sums: dict[str, list[int]] = {}
        for node_id in reversed(order):
            own = sums.setdefault(node_id, [0, 0])
            done, total = self.counted.get(node_id, (0, 0))
            above = sums.setdefault(order[node_id], [0, 0])
            above[0] += own[0] + done
            above[1] += own[1] + total
        for node_id in order:
            known = self.sums.get(node_id)
            if known is not None and sums[node_id][1] > known[1]:
                self.sums[node_id] = sums[node_id]
                self._show(node_id)

    def _count(self, node: Node, touched: dict[str, None]) -> None:
        done, total = _own(self.nodes, node)
        before = self.counted.get(node.id, (0, 0))
        if before == (done, total) and node.id in self.counted:
            return
        self.counted[node.id] = (done, total)
        more_done, more_total = done - before[0], total - before[1]
        self.total[0] += more_done
        self.total[1] += more_total
        for above in self._lineage(node.id):
            sums = self.sums.setdefault(above, [0, 0])
            sums[0] += more_done
            sums[1] += more_total
            touched[above] = None

    def _show(self, node_id: str) -> None:
        done, total = self.sums[node_id]
        node = self.nodes.by_id.get(node_id)
        if node is not None and total > 0:
            self.nodes.update(node, progress=f"{done}/{total}")

    def _lineage(self, node_id: str) -> Lineage:
        """The composite nodes above a node, nearest first."""
        known = self.lineages.get(node_id)
        if known is not None:
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
            above = self.lineages[parent_id]
            if parent.type not in EXECUTABLE:
                key = f"{parent_id}/"
                own = self.lineages.get(key)
                if own is None:
                    own = self.lineages[key] = (parent_id, *above)
                above = own
            found = above if found is None or found is above else tuple(dict.fromkeys((*found, *above)))
        return self._cut(found or ())

    def _cut(self, lineage: Lineage) -> Lineage:
        if len(lineage) <= 2 * NEAR or len(self.nodes) < FEW_NODES:
            return lineage
        far = (above for above in lineage[NEAR:] if not self.nodes.by_id[above].phase_fulfilled)
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
        self.total, self.sums, self.counted, self.lineages, self.is_cut = [0, 0], {}, {}, {}, False
        self.durations, self.timed = {}, {}
        touched: dict[str, None] = {}
        for node in list(self.nodes):
            if node.type in EXECUTABLE:
                self._count(node, touched)
                self._time(node)
        for node_id in touched:
            self._show(node_id)
            self._show_durations(node_id)


def _own(nodes: NodeStore, node: Node) -> tuple[int, int]:
    """What an executable node counts; a finished one is complete."""
    if not node.progress:
        nodes.update(node, progress="0/1")
    if not is_valid_progress(node.progress):
        return 0, 0
    done, _, total = node.progress.partition("/")
    if node.phase in ("Succeeded", "Skipped", "Omitted") and done != total:
        nodes.update(node, progress=f"{total}/{total}")
        done = total
    return int(done), int(total)
