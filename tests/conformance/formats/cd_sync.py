"""The sync engine: the tasks of a sync in order (``out.tasks``), and whole syncs pass by pass (``out.steps``).

Each pass is given the recorded live state of before it, and the fake cluster here answers what it asks. Left out: the
order of operations that run at the same time, and of results; both are sorted on both sides, as the recording did.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.conformance.formats._calls import Answer as Given
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format, Row, Sample
from tiphys.cd.plan.health import Health, HealthError, resource_health
from tiphys.cd.plan.objects import Gvk, Object, ResourceKey, finalizers_of, gvk_of, key_of, metadata_of, name_of
from tiphys.cd.plan.pairing import paired
from tiphys.cd.plan.sync.migration import migration_patch
from tiphys.cd.plan.sync.namespaces import namespace_change
from tiphys.cd.plan.sync.operations import (
    Answer,
    Answers,
    ApiResource,
    Apply,
    Create,
    Get,
    MigrateFields,
    Operation,
    Remove,
    Replace,
    SetFinalizers,
    Stage,
    UnknownKind,
    Update,
)
from tiphys.cd.plan.sync.run import Options, Preview, Seen, State, preview, sync, terminate
from tiphys.cd.plan.sync.tasks import ResourceResult, Task
from tiphys.machinery import errors

NAMESPACE = "app-ns"
REVISION = "0123456789abcdef0123456789abcdef01234567"
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)

# What the recordings' fake discovery always serves.
_KINDS = {
    "v1": "Pod Service ConfigMap Secret -Namespace -Node -PersistentVolume PersistentVolumeClaim Event ServiceAccount",
    "apps/v1": "Deployment StatefulSet DaemonSet ReplicaSet Scale",
    "batch/v1": "Job CronJob",
    "rbac.authorization.k8s.io/v1": "Role RoleBinding -ClusterRole -ClusterRoleBinding",
    "networking.k8s.io/v1": "Ingress NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "apiextensions.k8s.io/v1": "-CustomResourceDefinition",
}


@dataclass
class FakeKinds:
    served: dict[Gvk, bool]

    @classmethod
    def of(cls, extra: Iterable[Mapping[str, Any]]) -> FakeKinds:
        served = {}
        for version, kinds in _KINDS.items():
            for kind in kinds.split():
                served[gvk_of({"apiVersion": version, "kind": kind.lstrip("-")})] = not kind.startswith("-")
        for each in extra:
            served[Gvk(each["group"], each["version"], each["kind"])] = each["namespaced"]
        return cls(served)

    def find(self, gvk: Gvk) -> ApiResource:
        if gvk in self.served:
            return ApiResource(gvk.kind.lower() + "s", self.served[gvk])
        if any(each.api_version == gvk.api_version for each in self.served):
            raise UnknownKind(f'{gvk.kind}.{gvk.group} "" not found' if gvk.group else f'{gvk.kind} "" not found')
        raise UnknownKind(
            f"failed to discover server resources for group version {gvk.api_version}: "
            f'the server could not find the requested resource, GroupVersion "{gvk.api_version}" not found'
        )

    def is_namespaced(self, group: str, kind: str) -> bool | None:
        return next((yes for gvk, yes in self.served.items() if (gvk.group, gvk.kind) == (group, kind)), None)


@dataclass
class World:
    """The recorded options, and the cluster as it is before a pass."""

    options: dict[str, Any]
    target: list[Object]
    live: list[Object] = field(default_factory=list)
    elsewhere: list[Object] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    stages: list[list[dict[str, Any]]] = field(default_factory=list)
    made: list[Object] = field(default_factory=list)

    @property
    def kinds(self) -> FakeKinds:
        return FakeKinds.of(self.options.get("extraResources") or ())

    def seen(self) -> Seen:
        kinds = self.kinds
        pairing = paired(self.target, {key_of(obj): obj for obj in self.live}, NAMESPACE, kinds.is_namespaced)
        revision = self.options.get("revision", REVISION)
        return Seen(pairing.pairs, pairing.hooks, NAMESPACE, revision, kinds, self._options(), self.health)

    def _options(self) -> Options:
        asked = self.options
        migration = asked.get("clientSideApplyMigration")
        labels = asked.get("managedNamespaceLabels")
        policy = {"managedNamespaceMetadata": {"labels": labels}} if labels else {}
        result = Options(
            prune=asked.get("prune", False),
            prune_option=asked.get("defaultPruneOption"),
            prune_confirmed=asked.get("pruneConfirmed", False),
            prune_last=asked.get("pruneLast", False),
            dry_run=asked.get("dryRun", False),
            force=asked.get("force", False),
            replace=asked.get("replace", False),
            validate=asked.get("validate", True),
            skip_hooks=asked.get("skipHooks", False),
            skip_dry_run_on_missing=asked.get("skipDryRunOnMissingResource", False),
            apply_out_of_sync_only=asked.get("applyOutOfSyncOnly", False),
            modified={ResourceKey(*key.split("/")): yes for key, yes in (asked.get("modified") or {}).items()},
            server_side=asked.get("serverSideApply", False),
            manager=asked.get("serverSideApplyManager", ""),
            migrates_client_side=migration is not False,
            namespace_change=namespace_change(policy) if asked.get("createNamespace") else None,
            permitted=self._permitted,
        )
        if "prunePropagationPolicy" in asked:
            result = replace(result, propagation=asked["prunePropagationPolicy"])
        if "resources" in asked:
            named = set(asked["resources"])
            result = replace(result, included=lambda key, *_: f"{key.group}/{key.kind}/{key.name}" in named)
        return result

    def _permitted(self, obj: Object, _resource: ApiResource) -> str | None:
        gvk = gvk_of(obj)
        if gvk.kind in (self.options.get("denied") or ()):
            return f"resource {gvk.group}:{gvk.kind} is not permitted in project fake-project"
        return None

    def health(self, obj: Object) -> Health | None:
        status = (self.options.get("healthByName") or {}).get(name_of(obj))
        if status is None:
            return resource_health(obj, others=False)

        def custom(_obj: Object) -> Health | None:
            if status == "error":
                raise HealthError("health check failed")
            return Health(status, f"override {status}")

        return resource_health(obj, custom, others=False)

    # The cluster's answers

    def hold(self, talk: Generator[Stage, Answers, Any]) -> Any:
        try:
            stage = next(talk)
            while True:
                noted = [self._noted(operation) for operation in stage]
                self.stages.append([each for each in noted if each])
                stage = talk.send(tuple(self._answer(operation) for operation in stage))
        except StopIteration as end:
            return end.value

    def _answer(self, operation: Operation) -> Answer:
        verb, kind, name, dry_run = _addressed(operation)
        for failure in self.failures:
            concerned = failure["kind"] in ("", kind) and failure["name"] in ("", name)
            if concerned and (failure["verb"], failure["dryRun"]) == (verb, dry_run):
                return Answer(error=_error(failure))
        match operation:
            case Get(key=key):
                found = self._find(key)
                return Answer(found) if found is not None else Answer(error=errors.NotFound(f'"{key.name}" not found'))
            case Apply(obj=obj) | Create(obj=obj):
                known = self._find(key_of(obj)) is not None
                if not dry_run:
                    self.made.append(obj)
                return Answer(message=f"{kind.lower()}/{name} {'configured' if known else 'created'}")
            case Replace():
                return Answer(message=f"{kind.lower()}/{name} replaced")
        return Answer()

    def _find(self, key: ResourceKey) -> Object | None:
        keys = (key, key._replace(namespace=""))
        return next((obj for obj in (*self.live, *self.elsewhere, *self.made) if key_of(obj) in keys), None)

    def _noted(self, operation: Operation) -> dict[str, Any] | None:
        """The operation as the recording writes it; reads are not written."""
        if isinstance(operation, Get):
            return None
        if isinstance(operation, Remove):
            key, version = operation.key, gvk_of({"apiVersion": operation.api_version, "kind": operation.key.kind})
            noted: dict[str, Any] = {"op": f"{operation.what}-delete", "propagationPolicy": operation.propagation}
            return noted | _reference(key, version.version)
        obj = operation.obj
        base = _reference(key_of(obj), gvk_of(obj).version)
        dry_run = {"dryRun": "client" if getattr(operation, "dry_run", False) else "none"}
        match operation:
            case Apply():
                noted = {"op": "apply", "force": operation.force, "validate": operation.validate, **dry_run}
                noted |= {"serverSideApply": operation.server_side, "manager": operation.manager}
                return base | noted | ({"finalizers": finalizers_of(obj)} if finalizers_of(obj) else {})
            case Create():
                return base | {"op": "create", "validate": operation.validate, **dry_run}
            case Replace():
                return base | {"op": "replace", "force": operation.force, **dry_run}
            case Update():
                return base | {
                    "op": "update",
                    "resourceVersion": metadata_of(obj).get("resourceVersion", ""),
                    **dry_run,
                }
            case SetFinalizers():
                return base | {"op": "hook-update-finalizers", "finalizers": finalizers_of(obj)}
            case MigrateFields():
                return base | {"op": "migrate-managed-fields-patch", "patch": _migration(operation)}


def _migration(operation: MigrateFields) -> list[dict[str, Any]]:
    return migration_patch(operation.obj, operation.old, operation.new)


def _reference(key: ResourceKey, version: str) -> dict[str, Any]:
    return {
        "group": key.group, "kind": key.kind, "name": key.name, "namespace": key.namespace, "version": version
    }  # fmt: skip


def _addressed(operation: Operation) -> tuple[str, str, str, bool]:
    verb = {
        Get: "get", Apply: "apply", Create: "create", Replace: "replace", Update: "update",
        SetFinalizers: "hook-update", MigrateFields: "patch", Remove: "delete",
    }[type(operation)]  # fmt: skip
    key = operation.key if isinstance(operation, Get | Remove) else key_of(operation.obj)
    return verb, key.kind, key.name, bool(getattr(operation, "dry_run", False))


def _error(failure: Mapping[str, Any]) -> errors.ApiError:
    return errors.from_status({"message": failure["error"], "reason": failure["reason"]})


def _sorting(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# sync-order


def ask_order(row: Mapping[str, Any]) -> Given:
    live = row["in"]["live"]
    # The destination's own namespace is not tracked, so not among the managed objects.
    elsewhere = [obj for obj in live if obj["kind"] == "Namespace" and name_of(obj) == NAMESPACE]
    world = World(row["in"]["options"], row["in"]["target"], [o for o in live if o not in elsewhere], elsewhere)
    found: Preview = world.hold(preview(world.seen(), State(STARTED_AT)))
    out: dict[str, Any] = {
        "valid": not found.problems,
        "tasks": [shown_task(task) for task in found.tasks],
        "multiStep": found.is_multi_step,
    }
    if found.problems:
        out["invalid"] = {f"{each.key}:{each.sync_phase}": f"{each.status}: {each.message}" for each in found.problems}
    return {"out": out}


def shown_task(task: Task) -> dict[str, Any]:
    return {
        "phase": task.phase,
        "wave": task.wave,
        "group": task.gvk.group,
        "kind": task.gvk.kind,
        "name": task.name,
        "namespace": task.key.namespace,
        "hook": task.is_hook,
        "prune": task.is_prune,
        "hasLive": task.live is not None,
        "skipDryRun": task.skips_dry_run,
    }


# sync-scenarios


def judge_scenario(sample: Sample) -> Iterable[Row]:
    given, recorded = sample.document["in"], sample.document["out"]["steps"]
    got = list(passes(given, recorded))
    ok = [normal(step) for step in got] == [normal(step) for step in recorded]
    first = next((i for i, (a, b) in enumerate(zip(got, recorded, strict=False)) if normal(a) != normal(b)), 0)
    yield Row(sample.document["name"], ok, recorded[first], got[first] if got else None)


def passes(given: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    options, failures, state = dict(given["options"]), [], State(STARTED_AT)
    for step, known in zip(given["steps"], recorded, strict=True):
        for action in step["do"] or ():
            match action["do"]:
                case "options":
                    options |= action["options"]
                case "fail":
                    failures.append(action)
                case "unfail":
                    failures.clear()
                case "reset":
                    state = State(STARTED_AT)
        world = World(options, given["target"], known["live"], known["unmanagedLive"], failures)
        talk = sync if step["call"] == "sync" else terminate
        state = world.hold(talk(world.seen(), state))
        yield {
            "call": step["call"],
            "live": known["live"],
            "unmanagedLive": known["unmanagedLive"],
            "operations": in_recorded_order(world.stages, known["operations"] or []),
            "phase": state.phase,
            "message": state.message,
            "results": [shown_result(each) for each in state.results],
        }


def in_recorded_order(stages: Sequence[list[dict[str, Any]]], recorded: Sequence[Any]) -> list[dict[str, Any]]:
    """Our operations, those of one stage in the order in which the recording has them (which sorted them somehow)."""
    ours: list[dict[str, Any]] = []
    for stage in stages:
        there = list(recorded[len(ours) : len(ours) + len(stage)])
        ours += there if sorted(stage, key=_sorting) == sorted(there, key=_sorting) else stage
    return ours


def shown_result(result: ResourceResult) -> dict[str, Any]:
    return {
        "group": result.key.group,
        "kind": result.key.kind,
        "namespace": result.key.namespace,
        "name": result.key.name,
        "version": result.version,
        "images": list(result.images) or None,
        "status": result.status,
        "message": result.message,
        "hookType": result.hook_type,
        "hookPhase": result.hook_phase,
        "syncPhase": result.sync_phase,
    }


def normal(step: Mapping[str, Any]) -> Any:
    results = sorted(step["results"] or (), key=_sorting)
    return {**step, "results": results, "operations": list(step["operations"] or ())}


def is_scenario(document: Any) -> bool:
    given, out = document["in"], document["out"]
    return (
        given.keys() == {"options", "target", "live", "steps"}
        and all(step.keys() == {"do", "call"} for step in given["steps"])
        and all({"operations", "results", "phase"} <= step.keys() for step in out["steps"])
    )


FORMATS = (
    Format(
        "cd sync order",
        lambda s: (
            all_rows(s.rows, lambda given: given.keys() == {"options", "target", "live"})
            and all("tasks" in row.get("out", {}) for row in s.rows)
        ),
        judge_named(ask_order),
    ),
    Format("cd sync scenarios", lambda s: is_scenario(s.document), judge_scenario),
)
