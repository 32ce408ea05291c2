"""The nodes of one run: what ``status.nodes`` says, with the indexes that keep a decision from looking at all of them.

A node is changed only through `NodeStore.update` (and `add`, `link`), which keeps the counters per boundary,
the set of unfulfilled nodes and the list of what changed since the last write. Reading is free: attributes.

    phase                          counted as
    Pending, Running               active child of its boundary; active pod too if it is a Pod that exists
    Failed, Error                  unsuccessful child of its boundary
    Succeeded, Skipped, Omitted    -

"Fulfilled" is the original's word for finished, skipped, omitted or daemoned; "synced" says that the outputs which the
executor reports have all arrived (None: none are expected).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

COMPLETED = frozenset(("Succeeded", "Failed", "Error"))
UNSUCCESSFUL = frozenset(("Failed", "Error"))
NOT_EXECUTED = frozenset(("Skipped", "Omitted"))
ACTIVE = frozenset(("Pending", "Running"))
COUNTED_CHILDREN = frozenset(("Pod", "Steps", "DAG"))
EXECUTABLE = frozenset(("Pod", "HTTP", "Plugin", "Container", "Suspend"))
TASK_SET_TYPES = frozenset(("HTTP", "Plugin"))


@dataclass(slots=True, eq=False)
class Node:
    """One entry of ``status.nodes``. ``children`` is an ordered set; times are UTC with whole seconds."""

    id: str
    name: str
    display_name: str
    type: str
    phase: str
    template_name: str = ""
    template_ref: dict[str, Any] | None = None
    template_scope: str = ""
    boundary_id: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    estimated_duration: int = 0
    progress: str = ""
    resources_duration: dict[str, int] | None = None
    pod_ip: str = ""
    daemoned: bool = False
    flag: dict[str, bool] | None = None
    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None
    children: dict[str, None] = field(default_factory=dict)
    outbound_nodes: list[str] = field(default_factory=list)
    host_node_name: str = ""
    memoization: dict[str, Any] | None = None
    waiting_for: str | None = None
    synced: bool | None = None
    failed_pod_restarts: int = 0
    restarting_pod_uid: str = ""

    @property
    def completed(self) -> bool:
        return self.phase in COMPLETED

    @property
    def phase_fulfilled(self) -> bool:
        """Finished by its phase alone: a daemon that still runs is not."""
        if self.phase in COMPLETED:
            return self.synced is not False
        return self.phase in NOT_EXECUTED

    @property
    def fulfilled(self) -> bool:
        return self.phase_fulfilled or (self.daemoned and self.phase != "Pending")

    @property
    def unsuccessful(self) -> bool:
        return self.phase in UNSUCCESSFUL

    @property
    def hooked(self) -> bool:
        return self.flag is not None and bool(self.flag.get("hooked"))

    @property
    def retried(self) -> bool:
        return self.flag is not None and bool(self.flag.get("retried"))

    @property
    def is_active_suspend(self) -> bool:
        return self.type == "Suspend" and self.phase == "Running"

    @property
    def memo_hit(self) -> bool:
        return self.memoization is not None and bool(self.memoization.get("hit"))

    @property
    def template(self) -> str:
        """The name of the template whose pod this is, wherever it is defined."""
        return self.template_ref.get("template", "") if self.template_ref else self.template_name


@dataclass(slots=True)
class Counts:
    """How many children of a boundary are in each of the counted states."""

    active_children: int = 0
    active_pods: int = 0
    unsuccessful: int = 0


class NodeStore:
    """The nodes by id, with their indexes.

    ``failed`` are the unsuccessful ones in the order in which they became that; ``failures_changed`` is for whoever
    shows them, who resets it. ``changed`` is what the next status write has to carry, see ``take_changes``.
    ``pass_before`` holds the phase that each changed node had before this pass; ``restless`` are the nodes made or
    updated since templates were last executed: those that a walk over them has not seen as they are now.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Node] = {}
        self.open: dict[str, None] = {}
        self.unsynced: set[str] = set()
        self.daemoned: set[str] = set()
        self.task_set: set[str] = set()
        self.failed: dict[str, None] = {}
        self.failures_changed = True
        self.parents: dict[str, list[str]] = {}
        self.members: dict[str, dict[str, None]] = {}
        self.changed: dict[str, dict[str, Any] | None] = {}
        self.pass_before: dict[str, str | None] = {}
        self.restless: dict[str, None] = {}
        self.fresh_links: list[tuple[str, str]] = []
        self.active_pods = 0
        self._counts: dict[str, Counts] = {}
        self._live_pods: set[str] = set()

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.by_id.values())

    def get(self, node_id: str) -> Node | None:
        return self.by_id.get(node_id)

    def counts(self, boundary_id: str) -> Counts:
        return self._counts.get(boundary_id) or Counts()

    def add(self, node: Node) -> Node:
        """Adds a new node; one with this id must not exist."""
        if node.id in self.by_id:
            raise ValueError(f"node {node.name} already initialized")
        self.pass_before.setdefault(node.id, None)
        self.changed[node.id] = self.restless[node.id] = None
        if node.phase in UNSUCCESSFUL:
            self.failures_changed = True
        self._insert(node)
        return node

    def load(self, node: Node) -> None:
        """Adds a node that is already stored."""
        self._insert(node)

    def update(self, node: Node, **fields: Any) -> bool:
        """Sets attributes; says whether any of them was different."""
        differing: dict[str, Any] = {}
        for name, value in fields.items():
            known = getattr(node, name)
            if known != value:
                differing[name] = known
        if not differing:
            return False
        counted = not _COUNTED.isdisjoint(differing)
        if counted:
            self._count(node, -1)
        self.pass_before.setdefault(node.id, node.phase)
        self.restless[node.id] = None
        before = self.changed.setdefault(node.id, {})
        for name, known in differing.items():
            if before is not None:
                before.setdefault(name, known)
            setattr(node, name, fields[name])
        if counted:
            self._count(node, +1)
        if node.phase in UNSUCCESSFUL:
            self.failures_changed = True
        return True

    def link(self, parent: Node, child_id: str) -> bool:
        """Makes ``child_id`` (which may not exist yet) a child of ``parent``."""
        if child_id in parent.children:
            return False
        self.pass_before.setdefault(parent.id, parent.phase)
        before = self.changed.setdefault(parent.id, {})
        if before is not None:
            before["children"] = None
        parent.children[child_id] = None
        self.parents.setdefault(child_id, []).append(parent.id)
        self.fresh_links.append((parent.id, child_id))
        return True

    def set_pod_exists(self, node_id: str, exists: bool) -> None:
        """Notes whether the pod of a node is there: only those that are count against parallelism."""
        if exists == (node_id in self._live_pods):
            return
        (self._live_pods.add if exists else self._live_pods.discard)(node_id)
        node = self.by_id.get(node_id)
        if node is not None and node.type == "Pod" and node.phase in ACTIVE and not node.waiting_for:
            by = 1 if exists else -1
            self._boundary(node.boundary_id).active_pods += by
            self.active_pods += by

    def pod_exists(self, node_id: str) -> bool:
        return node_id in self._live_pods

    def begin_pass(self) -> None:
        self.pass_before, self.restless = {}, {}

    def begin_walk(self) -> None:
        """What changed until now is seen by the execution of the templates that begins."""
        self.restless = {}

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Since the last call: the new nodes (None) and, of the others, what changed, with the values before.

        What ``children`` were before is not kept: they only become more.
        """
        changed, self.changed = self.changed, {}
        return changed

    def _insert(self, node: Node) -> None:
        self.by_id[node.id] = node
        for child in node.children:
            self.parents.setdefault(child, []).append(node.id)
        if node.boundary_id:
            self.members.setdefault(node.boundary_id, {})[node.id] = None
        if node.type in TASK_SET_TYPES:
            self.task_set.add(node.id)
        self._count(node, +1)

    def _count(self, node: Node, by: int) -> None:
        """Adds (or takes out) a node's share in every index that depends on its state."""
        phase, node_id = node.phase, node.id
        if by > 0:
            if node.fulfilled:
                self.open.pop(node_id, None)
            else:
                self.open[node_id] = None
            if phase in UNSUCCESSFUL:
                self.failed[node_id] = None
            elif node_id in self.failed:
                del self.failed[node_id]
                self.failures_changed = True
            (self.unsynced.add if node.synced is False else self.unsynced.discard)(node_id)
            (self.daemoned.add if node.daemoned else self.daemoned.discard)(node_id)
        if phase in ACTIVE:
            counts = self._boundary(node.boundary_id)
            if node.type in COUNTED_CHILDREN:
                counts.active_children += by
            if node.type == "Pod" and not node.waiting_for and node_id in self._live_pods:
                counts.active_pods += by
                self.active_pods += by
        elif phase in UNSUCCESSFUL and node.type in COUNTED_CHILDREN:
            self._boundary(node.boundary_id).unsuccessful += by

    def _boundary(self, boundary_id: str) -> Counts:
        found = self._counts.get(boundary_id)
        if found is None:
            found = self._counts[boundary_id] = Counts()
        return found


