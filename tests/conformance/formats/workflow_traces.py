"""Traces of the original's controller: what happened to a workflow, and what it looked like once things were quiet.

The reader plays the cluster. It hands each recorded action to our engine, lets it decide until nothing more follows,
and compares with the recorded state at that point; all consecutive ``operate`` steps at one moment are one comparison.

Left out on purpose:
- how many reconciles it took, and states between them (the README: ours to choose);
- ``unchanged`` and ``note`` steps by themselves (what was signalled is compared);
- the order of a DAG's children, of workflow outputs and of lock holders (normalised in the recording);
- ``TRACEPARENT`` and the random end of token volume names (normalised in the recording);
- resource durations that a metric's message quotes: recorded containers have no start, which made them centuries long;
- the phase of workflows that the throttler postponed, beside its message;
- what deletes artifacts, of workflows that end within the trace: the recording stops there. (The recorded controller
  knew one artifact repository by every name that is asked for, whatever a given status says.)
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.lang.names import node_id as node_id_of
from tiphys.machinery.actions import Create, Delete, Emit, Patch, Plan
from tiphys.machinery.patches import merge
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan import artifact_collection, interventions, rerun
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.plan.leaf import TERMINATE
from tiphys.workflows.plan.locks import LockTable
from tiphys.workflows.plan.pods.artifact_gc import COMPONENT as GC_COMPONENT
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.throttle import Throttler, postpone
from tiphys.workflows.settings import Image, Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
DECISIONS_MAX = 30
NODE_ID, NODE_NAME = "workflows.argoproj.io/node-id", "workflows.argoproj.io/node-name"
COMPLETED = "workflows.argoproj.io/completed"
WORKFLOW = "workflows.argoproj.io/workflow"
COMPONENT = "workflows.argoproj.io/component"
ORDERED = ("Steps", "StepGroup", "Retry", "TaskGroup")
DROPPED = ("startedAt", "finishedAt", "estimatedDuration", "resourcesDuration", "hostNodeName")
COMPARED = (
    "phase",
    "message",
    "conditions",
    "progress",
    "outputs",
    "synchronization",
    "persistentVolumeClaims",
    "taskResultsCompletionStatus",
)


def settings(extra: Mapping[str, Any]) -> Settings:
    """The controller that was recorded."""
    return Settings(
        executor="in-pod",
        executor_log_level="error",
        executor_glog_level="",
        artifact_repository={"s3": {"endpoint": "my-endpoint", "bucket": "my-bucket"}},
        database_locks=False,
        artifact_gc=True,
        workflow_level_plugins=True,
        default_image=Image(("image-entrypoint",), ("image-cmd",)),
        parallelism=int(extra.get("parallelism", 0)),
        namespace_parallelism=int(extra.get("namespaceParallelism", 0)),
        controller_namespace="default",
    )


@dataclass
class World:
    """The objects around the workflows."""

    objects: dict[tuple[str, str], Any] = field(default_factory=dict)
    pods: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    gc_tasks: dict[str, Any] = field(default_factory=dict)


@dataclass
class Lookup:
    """What one workflow's decisions may ask."""

    world: World
    workflow: str
    repository: Mapping[str, Any] = field(default_factory=dict)

    def workflow_template(self, name: str) -> Any:
        return self.world.objects.get(("WorkflowTemplate", name))

    def cluster_workflow_template(self, name: str) -> Any:
        return self.world.objects.get(("ClusterWorkflowTemplate", name))

    def config_map(self, name: str, namespace: str | None = None) -> Any:
        if name == self.repository.get("configMap", "artifact-repositories") and self.repository:
            key = self.repository.get("key") or "default"
            annotation = {"workflows.argoproj.io/default-artifact-repository": key}
            return {
                "metadata": {"annotations": annotation},
                "data": {key: "s3: {endpoint: my-endpoint, bucket: my-bucket}"},
            }
        found = self.world.objects.get(("ConfigMap", name))
        home = (found or {}).get("metadata", {}).get("namespace", "default")
        return found if namespace in (None, home) else None

    def pod(self, name: str) -> Any:
        return self.world.pods.get(name)

    def pods(self) -> Iterable[Any]:
        mine = (p for p in self.world.pods.values() if p["metadata"]["labels"].get(WORKFLOW) == self.workflow)
        return [pod for pod in mine if not _is_hidden(pod)]

    def task_results(self) -> Iterable[Any]:
        return [r for r in self.world.results.values() if r["metadata"]["labels"].get(WORKFLOW) == self.workflow]

    def namespace_labels(self) -> Mapping[str, str]:
        return {}

    def service_account(self, name: str) -> Any:
        return {"metadata": {"name": name}, "secrets": [{"name": f"{name}-token"}]}

    def executor_plugins(self, namespace: str) -> Iterable[Any]:
        return []

    def last_success(self, label: str, value: str) -> str:
        return ""

    def seconds_taken(self, workflow: str, node_id: str = "") -> int:
        return 0


