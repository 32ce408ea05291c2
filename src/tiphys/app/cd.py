"""GitOps in the embedded cluster: the Application controller with its renderer, from the first Application on.

Until there is one nothing runs, and none of the controller's code is loaded.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiphys.client.client import Client
from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.controllers.manager import Presence
from tiphys.machinery.errors import AlreadyExists
from tiphys.machinery.resources import CONFIG_MAPS, SECRETS, ObjectKey, Resource
from tiphys.runtime.clock import Clock, SystemClock
from tiphys.runtime.correlation import Correlator
from tiphys.runtime.events import EventRecorder

if TYPE_CHECKING:
    from tiphys.cd.plan.objects import Gvk
    from tiphys.cd.preview import Preview
    from tiphys.cd.rendering import Renderer
    from tiphys.cd.sources.credentials import Credentials
    from tiphys.cd.sources.fetching import CredentialsFor

Object = Mapping[str, Any]
_GITOPS = "gitops"
_OFTEN, _SOON = timedelta(seconds=5), timedelta(seconds=1)
_APPLICATIONS = Resource("argoproj.io", "v1alpha1", "applications", "Application")


@dataclass
class RegistryKinds:
    """A ``cd.kinds.KindTable``: what the embedded server serves, straight from its table."""

    registry: Registry
    _revision: int = -1

    def resource(self, gvk: Gvk) -> Resource | None:
        self._read()
        return self._by_gvk.get(tuple(gvk))

    def any_version(self, group: str, kind: str) -> Resource | None:
        self._read()
        return self._preferred.get((group, kind))

    def has_version(self, group: str, version: str) -> bool:
        return bool(self.registry.in_version(group, version))

    def api_versions(self) -> Iterable[str]:
        self._read()
        return self._texts

    async def refresh(self) -> None:
        """Never behind."""

    def _read(self) -> None:
        if self._revision == self.registry.revision:
            return
        self._revision = self.registry.revision
        self._by_gvk: dict[tuple[str, ...], Resource] = {}
        self._preferred: dict[tuple[str, str], Resource] = {}
        for info in self.registry:
            resource = info.resource
            if info.is_virtual or "watch" not in info.verbs:
                continue
            self._by_gvk[resource.group, resource.version, info.kind] = resource
            self._preferred.setdefault((resource.group, info.kind), resource)
        texts = {text for r in self._by_gvk.values() for text in (r.api_version, f"{r.api_version}/{r.kind}")}
        self._texts = sorted(texts)


@dataclass(frozen=True)
class Place:
    """Where repositories are kept, and where config management plugins are looked for: else in a folder of it."""

    path: Path
    plugins: Path | None = None

    @property
    def plugin_folder(self) -> Path:
        return self.plugins or self.path / "plugins"


async def run_cd(
    client: Client,
    registry: Registry,
    presence: Presence,
    place: Place,
    clock: Clock,
    rng: random.Random,
    repository: str | None = None,
) -> None:
    """Runs the controller from the first Application on, until cancelled.

    ``repository`` (``Settings.gitops``) makes that first Application at once, and has it looked at often.
    """
    seen = asyncio.Event()
    if repository is not None:
        await _keep_as(client, repository)
    presence.once(_APPLICATIONS, None, seen.set)
    await seen.wait()
    from tiphys.cd.controller import ApplicationController
    from tiphys.cd.repositories import credentials_for
    from tiphys.cd.settings import ControllerSettings

    def credentials(url: str, project: str, to_write: bool = False) -> Credentials:
        caches = controller.caches
        return credentials_for(caches.secrets.objects(), url, project, to_write, caches.trusted)

    def keys() -> Mapping[str, str]:
        return controller.caches.trusted.gpg_keys

    async with source_renderer(place, clock, credentials, keys) as renderer, asyncio.TaskGroup() as group:
        settings = (
            ControllerSettings()
            if repository is None
            else ControllerSettings(refresh_period=_OFTEN, refresh_jitter=_SOON)
        )
        events = EventRecorder(client, clock, "argocd-application-controller", correlator=Correlator(10_000, 10_000))
        controller = ApplicationController(
            client, RegistryKinds(registry), renderer, settings,
            clock=clock, rng=rng, events=events,
        )  # fmt: skip
        group.create_task(events.run(), name="cd-events")
        await controller.run()


async def _keep_as(client: Client, repository: str) -> None:
    """The application that is the whole cluster: everything in the repository, synced, healed and pruned."""
    from tiphys.cd.writing import furnish

    spec = {
        "project": "default",
        "source": _source(repository),
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
        "syncPolicy": {"automated": {"prune": True, "selfHeal": True}, "syncOptions": ["CreateNamespace=true"]},
    }
    await furnish(client, "argocd")
    app = {"apiVersion": _APPLICATIONS.api_version, "kind": "Application", "spec": spec}
    try:
        await client.create(_APPLICATIONS, {**app, "metadata": {"name": _GITOPS, "namespace": "argocd"}})
    except AlreadyExists:
        await client.patch(_APPLICATIONS, ObjectKey("argocd", _GITOPS), {"spec": spec})


def _source(repository: str) -> dict[str, str]:
    """``REPO[//PATH][?ref=REVISION]`` as an application's source; a path of this machine in full."""
    whole, _, revision = repository.partition("?ref=")
    scheme, colon, rest = whole.rpartition("://")
    url, _, path = rest.partition("//")
    url = f"{scheme}{colon}{url}"
    is_local = not colon and Path(url).exists()
    source = {"repoURL": str(Path(url).absolute()) if is_local else url, "path": path or "."}
    if revision:
        source["targetRevision"] = revision
    return source


@asynccontextmanager
async def source_renderer(
    place: Place,
    clock: Clock,
    credentials: CredentialsFor,
    keys: Callable[[], Mapping[str, str]] = dict,
) -> AsyncIterator[Renderer]:
    """The renderer of all sources, which keeps repositories and charts in ``place``; plugins are read now.

    ``keys``: the public keys of those who may sign.
    """
    import aiohttp

    from tiphys.cd.sources import plugins
    from tiphys.cd.sources.artifacts import ArtifactStore
    from tiphys.cd.sources.charts import ChartStore
    from tiphys.cd.sources.fetching import Stores
    from tiphys.cd.sources.git import GitStore
    from tiphys.cd.sources.github_app import GitHubApps
    from tiphys.cd.sources.renderer import SourceRenderer
    from tiphys.cd.sources.workers import RenderPool

    async with aiohttp.ClientSession(trust_env=True) as session:
        stores = Stores(
            GitStore(place.path / "git"),
            ChartStore(place.path / "charts", session),
            ArtifactStore(place.path / "artifacts", clock),
            GitHubApps(session, clock),
            keys,
        )
        pool, installed = RenderPool(clock, place.path / "renders"), plugins.installed(place.plugin_folder)
        renderer = SourceRenderer(stores, pool, credentials, installed)
        try:
            yield renderer
        finally:
            await renderer.close()


async def plan_applications(
    apps: Sequence[Object], others: Sequence[Object], remote: Client | None, plugins: Path | None = None
) -> list[Preview]:
    """What a sync of each would do, in ``remote``'s cluster or in one that is empty but for the ``others``.

    Repositories are read with the credentials of that cluster's secrets. Raises ApiError where those may not be read.
    """
    from tiphys.cd.caches import SOURCE_SECRETS
    from tiphys.cd.kinds import DiscoveredKinds, KindTable
    from tiphys.cd.preview import preview
    from tiphys.cd.repositories import Trusted, credentials_for
    from tiphys.cd.settings import ControllerSettings
    from tiphys.cd.writing import furnish

    clock, rng, settings = SystemClock(), random.Random(), ControllerSettings()
    async with AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiphys-plan-")))
        kinds: KindTable
        if remote is not None:
            client, kinds = remote, DiscoveredKinds(remote.transport, clock)
        else:
            from tiphys.app.compose import World, api_server

            server = await stack.enter_async_context(api_server(World()))
            client, kinds = Client(server.transport()), RegistryKinds(server.registry)
            await furnish(client, settings.namespace)
            for obj in others:
                info = server.registry.by_kind(*_group_version(obj), str(obj.get("kind")))
                if info is not None:
                    await client.create(info.resource, _in_namespace(obj, info.resource.namespaced))
        secrets = (await client.list(SECRETS, settings.namespace, labelSelector=SOURCE_SECRETS))["items"]
        trusted = Trusted.of((await client.list(CONFIG_MAPS, settings.namespace))["items"])
        renderer = await stack.enter_async_context(
            source_renderer(
                Place(place, plugins),
                clock,
                partial(credentials_for, secrets, trusted=trusted),
                lambda: trusted.gpg_keys,
            )
        )
        return [
            await preview(_in_namespace(app, True), client, kinds, renderer, settings, clock=clock, rng=rng)
            for app in apps
        ]


def _group_version(obj: Object) -> tuple[str, str]:
    group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
    return group, version


def _in_namespace(obj: Object, namespaced: bool) -> Object:
    if not namespaced or obj["metadata"].get("namespace"):
        return obj
    return {**obj, "metadata": {**obj["metadata"], "namespace": "argocd"}}