_COUNTED = frozenset(("phase", "synced", "daemoned", "waiting_for", "type", "boundary_id"))


def to_wire(node: Node) -> dict[str, Any]:
    """The node as ``status.nodes`` holds it; empty fields are left out as Go's omitempty does."""
    wire: dict[str, Any] = {"id": node.id, "name": node.name, "displayName": node.display_name, "type": node.type}
    if node.template_name:
        wire["templateName"] = node.template_name
    if node.template_ref:
        wire["templateRef"] = node.template_ref
    if node.template_scope:
        wire["templateScope"] = node.template_scope
    if node.phase:
        wire["phase"] = node.phase
    if node.boundary_id:
        wire["boundaryID"] = node.boundary_id
    if node.message:
        wire["message"] = node.message
    wire["startedAt"] = stamp(node.started_at)
    wire["finishedAt"] = stamp(node.finished_at)
    if node.estimated_duration:
        wire["estimatedDuration"] = node.estimated_duration
    if node.progress:
        wire["progress"] = node.progress
    if node.resources_duration:
        wire["resourcesDuration"] = node.resources_duration
    _late_fields(node, wire)
    return wire


def wire_field(name: str, value: Any) -> tuple[str, Any]:
    """One attribute as ``to_wire`` would show it: its key and value, None where it would be left out (or null)."""
    key, encode = _WIRE[name]
    return key, encode(value) if encode is not None else value or None


