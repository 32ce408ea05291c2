"""Writes of the controller to its own objects: applications, and what has to be there before the first of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tiphys.cd.caches import APP_PROJECTS, APPLICATIONS, Caches
from tiphys.cd.plan.objects import metadata_of
from tiphys.cd.plan.status import patch_of
from tiphys.client.client import Client
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import AlreadyExists
from tiphys.machinery.resources import NAMESPACES, ObjectKey, key_of
from tiphys.runtime.act import EventSink

Application = Mapping[str, Any]

_DEFAULT_PROJECT: Final = {
    "sourceRepos": ["*"],
    "destinations": [{"namespace": "*", "server": "*"}],
    "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
}


@dataclass(frozen=True)
class Applications:
    """Every write is one merge patch on the condition that the application is as we know it: who decides from what is
    out of date would begin what has ended, or undo a request to terminate."""

    client: Client
    caches: Caches
    events: EventSink
    written: dict[ObjectKey, str] = field(default_factory=dict)
    """The version that our last write of each left."""

    async def write(self, app: Application, status: Mapping[str, Any], **fields: Any) -> Application:
        """Stores a new status, and ``fields`` of the object beside it; the object after it."""
        patch = dict(fields)
        changed = patch_of(app.get("status") or {}, status, with_time=bool(fields))
        if changed:
            patch["status"] = changed
        return await self.patch(app, patch) if patch else app

    async def patch(self, app: Application, patch: Mapping[str, Any]) -> Application:
        version = {"resourceVersion": metadata_of(app).get("resourceVersion")}
        conditional = {**patch, "metadata": {**(patch.get("metadata") or {}), **version}}
        after = await self.client.patch(APPLICATIONS, key_of(app), conditional)
        self.written[key_of(app)] = metadata_of(after)["resourceVersion"]
        self.caches.applications.learn(after)
        return after

    def tell(self, app: Application, kind: str, reason: str, message: str) -> None:
        """An Event about the application."""
        metadata = metadata_of(app)
        about = {"apiVersion": APPLICATIONS.api_version, "kind": APPLICATIONS.kind}
        about |= {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata}
        self.events.emit(Emit(about, kind, reason, message))


async def furnish(client: Client, namespace: str) -> None:
    """The namespace of CD and the project that allows everything."""
    with contextlib.suppress(AlreadyExists):
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
    project = {"metadata": {"name": "default", "namespace": namespace}, "spec": _DEFAULT_PROJECT}
    with contextlib.suppress(AlreadyExists):
        await client.create(APP_PROJECTS, {"apiVersion": APP_PROJECTS.api_version, "kind": "AppProject", **project})
