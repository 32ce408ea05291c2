"""What the workflow controller knows of the cluster: one informer per kind, and reads of them as a decision asks.

``CacheLookup`` is the ``Lookup`` of one workflow. It remembers what was asked for beside the workflow's own pods and
results (templates, config maps …), so that a change of just that wakes just this workflow: ``Interest``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tiphys.client.client import Client, Object
from tiphys.lang.names import LockName
from tiphys.machinery.resources import (
    CLUSTER_WORKFLOW_TEMPLATES,
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SERVICE_ACCOUNTS,
    WORKFLOW_TASK_RESULTS,
    WORKFLOW_TASK_SETS,
    WORKFLOW_TEMPLATES,
    WORKFLOWS,
    ObjectKey,
    Resource,
)
from tiphys.machinery.times import parse_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import IndexBy, Informer, by_label
from tiphys.workflows.cron import by_cron
from tiphys.workflows.plan import estimation
from tiphys.workflows.plan.state import LABEL_PHASE

WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
_CONFIG_MAP_TYPE = "workflows.argoproj.io/configmap-type"


COMPLETED_LABEL = "workflows.argoproj.io/completed"


class Interest(NamedTuple):
    """A thing that a decision asked about; it may not exist."""

    resource: Resource
    key: ObjectKey


class Caches:
    """The informers of one controller, all namespaces or one."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random, namespace: str | None = None) -> None:
        def informer(resource: Resource, **indexes: IndexBy) -> Informer:
            where = namespace if resource.namespaced else None
            return Informer(client, resource, clock=clock, rng=rng, namespace=where, indexes=indexes)

        def owned_by_workflow(resource: Resource, keep: Callable[[Object], Object] | None = None) -> Informer:
            """Those with a workflow's label, indexed by it."""
            return Informer(
                client,
                resource,
                clock=clock,
                rng=rng,
                namespace=namespace,
                indexes={"workflow": by_label(WORKFLOW_LABEL)},
                keep=keep,
                labelSelector=WORKFLOW_LABEL,
            )

        succeeded = {label: _succeeded_by_label(label) for label in estimation.LABELS}
        self.workflows = informer(WORKFLOWS, cron=by_cron, **succeeded)
        self.pods = owned_by_workflow(PODS, without_completed)
        self.task_results = owned_by_workflow(WORKFLOW_TASK_RESULTS, result_alone)
        self.task_sets = informer(WORKFLOW_TASK_SETS)
        self.shared: Mapping[Resource, Informer] = {
            CONFIG_MAPS: informer(CONFIG_MAPS, type=by_label(_CONFIG_MAP_TYPE)),
            **{
                resource: informer(resource)
                for resource in (WORKFLOW_TEMPLATES, CLUSTER_WORKFLOW_TEMPLATES, NAMESPACES, SERVICE_ACCOUNTS)
            },
        }

    @property
    def all(self) -> tuple[Informer, ...]:
        return (*self.shared.values(), self.pods, self.task_results, self.task_sets, self.workflows)

    def lock_limit(self, name: LockName, kind: str) -> int:
        """How many may hold a lock (``kind`` is mutex or semaphore); 0 where nobody can say."""
        if kind == "mutex" or name.kind == "Mutex":
            return 1
        found = self.shared[CONFIG_MAPS].get(ObjectKey(name.namespace, name.resource))
        limit = str(((found or {}).get("data") or {}).get(name.key, ""))
        return int(limit) if limit.isdecimal() else 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in self.all:
                group.create_task(informer.run(), name=f"informer-{informer.resource.key}")

    async def synced(self) -> None:
        """Returns once every cache holds at least one complete list: before that no decision may be made."""
        for informer in self.all:
            await informer.synced.wait()


def _succeeded_by_label(label: str) -> IndexBy:
    values = by_label(label)

    def succeeded(workflow: Object) -> Iterable[str]:
        return values(workflow) if workflow["metadata"].get("labels", {}).get(LABEL_PHASE) == "Succeeded" else ()

    return succeeded


def without_completed(pod: Object) -> Object:
    """A pod, or only its name tag when it has served its purpose: of those there may be a hundred thousand."""
    meta = pod["metadata"]
    if (meta.get("labels") or {}).get(COMPLETED_LABEL) != "true":
        return pod
    return {"metadata": {part: meta[part] for part in _NAME_TAG if part in meta}}


def result_alone(result: Object) -> Object:
    """A task result as decisions read it: there is one for every pod."""
    meta = result["metadata"]
    kept: dict[str, Any] = {"metadata": {part: meta[part] for part in _RESULT_TAG if part in meta}}
    kept.update((part, result[part]) for part in _RESULT if part in result)
    return kept


_RESULT_TAG = ("name", "namespace", "resourceVersion", "labels")
_RESULT = ("phase", "message", "outputs", "progress")
_NAME_TAG = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")


class CacheLookup:
    """Implements ``observe.Lookup`` for the workflow ``key``."""

    def __init__(self, caches: Caches, key: ObjectKey) -> None:
        self._caches = caches
        self._key = key
        self._of_workflow = str(key)
        self.interests: set[Interest] = set()

    def workflow_template(self, name: str) -> Object | None:
        return self._shared(WORKFLOW_TEMPLATES, ObjectKey(self._key.namespace, name))

    def cluster_workflow_template(self, name: str) -> Object | None:
        return self._shared(CLUSTER_WORKFLOW_TEMPLATES, ObjectKey("", name))

    def config_map(self, name: str, namespace: str | None = None) -> Object | None:
        return self._shared(CONFIG_MAPS, ObjectKey(namespace or self._key.namespace, name))

    def service_account(self, name: str) -> Object | None:
        return self._shared(SERVICE_ACCOUNTS, ObjectKey(self._key.namespace, name))

    def namespace_labels(self) -> Mapping[str, str]:
        namespace = self._shared(NAMESPACES, ObjectKey("", self._key.namespace))
        return (namespace["metadata"].get("labels") or {}) if namespace is not None else {}

    def pod(self, name: str) -> Object | None:
        return self._caches.pods.get(ObjectKey(self._key.namespace, name))

    def pods(self) -> Iterable[Object]:
        return self._caches.pods.indexed("workflow", self._of_workflow)

    def task_results(self) -> Iterable[Object]:
        return self._caches.task_results.indexed("workflow", self._of_workflow)

    def executor_plugins(self, namespace: str) -> Iterable[Object]:
        return self._caches.shared[CONFIG_MAPS].indexed("type", f"{namespace}/ExecutorPlugin")

    def last_success(self, label: str, value: str) -> str:
        found = self._caches.workflows.indexed(label, f"{self._key.namespace}/{value}")
        newest = max(found, key=lambda workflow: str(workflow["metadata"].get("creationTimestamp")), default=None)
        return str(newest["metadata"]["name"]) if newest is not None else ""

    def seconds_taken(self, workflow: str, node_id: str = "") -> int:
        status = (self._caches.workflows.get(ObjectKey(self._key.namespace, workflow)) or {}).get("status") or {}
        about = (status.get("nodes") or {}).get(node_id) or {} if node_id else status
        if not about.get("startedAt") or not about.get("finishedAt"):
            return 0
        return int((parse_time(about["finishedAt"]) - parse_time(about["startedAt"])).total_seconds())

    def _shared(self, resource: Resource, key: ObjectKey) -> Object | None:
        self.interests.add(Interest(resource, key))
        return self._caches.shared[resource].get(key)