def _late_fields(node: Node, wire: dict[str, Any]) -> None:
    if node.pod_ip:
        wire["podIP"] = node.pod_ip
    if node.daemoned:
        wire["daemoned"] = True
    if node.flag is not None:
        wire["nodeFlag"] = node.flag
    if node.inputs is not None:
        wire["inputs"] = node.inputs
    if node.outputs is not None:
        wire["outputs"] = node.outputs
    if node.children:
        wire["children"] = list(node.children)
    if node.outbound_nodes:
        wire["outboundNodes"] = node.outbound_nodes
    if node.host_node_name:
        wire["hostNodeName"] = node.host_node_name
    if node.memoization is not None:
        wire["memoizationStatus"] = node.memoization
    if node.waiting_for is not None:
        wire["synchronizationStatus"] = _synchronization(node.waiting_for)
    if node.synced is not None:
        wire["taskResultSynced"] = node.synced
    if node.failed_pod_restarts:
        wire["failedPodRestarts"] = node.failed_pod_restarts
    if node.restarting_pod_uid:
        wire["restartingPodUID"] = node.restarting_pod_uid


def _synchronization(waiting_for: str | None) -> dict[str, Any] | None:
    return None if waiting_for is None else {"waiting": waiting_for} if waiting_for else {}


def from_wire(wire: Mapping[str, Any]) -> Node:
    """Reads one entry of ``status.nodes``."""
    waiting = wire.get("synchronizationStatus")
    return Node(
        id=wire.get("id", ""),
        name=wire["name"],
        display_name=wire.get("displayName", ""),
        type=wire.get("type", ""),
        phase=wire.get("phase", ""),
        template_name=wire.get("templateName", ""),
        template_ref=wire.get("templateRef"),
        template_scope=wire.get("templateScope", ""),
        boundary_id=wire.get("boundaryID", ""),
        message=wire.get("message", ""),
        started_at=moment(wire.get("startedAt")),
        finished_at=moment(wire.get("finishedAt")),
        estimated_duration=wire.get("estimatedDuration", 0),
        progress=wire.get("progress", ""),
        resources_duration=wire.get("resourcesDuration"),
        pod_ip=wire.get("podIP", ""),
        daemoned=bool(wire.get("daemoned")),
        flag=wire.get("nodeFlag"),
        inputs=wire.get("inputs"),
        outputs=wire.get("outputs"),
        children=dict.fromkeys(wire.get("children") or ()),
        outbound_nodes=list(wire.get("outboundNodes") or ()),
        host_node_name=wire.get("hostNodeName", ""),
        memoization=wire.get("memoizationStatus"),
        waiting_for=waiting.get("waiting", "") if waiting is not None else None,
        synced=wire.get("taskResultSynced"),
        failed_pod_restarts=wire.get("failedPodRestarts", 0),
        restarting_pod_uid=wire.get("restartingPodUID", ""),
    )


