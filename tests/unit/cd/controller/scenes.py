"""An Application controller over an in-memory API server, with sources that a test changes at will."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.unit.client.servers import api_server
from tiphys.app.cd import RegistryKinds
from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.cd.caches import APP_PROJECTS, APPLICATIONS
from tiphys.cd.controller import ApplicationController
from tiphys.cd.plan.tracking import tracked
from tiphys.cd.rendering import Push, Rendered, Wanted
from tiphys.cd.settings import ControllerSettings
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import AlreadyExists, NotFound
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey, Resource
from tiphys.runtime.clock import SystemClock

Object = Mapping[str, Any]

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
JOBS = Resource("batch", "v1", "jobs", "Job")
URL = "https://git.example.com/repo"


@dataclass
class Sources:
    """A renderer: one repository whose newest revision is ``objects``."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0
    problem: str = ""
    untrusted: tuple[str, ...] = ()
    renders: int = 0
    kept: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pushed: list[Push] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def commit(self, *objects: dict[str, Any]) -> str:
        self.number += 1
        self.kept[self.revision] = self.objects = list(objects)
        return self.revision

    @property
    def revision(self) -> str:
        return f"{self.number:040x}"

    async def render(self, wanted: Wanted) -> Rendered:
        self.renders += 1
        self.asked.set()
        await asyncio.sleep(0)
        if self.problem:
            return Rendered(problem=self.problem)
        revisions = [given or self.revision for given in (*wanted.revisions, *[""] * len(wanted.sources))]
        revisions = revisions[: len(wanted.sources)]
        settings = wanted.settings
        if not wanted.is_marked:
            return Rendered(self.kept.get(revisions[0], self.objects), revisions, ["Directory"], commands=["build"])
        objects = [
            tracked(obj, wanted.instance, wanted.namespace, settings.tracking_method, settings.instance_label)
            for obj in self.kept.get(revisions[0], self.objects)
        ]
        return Rendered(objects, revisions, ["Directory"] * len(revisions), untrusted=self.untrusted)

    async def push(self, wanted: Push) -> str:
        self.pushed.append(wanted)
        return self.revision

    async def commit_metadata(self, url: str, project: str, commit: str) -> Mapping[str, str]:
        return {"author": "ann", "date": "2026-01-01T00:00:00Z", "message": "change\n\nwhy"}

    async def close(self) -> None:
        pass


class Events:
    def __init__(self) -> None:
        self.seen: list[Emit] = []

    def emit(self, event: Emit) -> None:
        self.seen.append(event)


