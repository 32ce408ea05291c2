"""How many workflows may run at once, in all and per namespace; the others stay Pending in a queue.

Pure memory, one for a controller; the queue is by priority, then age. A workflow that was admitted stays so until it
is removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tiphys.workflows.plan.locks import Queue
from tiphys.workflows.plan.nodes import COMPLETED, moment

POSTPONED = "Workflow processing has been postponed because too many workflows are already running"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class Throttler:
    """``limit`` and ``namespace_limit`` of 0 mean none; ``namespace_limits`` overrides for some namespaces.

    ``admitted`` names workflows that were let in since it was last emptied: look at them.
    """

    limit: int = 0
    namespace_limit: int = 0
    namespace_limits: dict[str, int] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    pending: dict[str, Queue] = field(default_factory=dict)
    admitted: set[str] = field(default_factory=set)

    def add(self, workflow: Mapping[str, Any]) -> None:
        """A workflow is there (again). One that runs already takes its place without asking."""
        meta = workflow["metadata"]
        key = f"{meta.get('namespace', '')}/{meta['name']}"
        phase = (workflow.get("status") or {}).get("phase", "")
        if key in self.running or phase in COMPLETED:
            return
        if phase == "Running":
            self.running.add(key)
            return
        priority = int((workflow.get("spec") or {}).get("priority") or 0)
        created = moment(meta.get("creationTimestamp")) or _EPOCH
        self.pending.setdefault(meta.get("namespace", ""), Queue()).add(key, priority, created)
        self._let_in()

    def admit(self, key: str) -> bool:
        """Whether a workflow may be worked on."""
        if key not in self.running:
            self._let_in()
            return key in self.running
        return True

    def lets_run(self, workflow: Mapping[str, Any]) -> bool:
        """Whether a workflow may be worked on; one that runs or shall be terminated is never held up."""
        if (workflow.get("spec") or {}).get("shutdown") == "Terminate":
            return True
        meta = workflow["metadata"]
        is_admitted = self.admit(f"{meta.get('namespace', '')}/{meta['name']}")
        return is_admitted or (workflow.get("status") or {}).get("phase") == "Running"

    def remove(self, key: str) -> None:
        """A workflow is done or gone."""
        self.running.discard(key)
        queue = self.pending.get(key.partition("/")[0])
        if queue is not None:
            queue.remove(key)
        self._let_in()

    def _let_in(self) -> None:
        while not self.limit or len(self.running) < self.limit:
            best = Queue()
            for namespace, queue in self.pending.items():
                if queue.items and self._allows(namespace):
                    first = queue.items[0]
                    best.add(first.key, first.priority, first.created)
            if not best.items:
                return
            key = best.items[0].key
            self.pending[key.partition("/")[0]].remove(key)
            self.running.add(key)
            self.admitted.add(key)

    def _allows(self, namespace: str) -> bool:
        limit = self.namespace_limits.get(namespace, self.namespace_limit)
        return not limit or sum(1 for key in self.running if key.partition("/")[0] == namespace) < limit


def postpone(workflow: Mapping[str, Any]) -> dict[str, Any] | None:
    """The patch for a workflow that may not start yet, None where it says so already."""
    status = workflow.get("status") or {}
    phase = status.get("phase") or "Pending"
    if status.get("phase") == phase and status.get("message") == POSTPONED:
        return None
    labels = {"workflows.argoproj.io/phase": phase, "workflows.argoproj.io/completed": "false"}
    return {"metadata": {"labels": labels}, "status": {"phase": phase, "message": POSTPONED, "progress": "0/0"}}