@lru_cache(maxsize=1024)
def stamp(when: datetime | None) -> str | None:
    """A Kubernetes timestamp: UTC, whole seconds; None where Go writes null."""
    if when is None:
        return None
    return f"{when.year:04}-{when.month:02}-{when.day:02}T{when.hour:02}:{when.minute:02}:{when.second:02}Z"


@lru_cache(maxsize=1024)
def moment(text: str | None) -> datetime | None:
    """Reads a Kubernetes timestamp; None and the zero time are both "never"."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).astimezone(timezone.utc)  # noqa: UP017


def _itself(value: Any) -> Any:
    return value


# Attribute → key and how its value is written; without a function an empty value is left out.
_WIRE: Mapping[str, tuple[str, Callable[[Any], Any] | None]] = {
    "name": ("name", _itself),
    "display_name": ("displayName", _itself),
    "type": ("type", _itself),
    "phase": ("phase", None),
    "template_name": ("templateName", None),
    "template_ref": ("templateRef", None),
    "template_scope": ("templateScope", None),
    "boundary_id": ("boundaryID", None),
    "message": ("message", None),
    "started_at": ("startedAt", stamp),
    "finished_at": ("finishedAt", stamp),
    "estimated_duration": ("estimatedDuration", None),
    "progress": ("progress", None),
    "resources_duration": ("resourcesDuration", None),
    "pod_ip": ("podIP", None),
    "daemoned": ("daemoned", None),
    "flag": ("nodeFlag", _itself),
    "inputs": ("inputs", _itself),
    "outputs": ("outputs", _itself),
    "children": ("children", list),
    "outbound_nodes": ("outboundNodes", None),
    "host_node_name": ("hostNodeName", None),
    "memoization": ("memoizationStatus", _itself),
    "waiting_for": ("synchronizationStatus", _synchronization),
    "synced": ("taskResultSynced", _itself),
    "failed_pod_restarts": ("failedPodRestarts", None),
    "restarting_pod_uid": ("restartingPodUID", None),
}
