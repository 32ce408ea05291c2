"""Deletes an application that has finalizers of ours, step by step, one finalizer after the other.

pre-delete-finalizer ─► resources-finalizer ─► post-delete-finalizer ─► …/cleanup of both ─► gone
(PreDelete hooks)        (its objects)          (PostDelete hooks)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cd.act import SyncActor
from tiphys.cd.caches import APPLICATIONS
from tiphys.cd.comparing import Comparer, ImpersonationError, ProjectError, Sources
from tiphys.cd.live import LiveCluster
from tiphys.cd.plan.deletion import (
    HookStep,
    HookType,
    clean_hooks,
    is_kept,
    next_to_delete,
    run_hooks,
)
from tiphys.cd.plan.objects import (
    Object,
    ResourceKey,
    finalizers_of,
    gvk_of,
    is_being_deleted,
    key_of,
    metadata_of,
    name_of,
    namespace_of,
)
from tiphys.cd.plan.operation import is_confirmed, stamped
from tiphys.cd.plan.projects import Cluster, Project
from tiphys.cd.plan.spec import SyncOptions
from tiphys.cd.plan.status import with_conditions
from tiphys.cd.plan.sync.operations import Answer, Apply, Operation, Remove
from tiphys.cd.plan.tracking import tracked
from tiphys.cd.plan.validation import Condition, DestinationError
from tiphys.cd.writing import Application, Applications
from tiphys.machinery.errors import NotFound
from tiphys.runtime.clock import Clock

RESOURCES: Final = "resources-finalizer.argocd.argoproj.io"
BACKGROUND: Final = f"{RESOURCES}/background"
CASCADING: Final = frozenset((RESOURCES, f"{RESOURCES}/foreground", BACKGROUND))
HOOK_FINALIZERS: Final[dict[HookType, str]] = {
    "PreDelete": "pre-delete-finalizer.argocd.argoproj.io",
    "PostDelete": "post-delete-finalizer.argocd.argoproj.io",
}
_CLEANUP: Final = "/cleanup"
_LOOK_AGAIN: Final = timedelta(seconds=10)


def cleanup_of(kind: HookType) -> str:
    """The finalizer that stands for the removal of hooks that are over."""
    return HOOK_FINALIZERS[kind] + _CLEANUP


@dataclass(frozen=True)
class _Scene:
    app: Application
    project: Project
    cluster: Cluster
    live: LiveCluster
    actor: SyncActor


class Deleter:
    def __init__(self, comparer: Comparer, applications: Applications, clock: Clock) -> None:
        self._comparer = comparer
        self._applications = applications
        self._clock = clock

    async def delete(self, app: Application) -> datetime | None:
        """Goes as far as it can; when to look again at what is still going on."""
        while True:
            after = await self._step(app)
            if after is None:
                return self._clock.now() + _LOOK_AGAIN
            if not _ours(after):
                return None
            app = after

    async def _step(self, app: Application) -> Application | None:
        """The application without the finalizer whose work is done; None while there is something to wait for."""
        owned = finalizers_of(app)
        if not _ours(app):
            return app
        try:
            cluster = self._comparer.cluster_of(app)
        except DestinationError:
            return await self._without(app, *_ours(app))  # nothing can be done on a cluster that is not known
        try:
            project = self._comparer.project_of(app)
        except ProjectError as err:
            await self._say(app, str(err))
            return None
        live = self._comparer.live_of(cluster)
        instance = self._comparer.instance_of(app)
        try:
            client = self._comparer.client_for(app, project, cluster)
        except ImpersonationError as err:
            await self._say(app, str(err))
            return None
        scene = _Scene(app, project, cluster, live, SyncActor(live, self._clock, client, instance))
        await self._watch(scene)
        if HOOK_FINALIZERS["PreDelete"] in owned:
            return await self._run_hooks(scene, "PreDelete")
        if CASCADING.intersection(owned):
            return await self._cascade(scene)
        if HOOK_FINALIZERS["PostDelete"] in owned:
            return await self._run_hooks(scene, "PostDelete")
        for kind in HOOK_FINALIZERS:
            if cleanup_of(kind) in owned:
                return await self._clean(scene, kind)
        return app

    async def _watch(self, scene: _Scene) -> None:
        status = scene.app.get("status") or {}
        result = (status.get("operationState") or {}).get("syncResult") or {}
        known = [*(status.get("resources") or ()), *(result.get("resources") or ())]
        bare = [{"apiVersion": _api_version(each), "kind": each.get("kind", "")} for each in known]
        await scene.live.watch(map(gvk_of, bare))

    def _objects(self, scene: _Scene) -> dict[ResourceKey, Object]:
        """The application's live objects, as far as the project lets it touch them."""
        found = scene.live.of_application(self._comparer.instance_of(scene.app))
        return {key: obj for key, obj in found.items() if scene.project.permits(obj, scene.cluster)}

    # The objects

    async def _cascade(self, scene: _Scene) -> Application | None:
        app = scene.app
        default = _option(app, "Delete")
        approved = is_confirmed(app, stamped(metadata_of(app)["deletionTimestamp"]))
        found = {key: obj for key, obj in self._objects(scene).items() if not _is_itself(app, obj)}
        going = {key: obj for key, obj in found.items() if not is_kept(obj, default)}
        unconfirmed = [key for key in going if _wants_confirmation(app, key)]
        if unconfirmed and not approved:
            return None
        if any(is_being_deleted(obj) for obj in going.values()):
            return None  # the next wave is not begun before this one is gone
        if going:
            policy = "Background" if BACKGROUND in finalizers_of(app) else "Foreground"
            await self._remove(scene, next_to_delete(list(going.values())), policy)
            return None  # their end wakes us
        return await self._without(app, *CASCADING)

    async def _remove(self, scene: _Scene, objects: list[Object], policy: str) -> None:
        def removals() -> Any:
            answers: tuple[Answer, ...] = yield tuple(_removal(obj, policy) for obj in objects)
            return answers

        for answer in await scene.actor.hold(removals()):
            if answer.error is not None and not isinstance(answer.error, NotFound):
                raise answer.error

    # Hooks

    async def _run_hooks(self, scene: _Scene, kind: HookType) -> Application | None:
        app, settings = scene.app, self._applications.caches.settings
        rendered = await self._comparer.rendered(app, Sources.of_spec(app), scene.project, scene.live)
        if rendered.problem:
            await self._say(app, f"error executing {kind} hooks: {rendered.problem}")
            return None
        namespace = str(((app.get("spec") or {}).get("destination") or {}).get("namespace") or "")
        await scene.live.watch(map(gvk_of, rendered.targets))

        def marked(obj: Object) -> Object:
            return tracked(
                obj, self._comparer.instance_of(app), namespace, settings.tracking_method, settings.instance_label,
                settings.installation_id,
            )  # fmt: skip

        live = self._objects(scene)
        step = run_hooks(kind, rendered.targets, live, namespace, marked, self._comparer.check())
        return await self._done(scene, step, HOOK_FINALIZERS[kind])

    async def _clean(self, scene: _Scene, kind: HookType) -> Application | None:
        step = clean_hooks(kind, self._objects(scene), self._comparer.check())
        return await self._done(scene, step, cleanup_of(kind))

    async def _done(self, scene: _Scene, step: HookStep, finalizer: str) -> Application | None:
        def talk() -> Any:
            wanted: list[Operation] = [Apply(obj, False, False, True, False, "") for obj in step.created]
            wanted += [_removal(obj, "Background") for obj in step.deleted]
            answers: tuple[Answer, ...] = yield tuple(wanted)
            return answers

        if step.created or step.deleted:
            for answer in await scene.actor.hold(talk()):
                if answer.error is not None and not isinstance(answer.error, NotFound):
                    raise answer.error
        if step.failure:
            await self._say(scene.app, step.failure)
            return None
        return await self._without(scene.app, finalizer) if step.is_over else None

    # The application itself

    async def _without(self, app: Application, *finalizers: str) -> Application:
        kept = [each for each in finalizers_of(app) if each not in finalizers]
        return await self._applications.patch(app, {"metadata": {"finalizers": kept}})

    async def _say(self, app: Application, message: str) -> None:
        """Tells of what keeps the application from being deleted."""
        status = dict(app.get("status") or {})
        found = [Condition("DeletionError", message)]
        evaluated = frozenset(("DeletionError",))
        status["conditions"] = with_conditions(status.get("conditions") or (), found, evaluated, self._clock.now())
        await self._applications.write(app, status)