@dataclass
class Scene:
    client: Client
    sources: Sources
    controller: ApplicationController
    events: Events
    server: ApiServer
    changed: asyncio.Event
    """Set by every write to the store and every render."""

    async def create(self, name: str = "app", **spec: Any) -> Object:
        return await self.client.create(APPLICATIONS, application(name, **spec))

    async def app(self, name: str = "app", namespace: str = "argocd") -> Object:
        return await self.client.get(APPLICATIONS, ObjectKey(namespace, name))

    async def patch(self, patch: Any, name: str = "app") -> Object:
        return await self.client.patch(APPLICATIONS, ObjectKey("argocd", name), patch)

    async def refresh(self, name: str = "app", kind: str = "normal") -> None:
        await self.patch({"metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}}}, name)

    async def sync(self, name: str = "app", **sync: Any) -> None:
        await self.patch({"operation": {"initiatedBy": {"username": "ann"}, "sync": sync}}, name)

    async def until(self, holds: Callable[[Object], Any], name: str = "app", seconds: float = 30.0) -> Object:
        """The application, as soon as it is as wanted."""
        app: Object = {}

        async def is_so() -> bool:
            nonlocal app
            app = {"status": {}, **await self.app(name)}
            return bool(holds(app))

        try:
            await self.eventually(is_so, seconds)
        except TimeoutError:
            raise AssertionError(f"never so: {app}") from None
        return app

    async def synced(self, name: str = "app", revision: str = "") -> Object:
        wanted = revision or self.sources.revision
        return await self.until(
            lambda app: sync_of(app) == "Synced" and app["status"]["sync"]["revision"] == wanted and not running(app),
            name,
        )

    async def eventually(self, holds: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
        """Asks after every write to the store and every render."""
        async with asyncio.timeout(seconds):
            while True:
                self.changed.clear()
                if await holds():
                    return
                await self.changed.wait()

    async def gone(self, resource: Resource, name: str, namespace: str = "default") -> None:
        async def is_gone() -> bool:
            return await self.find(resource, name, namespace) is None

        await self.eventually(is_gone)

    async def find(self, resource: Resource, name: str, namespace: str = "default") -> Object | None:
        try:
            return await self.client.get(resource, ObjectKey(namespace, name))
        except NotFound:
            return None


def application(name: str = "app", *, annotations: Any = None, finalizers: Any = None, **spec: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "argocd"}
    if annotations:
        metadata["annotations"] = annotations
    if finalizers:
        metadata["finalizers"] = finalizers
    usual = {
        "project": "default",
        "source": {"repoURL": URL, "path": "."},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": metadata,
        "spec": usual | spec,
    }


AUTOMATED = {"automated": {"prune": True, "selfHeal": True}}


def config_map(name: str = "one", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data or {"a": "b"}}


def annotated(obj: dict[str, Any], **annotations: str) -> dict[str, Any]:
    marks = {f"argocd.argoproj.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return {**obj, "metadata": {**obj["metadata"], "annotations": marks}}


def sync_of(app: Object) -> str:
    return str(((app.get("status") or {}).get("sync") or {}).get("status", ""))


def health_of(app: Object) -> str:
    return str(((app.get("status") or {}).get("health") or {}).get("status", ""))


def phase_of(app: Object) -> str:
    return str(((app.get("status") or {}).get("operationState") or {}).get("phase", ""))


def running(app: Object) -> bool:
    return app.get("operation") is not None


@asynccontextmanager
async def scene(
    settings: ControllerSettings | None = None, connect: Callable[[Any], Any] = HttpTransport, **data: str
) -> AsyncIterator[Scene]:
    """``data`` is that of ``argocd-cm``."""
    async with api_server() as server:
        client = Client(server.transport())
        sources, events = Sources(), Events()
        if data:
            for resource, obj in (
                (Resource("", "v1", "namespaces", "Namespace", namespaced=False), {"metadata": {"name": "argocd"}}),
                (CONFIG_MAPS, {"metadata": {"name": "argocd-cm", "namespace": "argocd"}, "data": data}),
            ):
                await client.create(resource, obj)
        controller = ApplicationController(
            client, RegistryKinds(server.registry), sources, settings or ControllerSettings(),
            clock=SystemClock(), rng=random.Random(1), events=events, connect=connect,
        )  # fmt: skip
        feed = StoreFeed(server.store, server.registry)
        cluster = ClusterControllers(server.transport(), feed, SystemClock(), random.Random(2))

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                cluster.kit.caches.begin(group)
                cluster.kit.sinks.begin(group)
                group.create_task(cluster.garbage.run())
                group.create_task(controller.run())

        running_controller = asyncio.create_task(run())
        try:
            for name in ("argocd",):
                await _namespace(client, name)
            changed = sources.asked
            server.store.subscribe(lambda _changes: changed.set())
            yield Scene(client, sources, controller, events, server, changed)
            assert controller.bugs == 0
        finally:
            running_controller.cancel()
            await asyncio.wait([running_controller])
            if not running_controller.cancelled() and running_controller.exception() is not None:
                raise running_controller.exception() or AssertionError


async def _namespace(client: Client, name: str) -> None:
    from tiphys.machinery.resources import NAMESPACES

    try:
        await client.create(NAMESPACES, {"metadata": {"name": name}})
    except AlreadyExists:
        return


__all__ = ["APP_PROJECTS", "Scene", "scene"]
