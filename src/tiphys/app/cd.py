"""GitOps in the embedded cluster: the Application controller with its renderer, from the first Application on.

Until there is one nothing runs, and none of the controller's code is loaded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tiphys.client.client import Client
from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.controllers.manager import Presence
from tiphys.machinery.resources import Resource
from tiphys.runtime.clock import Clock
from tiphys.runtime.events import EventRecorder

if TYPE_CHECKING:
    from tiphys.cd.plan.objects import Gvk
    from tiphys.cd.settings import ControllerSettings

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


async def run_cd(
    client: Client,
    registry: Registry,
    presence: Presence,
    place: Path,
    clock: Clock,
    rng: random.Random,
    settings: ControllerSettings | None = None,
) -> None:
    """Runs the controller from the first Application on, until cancelled. ``place`` is where repositories are kept."""
    seen = asyncio.Event()
    presence.once(_APPLICATIONS, None, seen.set)
    await seen.wait()
    async with asyncio.TaskGroup() as group:
        import aiohttp

        from tiphys.cd.controller import ApplicationController
        from tiphys.cd.repositories import credentials_for
        from tiphys.cd.settings import ControllerSettings
        from tiphys.cd.sources.charts import ChartStore
        from tiphys.cd.sources.credentials import Credentials
        from tiphys.cd.sources.git import GitStore
        from tiphys.cd.sources.renderer import SourceRenderer
        from tiphys.cd.sources.workers import RenderPool

        def credentials(url: str, project: str) -> Credentials:
            return credentials_for(controller.caches.secrets.objects(), url, project)

        async with aiohttp.ClientSession() as session:
            charts, pool = ChartStore(place / "charts", session), RenderPool(clock, place / "renders")
            renderer = SourceRenderer(GitStore(place / "git"), charts, pool, credentials)
            events = EventRecorder(client, clock, "argocd-application-controller")
            controller = ApplicationController(
                client, RegistryKinds(registry), renderer, settings or ControllerSettings(),
                clock=clock, rng=rng, events=events,
            )  # fmt: skip
            group.create_task(events.run(), name="cd-events")
            try:
                await controller.run()
            finally:
                await renderer.close()