def _ours(app: Application) -> list[str]:
    hooks = {name for kind in HOOK_FINALIZERS for name in (HOOK_FINALIZERS[kind], cleanup_of(kind))}
    return [each for each in finalizers_of(app) if each in CASCADING or each in hooks]


def _removal(obj: Object, policy: str) -> Remove:
    return Remove(gvk_of(obj).api_version, key_of(obj), "prune", policy, metadata_of(obj).get("uid", ""))


def _option(app: Application, name: str) -> str | None:
    policy = (app.get("spec") or {}).get("syncPolicy") or {}
    return SyncOptions.of(policy.get("syncOptions")).value(name)


def _is_itself(app: Application, obj: Object) -> bool:
    return gvk_of(obj)[::2] == (APPLICATIONS.group, APPLICATIONS.kind) and (namespace_of(obj), name_of(obj)) == (
        namespace_of(app),
        name_of(app),
    )


def _wants_confirmation(app: Application, key: ResourceKey) -> bool:
    return any(
        each.get("requiresDeletionConfirmation") and _matches(each, key)
        for each in (app.get("status") or {}).get("resources") or ()
    )


def _matches(entry: Mapping[str, Any], key: ResourceKey) -> bool:
    return all((entry.get(name) or "") == value for name, value in key._asdict().items())


def _api_version(entry: Mapping[str, Any]) -> str:
    group, version = entry.get("group") or "", entry.get("version") or ""
    return f"{group}/{version}" if group else version
