"""Which driver serves an artifact, by the kind of its location.

An S3 artifact that names its endpoint is in that S3; one that does not is in the local store, which is where the node's
executor sends artifacts when no repository is configured. So manifests that name only keys run offline.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.client.client import Client
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import SECRETS, WORKFLOW_ARTIFACT_GC_TASKS, ObjectKey
from tiphys.workflows.drivers.artifacts.azure import AzureDriver
from tiphys.workflows.drivers.artifacts.gcs import GcsDriver
from tiphys.workflows.drivers.artifacts.git import GitDriver
from tiphys.workflows.drivers.artifacts.hdfs import HdfsDriver
from tiphys.workflows.drivers.artifacts.http import HttpDriver, SecretReader
from tiphys.workflows.drivers.artifacts.local import LocalStore, archive_location, is_local
from tiphys.workflows.drivers.artifacts.oss import OssDriver
from tiphys.workflows.drivers.artifacts.raw import RawDriver
from tiphys.workflows.drivers.artifacts.s3 import S3Driver
from tiphys.workflows.executor import locations
from tiphys.workflows.executor.agent import TaskAgent
from tiphys.workflows.executor.artifacts import ArtifactDriver, PluginPlace
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.native import MakeResources, NativeExecutor, secret_references

Object = Mapping[str, Any]


class Drivers:
    """An ``executor.artifacts.ArtifactDrivers``; without ``local`` every S3 artifact must name its endpoint.

    ``names`` are endpoints that mean the local store, ``plugins`` the artifact plugins beside the step.
    """

    def __init__(
        self,
        secret: SecretReader,
        local: LocalStore | None = None,
        names: Collection[str] = (),
        plugins: Mapping[str, PluginPlace] | None = None,
    ) -> None:
        self._secret = secret
        self._local = local
        self._names = names
        http = HttpDriver(secret)
        self._by_kind: dict[str, ArtifactDriver] = {
            "artifactory": http,
            "azure": AzureDriver(secret),
            "gcs": GcsDriver(secret),
            "git": GitDriver(secret),
            "hdfs": HdfsDriver(secret),
            "http": http,
            "oss": OssDriver(secret),
            "raw": RawDriver(),
            "s3": S3Driver(secret),
        }
        if plugins:
            from tiphys.workflows.drivers.artifacts.plugin import PluginDriver

            self._by_kind["plugin"] = PluginDriver(plugins)

    def driver_for(self, artifact: Object) -> ArtifactDriver:
        kind = locations.kind_of(artifact)
        if self._local is not None and kind == "s3" and is_local(artifact, self._names):
            return self._local
        driver = self._by_kind.get(kind)
        if driver is None:
            raise ExecutorError(f"Unsupported artifact driver for {artifact.get('name', '')}")
        for name, key in secret_references(artifact[kind]):  # a missing one is this call's failure, not the transfer's
            self._secret(name, key)
        return driver


def native_executor(
    client: Client,
    root: Path,
    resources: MakeResources | None = None,
    agent: TaskAgent | None = None,
    names: Collection[str] = (),
) -> NativeExecutor:
    """The executor of the embedded node: artifacts in ``root``, secrets from the API.

    ``names`` are S3 endpoints that mean the local store.
    """
    local = LocalStore(root)

    async def secret(namespace: str, name: str) -> Mapping[str, bytes]:
        try:
            found = await client.get(SECRETS, ObjectKey(namespace, name))
        except NotFound as err:
            raise ExecutorError(f"open /argo/secret/{name}: no such file or directory") from err
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    def drivers(known: SecretReader, plugins: Mapping[str, PluginPlace]) -> Drivers:
        return Drivers(known, local, names, plugins)

    return NativeExecutor(drivers, archive_location, secret, resources, agent, _DeletionTasks(client))


@dataclass(frozen=True)
class _DeletionTasks:
    """An ``executor.native.DeletionTasks``."""

    client: Client

    async def fetch(self, key: ObjectKey) -> Object:
        return await self.client.get(WORKFLOW_ARTIFACT_GC_TASKS, key)

    async def store(self, key: ObjectKey, status: Object) -> None:
        await self.client.patch(WORKFLOW_ARTIFACT_GC_TASKS, key, {"status": status}, subresource="status")
