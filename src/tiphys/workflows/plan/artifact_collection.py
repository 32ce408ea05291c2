"""Deleting the artifacts of a workflow that has ended: when, by which pods, and what became of it (``artifactGC``).

    ended ───► OnWorkflowCompletion ─┐
    deleted ─► OnWorkflowDeletion ───┴─► task ─► pod that deletes ─► its results ─► all gone: the finalizer goes

Decided from the stored object, not by the workflow's run, which is over. Artifacts that ask for the same service
account and pod metadata are deleted by one pod, which finds its list in a WorkflowArtifactGCTask.

Where the original gives up we go on: a pod that vanished is made again, and ``forceFinalizerRemoval`` lets the
workflow go when everything was tried, not when the first pod is back. Source: workflow/controller/artifact_gc.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tiphys.lang import names
from tiphys.machinery.actions import Action, Create, Delete, Emit, Patch, Plan
from tiphys.machinery.resources import PODS, WORKFLOW_ARTIFACT_GC_TASKS, WORKFLOWS, ObjectKey, key_of
from tiphys.workflows.observe import Lookup, Object
from tiphys.workflows.plan import repositories
from tiphys.workflows.plan import spec as specs
from tiphys.workflows.plan.artifact_gc import FINALIZER, NEVER, strategy
from tiphys.workflows.plan.artifacts import has_location, location_of
from tiphys.workflows.plan.engine import state_of
from tiphys.workflows.plan.leaf import member_name
from tiphys.workflows.plan.locks import LockTable
from tiphys.workflows.plan.nodes import COMPLETED
from tiphys.workflows.plan.pods import artifact_gc as pods
from tiphys.workflows.plan.pods.metadata import owner
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.state import State
from tiphys.workflows.settings import Settings

COMPLETION, DELETION = "OnWorkflowCompletion", "OnWorkflowDeletion"
POD_HASH = "workflows.argoproj.io/artifact-gc-pod"
CONDITION = "ArtifactGCError"


@dataclass(frozen=True)
class Observed:
    """A workflow with its pods that delete artifacts, and their tasks by name."""

    workflow: Object
    pods: Sequence[Object] = ()
    tasks: Mapping[str, Object] = field(default_factory=dict)


@dataclass
class _Group:
    """What one pod deletes: (node id, artifact) by the name of its template; "" for what needs none."""

    strategy: str
    access: pods.Access
    artifacts: list[tuple[Object, Object]] = field(default_factory=list)


def is_concerned(workflow: Object) -> bool:
    """Whether there may be something to do now."""
    meta, status = workflow["metadata"], workflow.get("status") or {}
    return FINALIZER in (meta.get("finalizers") or ()) and status.get("phase") in COMPLETED


def plan(seen: Observed, settings: Settings, lookup: Lookup, now: datetime) -> Plan:
    """The next step: what may be created, then the patch that says what is known, then what that makes superfluous."""
    if not is_concerned(seen.workflow):
        return Plan()
    try:
        state = _without_nodes(seen.workflow, settings, lookup)
    except Problem as err:
        return Plan(waits={str(seen.workflow["metadata"]["name"]): f"its artifacts to be deleted: {err}"})
    return _Collection(seen, state, now).plan()


def _without_nodes(workflow: Object, settings: Settings, lookup: Lookup) -> State:
    """The workflow with its spec as executed. Raises `Problem`."""
    status = {key: value for key, value in (workflow.get("status") or {}).items() if key != "nodes"}
    state = state_of({**workflow, "status": status}, settings, lookup, LockTable())
    specs.prepare(state)
    repositories.resolve(state)
    return state


class _Collection:
    """One decision. Every method looks at what was observed and notes what follows."""

    def __init__(self, seen: Observed, state: State, now: datetime) -> None:
        self.seen, self.state, self.now = seen, state, now
        self.pods = {pod["metadata"]["name"]: pod for pod in seen.pods}
        self.gc_status: dict[str, Any] = dict((seen.workflow.get("status") or {}).get("artifactGCStatus") or {})
        self.conditions = list((seen.workflow.get("status") or {}).get("conditions") or ())
        self.outputs: dict[str, dict[str, Any]] = {}
        self.creates: list[Action] = []
        self.after: list[Action] = []
        self.waits: dict[str, str] = {}

    def plan(self) -> Plan:
        for pod in self.pods.values():
            if _is_finished(pod) and not self._is_recouped(pod["metadata"]["name"]):
                self._recoup(pod)
        for when in self._ready():
            self._start(when)
        patch = self._patch(done=self._is_done())
        stages: list[list[Action]] = [self.creates, [patch] if patch is not None else [], self.after]
        return Plan(tuple(tuple(stage) for stage in stages if stage), waits=self.waits)

    # What to delete

    def _ready(self) -> list[str]:
        """The strategies whose time has come."""
        is_deleted = bool(self.seen.workflow["metadata"].get("deletionTimestamp"))
        return [COMPLETION, DELETION] if is_deleted else [COMPLETION]

    def _left(self) -> Iterator[tuple[Object, Object]]:
        """(node, artifact) of all that is not deleted and is meant to be, sooner or later."""
        for node_id, node in ((self.seen.workflow.get("status") or {}).get("nodes") or {}).items():
            if node.get("type") != "Pod":
                continue
            outputs = self.outputs.get(node_id) or node.get("outputs") or {}
            for artifact in outputs.get("artifacts") or ():
                if not artifact.get("deleted") and strategy(self.state.spec, artifact) not in NEVER:
                    yield node, artifact

    def _groups(self, when: str) -> dict[str, _Group]:
        """By the name of the pod."""
        found: dict[str, _Group] = {}
        for node, artifact in self._left():
            if strategy(self.state.spec, artifact) != when:
                continue
            access = pods.Access.of(self.state.spec, artifact)
            name = names.artifact_gc_pod_name(
                self.state.name, when, access.service_account, access.labels, access.annotations
            )
            found.setdefault(name, _Group(when, access)).artifacts.append((node, artifact))
        return found

    def _start(self, when: str) -> None:
        """Makes the tasks and pods of a strategy; a pod is owned by its task and so comes after it."""
        is_started = True
        for name, group in self._groups(when).items():
            if self._is_recouped(name):
                continue
            self.waits[self.state.name] = f"pod {name} to delete artifacts"
            if name in self.pods:
                continue
            try:
                is_started = self._start_pod(name, group) and is_started
            except Problem as err:
                self._tell(str(err))
                self._say(f"Artifact Garbage Collection failed for strategy {when}, err:{err}")
                self._note("podsRecouped", name)
        if is_started:
            self._note("strategiesProcessed", when)

    def _start_pod(self, name: str, group: _Group) -> bool:
        """Whether the pod is made: else its task is, for now. Raises `Problem`."""
        task = self.seen.tasks.get(f"{name}-0")
        if task is None:
            self.creates.append(
                Create(WORKFLOW_ARTIFACT_GC_TASKS, self._task(name, group), why=f"artifactGC {group.strategy}")
            )
            return False
        places = [place for node, artifact in group.artifacts for place in (self._location(node), artifact)]
        pod = pods.build(self.state, name, group.strategy, group.access, task, places, self.now)
        self.creates.append(Create(PODS, pod, why=f"artifactGC {group.strategy}"))
        return True

    def _task(self, pod: str, group: _Group) -> dict[str, Any]:
        meta = {
            "name": f"{pod}-0",
            "namespace": self.state.namespace,
            "labels": {POD_HASH: names.artifact_gc_pod_label(pod)},
            "ownerReferences": [owner(self.state)],
        }
        kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowArtifactGCTask"}
        return {**kind, "metadata": meta, "spec": {"artifactsByNode": self._by_node(group)}}

    def _by_node(self, group: _Group) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {}
        for node, artifact in group.artifacts:
            known = found.setdefault(node["id"], {"artifacts": {}})
            location = self._location(node)
            if location:
                known["archiveLocation"] = location
            known["artifacts"][artifact["name"]] = artifact
        return found

    def _location(self, node: Object) -> Mapping[str, Any]:
        """Where a node's artifacts lie that say only a key. Raises `Problem`."""
        own = self._template(node).get("archiveLocation") or {}
        if has_location(own):
            return dict(own)
        return location_of(self.state.artifact_repository) or {}

    def _template(self, node: Object) -> Mapping[str, Any]:
        """The template of a node, an inline one too. Raises `Problem` where it is nowhere."""
        reference = node.get("templateRef") or {}
        name = str(reference.get("template") or node.get("templateName") or "")
        if name:
            found = next((t for t in self._templates() if t.get("name") == name), None)
            if found is None:
                raise Problem(f"template name {name!r} belonging to node {node.get('name')} not found")
            return found
        nodes = (self.seen.workflow.get("status") or {}).get("nodes") or {}
        boundary = nodes.get(node.get("boundaryID")) or {}
        caller = self._template(boundary) if boundary else {}
        groups = [*(caller.get("steps") or ()), (caller.get("dag") or {}).get("tasks") or ()]
        wanted = member_name(str(node.get("name")))
        inline = (m["inline"] for group in groups for m in group if m.get("name") == wanted and m.get("inline"))
        return next(inline, {})

    def _templates(self) -> Iterator[Mapping[str, Any]]:
        status = self.seen.workflow.get("status") or {}
        yield from (self.seen.workflow.get("spec") or {}).get("templates") or ()
        yield from (status.get("storedWorkflowTemplateSpec") or {}).get("templates") or ()
        yield from (status.get("storedTemplates") or {}).values()

    # What became of it

    def _is_recouped(self, pod: str) -> bool:
        return bool((self.gc_status.get("podsRecouped") or {}).get(pod))

    def _recoup(self, pod: Object) -> None:
        """Takes over the results of a finished pod."""
        name = pod["metadata"]["name"]
        when = (pod["metadata"].get("annotations") or {}).get(pods.STRATEGY, "")
        failed = (pod.get("status") or {}).get("phase") == "Failed"
        if failed:
            text = (
                f"Artifact Garbage Collection failed for strategy {when}, pod {name} exited with non-zero exit code: "
                "check pod logs for more information"
            )
            self._tell(text)
            self._say(text)
        label = names.artifact_gc_pod_label(name)
        for task in self.seen.tasks.values():
            if (task["metadata"].get("labels") or {}).get(POD_HASH) != label:
                continue
            if self._take_results(task, when) and not failed:
                self.after.append(
                    Delete(WORKFLOW_ARTIFACT_GC_TASKS, key_of(task), task["metadata"].get("uid"), why="it is done")
                )
        self._note("podsRecouped", name)

    def _take_results(self, task: Object, when: str) -> bool:
        """Notes what was deleted; whether all of it was. One event a task says what went wrong first."""
        nodes = (self.seen.workflow.get("status") or {}).get("nodes") or {}
        errors: list[str] = []
        for node_id, result in sorted(((task.get("status") or {}).get("artifactResultsByNode") or {}).items()):
            outputs = self.outputs.get(node_id) or (nodes.get(node_id) or {}).get("outputs")
            if outputs is None:
                errors.append(f"node {node_id!r} has no outputs in the workflow's status")
                continue
            found = (result or {}).get("artifactResults") or {}
            artifacts = [_with_result(artifact, found.get(artifact["name"])) for artifact in outputs["artifacts"]]
            self.outputs[node_id] = {**outputs, "artifacts": artifacts}
            errors += [str(r["error"]) for _, r in sorted(found.items()) if r.get("error")]
        for error in errors:
            self._tell(f"{error} (artifactGCTask: {task['metadata']['name']})")
        if errors:
            self._say(f"Artifact Garbage Collection failed for strategy {when}, err:{errors[0]}")
        return not errors

    def _is_done(self) -> bool:
        """Whether the workflow may go: all is deleted or, where it insists, all was tried."""
        left = sum(1 for _ in self._left())
        if not left:
            return True
        groups = [item for when in self._ready() for item in self._groups(when).items()]
        if not all(self._is_recouped(name) for name, _ in groups):
            return False
        if sum(len(group.artifacts) for _, group in groups) < left:
            self.waits[self.state.name] = "its deletion, to delete artifacts then"
            return False
        self.waits[self.state.name] = "somebody to look at the artifacts that could not be deleted"
        return bool((self.state.spec.get("artifactGC") or {}).get("forceFinalizerRemoval"))

    # Saying it

    def _note(self, where: str, what: str) -> None:
        """Sets a flag in ``status.artifactGCStatus``."""
        self.gc_status[where] = {**(self.gc_status.get(where) or {}), what: True}

    def _tell(self, message: str) -> None:
        made = {"type": CONDITION, "status": "True", "message": message}
        self.conditions = [*(c for c in self.conditions if c.get("type") != CONDITION), made]

    def _say(self, message: str) -> None:
        about = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "name": self.state.name,
            "namespace": self.state.namespace,
            "uid": self.state.uid,
        }
        self.after.append(Emit(about, "Warning", "ArtifactGCFailed", message))

    def _patch(self, *, done: bool) -> Patch | None:
        workflow = self.seen.workflow
        known, meta = workflow.get("status") or {}, workflow["metadata"]
        status: dict[str, Any] = {}
        if self.gc_status != (known.get("artifactGCStatus") or {}):
            status["artifactGCStatus"] = self.gc_status
        if self.conditions != list(known.get("conditions") or ()):
            status["conditions"] = self.conditions
        if self.outputs:
            changed = self.outputs.items()
            status["nodes"] = {key: {"outputs": {"artifacts": made["artifacts"]}} for key, made in changed}
        metadata: dict[str, Any] = {}
        if done:
            metadata["finalizers"] = [f for f in meta.get("finalizers") or () if f != FINALIZER] or None
        if not status and not metadata:
            return None
        if meta.get("resourceVersion"):
            metadata["resourceVersion"] = meta["resourceVersion"]
        body = {"metadata": metadata, **({"status": status} if status else {})}
        return Patch(WORKFLOWS, ObjectKey(self.state.namespace, self.state.name), body, why="artifactGC")


def _is_finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _with_result(artifact: Mapping[str, Any], result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if result is None:  # another task's
        return artifact
    made = {key: value for key, value in artifact.items() if key != "deleted"}
    return {**made, "deleted": True} if result.get("success") else made
