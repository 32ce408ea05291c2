"""Hydrates an application, and with it all that share its branch: renders them dry, has the renderer push, notes it.

Each application writes its own status only. Those of one branch come here one after the other, and find that what the
first of them pushed is theirs, too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from tiphys.cd.comparing import Comparer, ProjectError
from tiphys.cd.plan import hydration
from tiphys.cd.plan.hydration import Dry, HydrationError, Key
from tiphys.cd.plan.objects import annotations_of, metadata_of, name_of
from tiphys.cd.plan.projects import Project
from tiphys.cd.plan.validation import DestinationError
from tiphys.cd.rendering import Push, Rendered, Renderer, RenderFailed
from tiphys.cd.writing import Application, Applications
from tiphys.runtime.clock import Clock

KEPT_MAX = 1_000


class Hydrator:
    def __init__(self, comparer: Comparer, applications: Applications, renderer: Renderer, clock: Clock) -> None:
        self._comparer = comparer
        self._applications = applications
        self._renderer = renderer
        self._clock = clock
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._done: OrderedDict[Key, tuple[str, Any, str]] = OrderedDict()
        """By branch: the dry revision, the applications, and the commit that was made of them last."""

    async def hydrate(self, app: Application) -> Application:
        """The application after its hydration, if there was one to do."""
        hydrator = hydration.hydrator_of(app)
        if hydrator is None or metadata_of(app).get("deletionTimestamp"):
            return app
        dry = await self._comparer.dry(app)
        revision = dry.revisions[0] if dry.revisions else ""
        if not hydration.is_needed(app, revision, self._clock.now()):
            return app
        app = await self._write(app, hydration.begun(app, self._clock.now()))
        try:
            lock = self._locks.setdefault(hydration.key_of(hydrator), asyncio.Lock())
            async with lock:
                hydrated = await self._hydrated(app, hydration.key_of(hydrator), dry, revision)
        except (HydrationError, ProjectError, DestinationError, RenderFailed) as err:
            return await self._write(app, hydration.ended(app, self._clock.now(), revision, problem=str(err)))
        return await self._write(app, hydration.ended(app, self._clock.now(), revision, hydrated=hydrated))

    async def _hydrated(self, app: Application, key: Key, dry: Rendered, revision: str) -> str:
        """The commit. Raises HydrationError, ProjectError, DestinationError and RenderFailed."""
        group = self._group(key)
        projects = {project.name: project for project in map(self._comparer.project_of, group)}
        hydration.check(group, projects)
        names = [(metadata_of(each).get("uid"), hydration.hydrator_of(each)) for each in group]
        known = self._done.get(key)
        if known is not None and known[:2] == (revision, names) and hydration.HYDRATE not in annotations_of(app):
            return known[2]
        own = {metadata_of(app).get("uid"): dry}
        parts = [await self._dry(each, own.get(metadata_of(each).get("uid")), revision) for each in group]
        made = await self._pushed(group, key, parts, revision, projects)
        self._done[key] = (revision, names, made)
        if len(self._done) > KEPT_MAX:
            self._done.popitem(last=False)
        return made

    def _group(self, key: Key) -> list[Application]:
        found = []
        for app in self._applications.caches.applications.objects():
            hydrator = hydration.hydrator_of(app)
            if hydrator is not None and hydration.key_of(hydrator) == key:
                found.append(app)
        return sorted(found, key=lambda each: (metadata_of(each).get("namespace") or "", name_of(each)))

    async def _dry(self, app: Application, known: Rendered | None, revision: str) -> Dry:
        rendered = known or await self._comparer.dry(app, revision)
        problem = rendered.problem or "\n".join(rendered.untrusted)
        if problem:
            raise HydrationError(f"failed to get manifests of application {name_of(app)}: {problem}")
        path = ((hydration.hydrator_of(app) or {}).get("syncSource") or {}).get("path") or ""
        return Dry(path, rendered.targets, rendered.commands)

    async def _pushed(
        self,
        group: Sequence[Application],
        key: Key,
        parts: Sequence[Dry],
        revision: str,
        projects: Mapping[str, Project],
    ) -> str:
        settings = self._applications.caches.settings
        project = next(iter(projects)) if len(projects) == 1 else ""
        commit = await self._renderer.commit_metadata(key.dry_url, project, revision)
        metadata = hydration.metadata_of_commit(key.dry_url, revision, commit)
        files, deciding = hydration.files(parts, metadata, settings.hydrator_readme)
        base = ((hydration.hydrator_of(group[0]) or {}).get("syncSource") or {}).get("targetBranch") or ""
        message = hydration.message(metadata, settings.hydrator_message)
        author, email = settings.commit_author
        push = Push(key.url, project, key.branch, base, files, deciding, message, author, email, revision)
        return await self._renderer.push(push)

    async def _write(self, app: Application, status: Mapping[str, Any]) -> Application:
        return await self._applications.write(app, {**(app.get("status") or {}), "sourceHydrator": status})
