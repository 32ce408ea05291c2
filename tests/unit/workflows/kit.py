"""A small cluster of values for engine tests: a lookup over dicts, and pods that end when told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tiphys.machinery.actions import Create, Delete, Emit, Patch, Plan
from tiphys.machinery.patches import merge
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Objects:
    """A lookup whose answers are dicts by name."""

    workflow_templates: dict[str, Any] = field(default_factory=dict)
    cluster_templates: dict[str, Any] = field(default_factory=dict)
    config_maps: dict[str, Any] = field(default_factory=dict)
    accounts: dict[str, Any] = field(default_factory=dict)
    live_pods: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    plugins: dict[str, list[Any]] = field(default_factory=dict)
    succeeded: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)

    def workflow_template(self, name: str) -> Any:
        return self.workflow_templates.get(name)

    def cluster_workflow_template(self, name: str) -> Any:
        return self.cluster_templates.get(name)

    def config_map(self, name: str, namespace: str | None = None) -> Any:
        return self.config_maps.get(name)

    def pod(self, name: str) -> Any:
        return self.live_pods.get(name)

    def pods(self) -> Iterable[Any]:
        return list(self.live_pods.values())

    def task_results(self) -> Iterable[Any]:
        return list(self.results.values())

    def namespace_labels(self) -> Mapping[str, str]:
        return {}

    def service_account(self, name: str) -> Any:
        return self.accounts.get(name)

    def executor_plugins(self, namespace: str) -> Iterable[Any]:
        return self.plugins.get(namespace, [])

    def last_success(self, label: str, value: str) -> str:
        return self.succeeded.get(f"{label}={value}", "")

    def seconds_taken(self, workflow: str, node_id: str = "") -> int:
        return self.seconds.get(f"{workflow}/{node_id}", 0)


class Cluster:
    """Carries out plans on dicts and plays the events of pods."""

    def __init__(self, spec: Mapping[str, Any], settings: Settings | None = None, **objects: Any) -> None:
        meta = {"name": "wf", "namespace": "default", "uid": "u", "resourceVersion": "1"}
        self.workflow: dict[str, Any] = {"metadata": {**meta, "creationTimestamp": "2026-01-01T00:00:00Z"}}
        self.workflow["spec"] = dict(spec)
        self.lookup = Objects(**objects)
        self.settings = settings or Settings()
        self.now = START
        self.events: list[str] = []
        self.created: list[str] = []
        self.run = Run.load(self.workflow, self.settings, self.lookup)

    def decide(self, changes: Changes | None = None) -> Plan:
        plan = self.run.decide(changes or Changes(), self.now)
        for action in plan.actions:
            self._act(action)
        return plan

    def _act(self, action: Create | Patch | Delete | Emit) -> None:
        if isinstance(action, Emit):
            self.events.append(f"{action.type} {action.reason} {action.message}")
        elif isinstance(action, Create) and action.resource.plural == "pods":
            name = action.obj["metadata"]["name"]
            assert name not in self.lookup.live_pods, f"second pod {name}"
            self.created.append(name)
            self.lookup.live_pods[name] = {**action.obj, "status": {"phase": "Pending"}}
        elif isinstance(action, Patch) and action.resource.plural == "workflows":
            self.workflow = merge.apply(self.workflow, action.patch)
        elif isinstance(action, Patch) and action.resource.plural == "pods":
            pod = merge.apply(self.lookup.live_pods[action.key.name], action.patch)
            self.lookup.live_pods[action.key.name] = pod
            if pod["metadata"]["labels"].get("workflows.argoproj.io/completed") == "true":
                self.lookup.live_pods.pop(action.key.name)
                self.run.decide(Changes(pods={action.key.name: None}), self.now)
        elif isinstance(action, Delete) and action.resource.plural == "pods":
            self.lookup.live_pods.pop(action.key.name, None)

    def reload(self) -> None:
        """Forgets the run and takes the stored workflow under control again, as after a restart."""
        self.run = Run.load(self.workflow, self.settings, self.lookup)

    def pod_of(self, node_name: str) -> str:
        annotation = "workflows.argoproj.io/node-name"
        found = [
            name
            for name, pod in self.lookup.live_pods.items()
            if pod["metadata"]["annotations"].get(annotation) == node_name
        ]
        assert found, f"no pod for {node_name}: {sorted(self.lookup.live_pods)}"
        return found[0]

    def set_pod(self, node_name: str, phase: str, exit_code: int = 0, outputs: Any = None) -> Plan:
        """Lets the pod of a node reach a phase, with its task result, and decides."""
        name = self.pod_of(node_name)
        pod = self.lookup.live_pods[name]
        node_id = pod["metadata"]["annotations"]["workflows.argoproj.io/node-id"]
        status: dict[str, Any] = {"phase": phase}
        results: dict[str, Any] = {}
        if phase in ("Succeeded", "Failed"):
            ended = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
            reason = "Completed" if exit_code == 0 else "Error"
            state = {"terminated": {"exitCode": exit_code, "reason": reason, "finishedAt": ended}}
            status["containerStatuses"] = [{"name": "main", "state": state}]
            labels = {"workflows.argoproj.io/report-outputs-completed": "true"}
            results[node_id] = {"metadata": {"name": node_id, "labels": labels}, "outputs": outputs or {}}
            self.lookup.results[node_id] = results[node_id]
        self.lookup.live_pods[name] = {**pod, "status": status}
        return self.decide(Changes(pods={name: self.lookup.live_pods[name]}, task_results=results))

    def succeed(self, node_name: str, outputs: Any = None) -> Plan:
        return self.set_pod(node_name, "Succeeded", outputs=outputs)

    def fail(self, node_name: str, exit_code: int = 1) -> Plan:
        return self.set_pod(node_name, "Failed", exit_code)

    def advance(self, seconds: float) -> Plan:
        self.now += timedelta(seconds=seconds)
        return self.decide()

    def nodes(self) -> dict[str, str]:
        """The phases of all nodes by name, as stored."""
        return {n["name"]: n["phase"] for n in self.workflow["status"]["nodes"].values()}

    def running_pods(self) -> list[str]:
        annotation = "workflows.argoproj.io/node-name"
        return sorted(pod["metadata"]["annotations"][annotation] for pod in self.lookup.live_pods.values())

    @property
    def phase(self) -> str:
        return str(self.workflow["status"]["phase"])


def container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "container": {"image": "busybox", "command": ["true"]}, **more}