@dataclass
class Actor:
    """One workflow: our run of it, what is stored, and what the recording expects."""

    name: str
    stored: dict[str, Any]
    run: Run
    changes: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    expected_nodes: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    cleanup: list[Patch | Delete] = field(default_factory=list)
    task_set: dict[str, Any] = field(default_factory=dict)
    is_gone: bool = False


class Mismatch(Exception):
    def __init__(self, where: str, expected: Any, got: Any) -> None:
        super().__init__(where)
        self.where, self.expected, self.got = where, expected, got


class Play:
    """Plays one trace. ``built`` keeps every pod as it was created."""

    def __init__(self, trace: Mapping[str, Any], *, reloads: bool = False, everything: bool = False) -> None:
        self.trace = trace
        self.reloads = reloads
        self.world = World()
        self.settings = settings(trace.get("controllerConfig") or {})
        self.locks = LockTable()
        self.now = START
        self.actors: dict[str, Actor] = {}
        self.built: dict[str, Any] = {}
        self.throttler = Throttler(self.settings.parallelism, self.settings.namespace_parallelism)
        for obj in trace["objects"]:
            if obj["kind"] == "Workflow":
                self._add_workflow(copy.deepcopy(obj))
            else:
                self.world.objects[obj["kind"], obj["metadata"]["name"]] = obj
        for actor in self.actors.values():
            self.locks.restore(actor.stored, self._limit)

    def _limit(self, name: Any, kind: str = "") -> int:
        if name.kind == "Mutex":
            return 1
        data = (self.world.objects.get(("ConfigMap", name.resource)) or {}).get("data") or {}
        return int(data.get(name.key, 0))

    def _add_workflow(self, obj: dict[str, Any]) -> None:
        obj["metadata"].setdefault("resourceVersion", "1")
        name = obj["metadata"]["name"]
        self.throttler.add(obj)
        run = Run.load(obj, self.settings, self._lookup(obj), self.locks)
        actor = Actor(name, obj, run)
        status = obj.get("status") or {}
        actor.expected = {key: status[key] for key in COMPARED if key in status}
        actor.expected_nodes = {key: normal_node(node) for key, node in (status.get("nodes") or {}).items()}
        self.actors[name] = actor

    def _lookup(self, obj: Mapping[str, Any]) -> Lookup:
        """The recorded controller knew one artifact repository by every name that is asked for."""
        spec = obj["spec"]
        name = (spec.get("workflowTemplateRef") or {}).get("name")
        for kind in ("WorkflowTemplate", "ClusterWorkflowTemplate"):
            spec = {**((self.world.objects.get((kind, name)) or {}).get("spec") or {}), **spec}
        return Lookup(self.world, obj["metadata"]["name"], spec.get("artifactRepositoryRef") or {})

    def play(self) -> None:
        """Raises `Mismatch` at the first difference."""
        steps = self.trace["steps"]
        at = 0
        while at < len(steps):
            if steps[at]["do"] != "operate":
                self._set_time(steps[at]["t"])
                self._act(steps[at], at)
                at += 1
                continue
            end = at
            while end < len(steps) and steps[end]["do"] in ("operate", "note") and steps[end]["t"] == steps[at]["t"]:
                end += 1
            self._settle(steps[at:end], at)
            at = end
        self._compare_final()

    # -- actions -----------------------------------------------------------------------------------------------------

    def _set_time(self, t: float) -> None:
        now = START + timedelta(seconds=t)
        if now > self.now:
            self._clean_up()
        self.now = now

    def _clean_up(self) -> None:
        """What the clean-up queue does between two rounds."""
        for actor in self.actors.values():
            for action in actor.cleanup:
                name = action.key.name
                if isinstance(action, Delete):
                    if self.world.pods.pop(name, None) is not None:
                        actor.deleted.append(name)
                        self._pod_changed(actor, name, None)
                elif name in self.world.pods:
                    pod = merge.apply(self.world.pods[name], action.patch)
                    self.world.pods[name] = pod
                    if _is_hidden(pod):
                        self._pod_changed(actor, name, pod)
                        if (pod.get("status") or {}).get("phase") != "Running":
                            del self.world.pods[name]
            actor.cleanup = []

    def _act(self, step: Mapping[str, Any], at: int) -> None:
        match step["do"]:
            case "pods":
                for name, change in step["set"].items():
                    self._set_pod(name, change)
            case "agent":
                self._agent(step)
            case "resume":
                self._resume(step, at)
            case "shutdown":
                self._shutdown(step)
            case "retry":
                self._retry(step, at)
            case "configmap":
                known = self.world.objects.get(("ConfigMap", step["name"])) or {"metadata": {"name": step["name"]}}
                self.world.objects["ConfigMap", step["name"]] = {**known, "data": step["data"]}
                for actor in self.actors.values():
                    actor.changes["others"] = True
            case "deleteWorkflow":
                actor = self._actor(step)
                actor.is_gone = True
                self.locks.forget(f"default/{actor.name}")
                self.throttler.remove(f"default/{actor.name}")

    def _actor(self, step: Mapping[str, Any]) -> Actor:
        return self.actors[step["workflow"]] if "workflow" in step else next(iter(self.actors.values()))

    def _actor_of(self, node_id: str) -> Actor:
        found = [a for name, a in self.actors.items() if node_id == name or node_id.startswith(f"{name}-")]
        return max(found, key=lambda actor: len(actor.name)) if found else next(iter(self.actors.values()))

    def _pod_changed(self, actor: Actor, name: str, pod: Any) -> None:
        actor.changes.setdefault("pods", {})[name] = pod

    def _set_pod(self, name: str, change: Mapping[str, Any]) -> None:
        actor = self._actor_of(change.get("nodeID") or name)
        if change.get("created"):
            self.world.pods[name] = given_pod(actor.name, name, change)
        node_id = ((self.world.pods.get(name) or {}).get("metadata") or {}).get("annotations", {}).get(NODE_ID, "")
        if not node_id and "node" in change:
            node_id = node_id_of(actor.name, change["node"])
        if change.get("taskResult"):
            self._set_result(actor, node_id, change["taskResult"])
        if change.get("deleted"):
            self.world.pods.pop(name, None)
            self._pod_changed(actor, name, None)
            return
        pod = self.world.pods.get(name)
        if pod is None:
            raise Mismatch(f"pod {name}", "exists", "does not")
        self.world.pods[name] = {**pod, "status": self._pod_status(pod, change)}
        if not _is_hidden(pod):
            self._pod_changed(actor, name, self.world.pods[name])

    def _pod_status(self, pod: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
        status: dict[str, Any] = {key: change[key] for key in ("phase", "reason", "message", "podIP") if key in change}
        given = change.get("containers")
        order = {container["name"]: index for index, container in enumerate(pod["spec"]["containers"])}
        if isinstance(given, dict):
            status["containerStatuses"] = [
                {"name": name, "state": {"terminated": {**ended, "finishedAt": self._stamp()}}}
                for name, ended in sorted(given.items(), key=lambda item: order.get(item[0], 99))
            ]
        elif change.get("phase") == "Running":
            names = given or [c["name"] for c in pod["spec"]["containers"]]
            running = {"running": {"startedAt": self._stamp()}}
            status["containerStatuses"] = [{"name": name, "ready": True, "state": running} for name in names]
        return status

    def _stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _set_result(self, actor: Actor, node_id: str, given: Mapping[str, Any]) -> None:
        known = self.world.results.get(node_id) or {}
        labels = {WORKFLOW: actor.name, "workflows.argoproj.io/report-outputs-completed": given["completed"]}
        made = {"metadata": {"name": node_id, "labels": labels}}
        outputs = given.get("outputs") or known.get("outputs")
        if outputs:
            made["outputs"] = outputs
        self.world.results[node_id] = made
        actor.changes.setdefault("task_results", {})[node_id] = made

    def _agent(self, step: Mapping[str, Any]) -> None:
        for node_id, result in step["set"].items():
            actor = self._actor_of(node_id)
            actor.task_set = merge.apply(actor.task_set, {"status": {"nodes": {node_id: result}}})
            actor.changes["task_set"] = actor.task_set

    def _resume(self, step: Mapping[str, Any], at: int) -> None:
        actor = self._actor(step)
        stored = actor.stored
        for node_id, values in (step.get("setOutputs") or {}).items():
            node = stored["status"]["nodes"][node_id]
            chosen = {"outputParameters": values}
            stored = interventions.set_nodes(stored, f"displayName={node['displayName']}", chosen, self.now)
        self._replace(actor, interventions.resume(stored, self.now))
        self._expect(actor, step.get("after") or {})
        self._compare_actor(actor, f"steps[{at}] resume")

    def _shutdown(self, step: Mapping[str, Any]) -> None:
        for actor in [self._actor(step)] if "workflow" in step else list(self.actors.values()):
            self._replace(actor, {**actor.stored, "spec": {**actor.stored["spec"], "shutdown": step["with"]}})

    def _retry(self, step: Mapping[str, Any], at: int) -> None:
        actor = self._actor(step)
        made, deleted = rerun.retry(actor.stored, self.now, restart_successful=step["restartSuccessful"])
        for name in deleted:
            self.world.pods.pop(name, None)
            self._pod_changed(actor, name, None)
        if sorted(deleted) != sorted(step["podsDeleted"]):
            raise Mismatch(f"steps[{at}] retry podsDeleted", sorted(step["podsDeleted"]), sorted(deleted))
        self.throttler.add(made)
        self._replace(actor, made)
        self._expect(actor, step["after"])
        self._compare_actor(actor, f"steps[{at}] retry")

    def _replace(self, actor: Actor, workflow: Mapping[str, Any]) -> None:
        actor.stored = dict(workflow)
        actor.changes["workflow"] = actor.stored

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _settle(self, steps: list[Mapping[str, Any]], at: int) -> None:
        self._set_time(steps[0]["t"])
        order = list(dict.fromkeys(self._actor(step).name for step in steps if step["do"] == "operate"))
        for actor in self.actors.values():
            actor.events, actor.created = [], []
        ended = [name for name in order if _is_completed(self.actors[name].stored)]
        for _ in range(DECISIONS_MAX):
            happened = [self._decide(self.actors[name]) for name in order]
            happened += [self._collect_artifacts(self.actors[name]) for name in ended]
            if not any(happened):
                break
        wanted: dict[str, dict[str, Any]] = {name: {"events": [], "created": [], "deleted": []} for name in order}
        live: dict[str, list[str]] = {}
        for step in steps:
            if step["do"] != "operate":
                continue
            actor, after = self._actor(step), step.get("after") or {}
            self._expect(actor, after)
            wanted[actor.name]["events"] += step.get("events") or []
            wanted[actor.name]["created"] += after.get("podsCreated") or []
            wanted[actor.name]["deleted"] += after.get("podsDeleted") or []
            if "pods" in after:
                live[actor.name] = after["pods"]
        for name in order:
            where = f"steps[{at}..] t={steps[0]['t']} {name if len(self.actors) > 1 else ''}".strip()
            self._compare_actor(self.actors[name], where)
            self._compare_effects(self.actors[name], wanted[name], live.get(name), where)

    def _decide(self, actor: Actor) -> bool:
        """One decision; whether anything came of it."""
        if actor.is_gone:
            return False
        is_done = actor.run.phase in ("Succeeded", "Failed", "Error")
        if not is_done and not self.throttler.lets_run(actor.stored):
            return self._postpone(actor)
        if self.reloads:
            actor.run = Run.load(actor.stored, self.settings, self._lookup(actor.stored), self.locks)
        changes, actor.changes = Changes(**actor.changes), {}
        plan = actor.run.decide(changes, self.now)
        self._carry_out(actor, plan)
        for key in sorted(self.locks.woken):
            woken = self.actors.get(key.partition("/")[2])
            if woken is not None:
                woken.changes["others"] = True
        self.locks.woken.clear()
        if actor.run.phase in ("Succeeded", "Failed", "Error"):
            self.throttler.remove(f"default/{actor.name}")
        return bool(plan.actions) or any(other.changes for other in self.actors.values())

    def _collect_artifacts(self, actor: Actor) -> bool:
        """What follows from ``artifactGC``, for a workflow that ended before; whether anything did."""
        pods = [pod for pod in self.world.pods.values() if pod["metadata"]["labels"].get(WORKFLOW) == actor.name]
        pods = [pod for pod in pods if pod["metadata"]["labels"].get(COMPONENT) == GC_COMPONENT]
        status = {**actor.stored["status"], "artifactRepositoryRef": {"default": True}}
        seen = artifact_collection.Observed({**actor.stored, "status": status}, pods, self.world.gc_tasks)
        plan = artifact_collection.plan(seen, self.settings, self._lookup(actor.stored), self.now)
        self._carry_out(actor, plan)
        return bool(plan.actions)

    def _postpone(self, actor: Actor) -> bool:
        patch = postpone(actor.stored)
        if patch is None:
            return False
        actor.stored = merge.apply(actor.stored, patch)
        actor.changes["workflow"] = actor.stored
        return True

    def _carry_out(self, actor: Actor, plan: Plan) -> None:
        for action in plan.actions:
            if isinstance(action, Emit):
                actor.events.append(f"{action.type} {action.reason} {action.message}".rstrip())
            elif isinstance(action, Create):
                self._create(actor, action)
            elif isinstance(action, Patch) and action.resource.plural == "workflows":
                actor.stored = merge.apply(actor.stored, action.patch)
            elif isinstance(action, Patch) and action.resource.plural == "configmaps":
                known = self.world.objects["ConfigMap", action.key.name]
                self.world.objects["ConfigMap", action.key.name] = merge.apply(known, action.patch)
            elif isinstance(action, Patch) and action.resource.plural == "workflowtasksets":
                actor.changes["task_set"] = actor.task_set = merge.apply(actor.task_set, action.patch)
            elif action.resource.plural == "pods" and TERMINATE not in str(getattr(action, "patch", "")):
                actor.cleanup.append(action)

    def _create(self, actor: Actor, action: Create) -> None:
        name = action.obj["metadata"]["name"]
        if action.resource.plural == "pods":
            actor.created.append(name)
            self.built.setdefault(name, action.obj)
            self.world.pods[name] = {**action.obj, "status": {"phase": "Pending"}}
            self._pod_changed(actor, name, self.world.pods[name])
        elif action.resource.plural == "configmaps":
            self.world.objects["ConfigMap", name] = dict(action.obj)
        elif action.resource.plural == "workflowartifactgctasks":
            self.world.gc_tasks[name] = dict(action.obj)
        elif action.resource.plural == "workflowtasksets":
            actor.task_set = dict(action.obj)

    # -- comparing ---------------------------------------------------------------------------------------------------

    def _expect(self, actor: Actor, after: Mapping[str, Any]) -> None:
        for key in COMPARED:
            if key in after:
                actor.expected[key] = after[key]
        actor.expected_nodes.update(after.get("nodesChanged") or {})
        for node_id in after.get("nodesRemoved") or ():
            actor.expected_nodes.pop(node_id, None)

    def _compare_actor(self, actor: Actor, where: str) -> None:
        status = actor.stored.get("status") or {}
        got_nodes = {node_id: normal_node(node) for node_id, node in (status.get("nodes") or {}).items()}
        compare_nodes(actor.expected_nodes, got_nodes, where)
        for key in COMPARED:
            expected, got = normal(key, actor.expected.get(key)), normal(key, status.get(key))
            if expected != got:
                raise Mismatch(f"{where} {key}", expected, got)

    def _compare_effects(self, actor: Actor, wanted: Mapping[str, Any], live: list[str] | None, where: str) -> None:
        if sorted(wanted["created"]) != sorted(actor.created):
            raise Mismatch(f"{where} podsCreated", sorted(wanted["created"]), sorted(actor.created))
        wanted["events"][:] = [text.rstrip() for text in wanted["events"]]
        if Counter(wanted["events"]) != Counter(actor.events):
            missing = Counter(wanted["events"]) - Counter(actor.events)
            extra = Counter(actor.events) - Counter(wanted["events"])
            raise Mismatch(f"{where} events", sorted(missing.elements()), sorted(extra.elements()))
        if live is not None:
            got = [name for name, pod in self.world.pods.items() if _is_live(pod) and self._actor_of_pod(pod) is actor]
            if sorted(live) != sorted(got):
                raise Mismatch(f"{where} pods", sorted(live), sorted(got))

    def _actor_of_pod(self, pod: Mapping[str, Any]) -> Actor | None:
        return self.actors.get(pod["metadata"]["labels"].get(WORKFLOW, ""))

    def _compare_final(self) -> None:
        finals = self.trace.get("final") or {}
        if "workflows" not in finals:
            finals = {"workflows": {next(iter(self.actors)): finals}}
        for name, final in finals["workflows"].items():
            actor = self.actors[name]
            meta, status = actor.stored["metadata"], actor.stored.get("status") or {}
            got = {
                "phase": status.get("phase", ""),
                "message": status.get("message", ""),
                "labels": meta.get("labels") or {},
                "annotations": meta.get("annotations") or {},
                "finalizers": meta.get("finalizers") or [],
                "storedTemplates": status.get("storedTemplates") or {},
                "storedWorkflowTemplateSpec": status.get("storedWorkflowTemplateSpec"),
                "nodes": len(status.get("nodes") or {}),
            }
            for key, value in got.items():
                expected = final.get(key, type(value)() if value is not None else None)
                if (expected or None) != (value or None):
                    raise Mismatch(f"final {name} {key}", expected, value)
        for name, pod in (self.trace.get("pods") or {}).items():
            compare_pod(name, pod, self.built.get(name))


def _is_live(pod: Mapping[str, Any]) -> bool:
    return ((pod.get("status") or {}).get("phase") or "Pending") in ("Pending", "Running")


def _is_hidden(pod: Mapping[str, Any]) -> bool:
    """Whether the controller sees a pod no more; a daemon's may be running still."""
    return bool(pod["metadata"]["labels"].get(COMPLETED) == "true")


def _is_completed(workflow: Mapping[str, Any]) -> bool:
    return bool((workflow["metadata"].get("labels") or {}).get(COMPLETED) == "true")


def given_pod(workflow: str, name: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """A pod that exists although we never made it: the trace starts from a status."""
    annotations = {NODE_ID: change["nodeID"], NODE_NAME: change["node"]}
    meta = {"name": name, "namespace": "default", "annotations": annotations}
    meta["labels"] = {WORKFLOW: workflow, COMPLETED: "false"}
    containers = [{"name": container} for container in change.get("containers") or ("main", "wait")]
    return {"metadata": meta, "spec": {"containers": containers}, "status": {"phase": change.get("phase") or "Pending"}}


def normal_node(node: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in node.items() if key not in DROPPED}
    if node.get("type") not in ORDERED and "children" in made:
        made["children"] = sorted(made["children"])
    if node.get("type") not in ORDERED and "outboundNodes" in made:
        made["outboundNodes"] = sorted(made["outboundNodes"])
    return made


def compare_nodes(expected: Mapping[str, Any], got: Mapping[str, Any], where: str) -> None:
    names = {node_id: node.get("name") for node_id, node in [*got.items(), *expected.items()]}
    for node_id in sorted(names, key=lambda n: str(names[n])):
        one, other = expected.get(node_id), got.get(node_id)
        one = normal_node(one) if one is not None else None
        if one != other:
            raise Mismatch(f"{where} node {names[node_id]}", *_differing(one, other))


def _differing(one: Any, other: Any) -> tuple[Any, Any]:
    if one is None or other is None:
        return one, other
    keys = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    return {key: one.get(key) for key in keys}, {key: other.get(key) for key in keys}


_ENORMOUS = re.compile(r"\d\.\d+e\+\d\d")


def normal(key: str, value: Any) -> Any:
    """Values as the recording normalised them; None for empty."""
    if not value:
        return None
    if key == "conditions":
        value = [{k: _ENORMOUS.sub("0", v) if k == "message" else v for k, v in c.items()} for c in value]
        return sorted(value, key=lambda condition: str(condition["type"]))
    if key == "outputs":
        return {kind: sorted(items, key=lambda item: str(item["name"])) for kind, items in value.items() if items}
    if key == "synchronization":
        return _normal_locks(value)
    return value


def _normal_locks(value: Mapping[str, Any]) -> Any:
    made: dict[str, Any] = {}
    for kind, parts in value.items():
        made[kind] = {}
        for part, entries in parts.items():
            sorted_entries = [
                {k: sorted(v) if k == "holders" else v for k, v in entry.items() if v not in ([], "")}
                for entry in entries
            ]
            made[kind][part] = sorted(sorted_entries, key=lambda entry: json.dumps(entry, sort_keys=True))
    return made


def compare_pod(name: str, expected: Mapping[str, Any], got: Mapping[str, Any] | None) -> None:
    if got is None:
        raise Mismatch(f"pod {name}", "created", "not created")
    for path, one, other in differences(normal_pod(expected), normal_pod(got)):
        raise Mismatch(f"pod {name} {path}", one, other)


def normal_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(dict(pod))
    made.pop("status", None)
    spec = made["spec"]
    text = re.sub(r"kube-api-access-\w+", "kube-api-access-RAND", json.dumps(spec))
    made["spec"] = spec = json.loads(text)
    spec["volumes"] = sorted(spec.get("volumes") or [], key=lambda volume: str(volume["name"]))
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        mounts = container.get("volumeMounts") or []
        container["volumeMounts"] = sorted(mounts, key=lambda mount: (mount["name"], mount["mountPath"]))
    return made


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two documents differ, innermost places first found."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}, key=str):
            if (one.get(key) or None) != (other.get(key) or None) or one.get(key) != other.get(key):
                yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                yield from differences(left, right, f"{path}[{index}]")
    else:
        yield path, one, other


def recognises(sample: Sample) -> bool:
    head = sample.head
    return isinstance(head.get("steps"), list) and isinstance(head.get("objects"), list) and "variant" in head


def judge(sample: Sample) -> Iterator[Row]:
    trace = sample.head
    name = f"{trace['case']}.{trace['variant']}"
    try:
        Play(trace).play()
    except Mismatch as found:
        yield Row(f"{name}", False, found.expected, f"{found.where}: {found.got}")
    else:
        yield Row(name, True)


def recognises_formulated(sample: Sample) -> bool:
    head = sample.head
    return isinstance(head.get("results"), list) and isinstance(head.get("before"), dict) and "variant" in head


def judge_formulated(sample: Sample) -> Iterator[Row]:
    document = sample.head
    name = f"{document['case']}.{document['variant']}"
    for index, result in enumerate(document["results"]):
        is_retry = "restartSuccessful" in result
        judged = _judge_retry if is_retry else _judge_resubmit
        expected, got = judged(_finished(document["before"]), result)
        yield Row(f"{name}#{index}", expected == got, expected, got)


def _finished(before: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow with the moments that are left out of the recording."""
    nodes = (before["status"].get("nodes") or {}).items()
    stamped = {
        key: node if node.get("phase") == "Running" else {**node, "finishedAt": "2026-01-01T00:00:00Z"}
        for key, node in nodes
    }
    return {**before, "status": {**before["status"], "nodes": stamped}}


def _judge_retry(before: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[Any, Any]:
    try:
        made, pods = rerun.retry(
            before,
            START,
            restart_successful=result["restartSuccessful"],
            node_field_selector=result.get("nodeFieldSelector", ""),
            parameters=_parameters(result),
        )
    except Problem as err:
        return result.get("error"), str(err)
    if "error" in result:
        return result["error"], None
    nodes = {key: normal_node(node) for key, node in (before["status"].get("nodes") or {}).items()}
    expected = {"nodes": {**nodes, **(result["after"].get("nodesChanged") or {})}, "pods": result["podsToDelete"]}
    for node_id in result["after"].get("nodesRemoved") or ():
        expected["nodes"].pop(node_id, None)
    expected["nodes"] = {key: normal_node(node) for key, node in expected["nodes"].items()}
    got_nodes = made["status"]["nodes"]
    got: dict[str, Any] = {"nodes": {key: normal_node(node) for key, node in got_nodes.items()}, "pods": sorted(pods)}
    for key in COMPARED:
        kept = result["after"][key] if key in result["after"] else before["status"].get(key)
        expected[key], got[key] = normal(key, kept), normal(key, made["status"].get(key))
    expected["labels"], got["labels"] = result["labels"], made["metadata"]["labels"]
    expected["unfinished"] = sorted(result.get("nodesWithoutFinishedAt") or ())
    got["unfinished"] = sorted(key for key, node in got_nodes.items() if not node.get("finishedAt"))
    return _only_differences(expected, got)


def _only_differences(expected: dict[str, Any], got: dict[str, Any]) -> tuple[Any, Any]:
    places = list(differences(expected, got))
    return [f"{path}: {one}" for path, one, _ in places], [f"{path}: {other}" for path, _, other in places]


def _parameters(result: Mapping[str, Any]) -> dict[str, str] | None:
    given = result.get("parameters")
    return dict(text.split("=", 1) for text in given) if given else None


def _judge_resubmit(before: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[Any, Any]:
    try:
        made = rerun.resubmit(before, START, memoized=result["memoized"], suffix="abcde")
    except Problem as err:
        return result.get("error"), str(err)
    if "error" in result:
        return result["error"], None
    wanted = result["workflow"]
    meta = {key: made["metadata"].get(key) for key in wanted["metadata"]}
    status = made.get("status") or {}
    got = {"metadata": meta, "status": {key: status.get(key) for key in wanted["status"]}}
    expected = {"metadata": wanted["metadata"], "status": dict(wanted["status"])}
    for document in (expected, got):
        nodes = document["status"].get("nodes") or {}
        document["status"]["nodes"] = {key: normal_node(node) for key, node in nodes.items()}
    got["metadata"]["name"] = got["metadata"].get("name") or ""
    return _only_differences(expected, got)


FORMATS = [
    Format("workflow traces", recognises, judge),
    Format("retried and resubmitted workflows", recognises_formulated, judge_formulated),
]
