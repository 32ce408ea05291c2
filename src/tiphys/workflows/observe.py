"""What a decision about a workflow may see.

A decision is made from three things: the ``Run`` (the workflow as it was last decided, with its indexes; rebuilt from
the stored object after a restart), the ``Changes`` since, and a ``Lookup`` into the controller's caches for everything
else. None of them does I/O; time comes as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to one workflow since its last decision; an empty one means "only time passed".

    ``workflow`` is the newest object when somebody else changed it (spec, metadata, or a retry's status). Pods and task
    results are keyed by name; None means deleted. ``refused`` are pods that the run asked for and the API will not
    make, with the reason as the API worded it: no pod will come; ``delayed`` are those that a quota has no room for
    now, ``claims`` volume claims that the API will not make. ``others`` says that something looked up before may
    have changed (a ConfigMap, a lock, a template).
    """

    workflow: Object | None = None
    pods: Mapping[str, Object | None] = field(default_factory=dict)
    task_results: Mapping[str, Object | None] = field(default_factory=dict)
    task_set: Object | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    delayed: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    others: bool = False


class Lookup(Protocol):
    """Question-like reads of the controller's caches, all in the workflow's namespace unless said. None: absent."""

    def workflow_template(self, name: str) -> Object | None: ...

    def cluster_workflow_template(self, name: str) -> Object | None: ...

    def config_map(self, name: str, namespace: str | None = None) -> Object | None: ...

    def pod(self, name: str) -> Object | None: ...

    def pods(self) -> Iterable[Object]:
        """The pods of this workflow (label workflows.argoproj.io/workflow), for rebuilding a run."""
        ...

    def task_results(self) -> Iterable[Object]:
        """The task results of this workflow."""
        ...

    def namespace_labels(self) -> Mapping[str, str]: ...

    def service_account(self, name: str) -> Object | None: ...

    def executor_plugins(self, namespace: str) -> Iterable[Object]:
        """The config maps of a namespace that describe executor plugins (label configmap-type: ExecutorPlugin)."""
        ...

    def last_success(self, label: str, value: str) -> str:
        """The name of the newest workflow with this label that succeeded, "" for none."""
        ...

    def seconds_taken(self, workflow: str, node_id: str = "") -> int:
        """How long a finished workflow (or one of its nodes) took; 0 where that is not known."""
        ...
