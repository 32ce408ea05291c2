"""Which driver serves an artifact, by the kind of its location.

Without a configured repository (``local_only``) S3 artifacts are served by the local store: manifests written for a
bucket then run offline, and find again what other steps have put there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiphys.client.client import Client
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import SECRETS, ObjectKey
from tiphys.workflows.drivers.artifacts.http import HttpDriver, SecretReader
from tiphys.workflows.drivers.artifacts.local import LocalStore, archive_location
from tiphys.workflows.drivers.artifacts.raw import RawDriver
from tiphys.workflows.drivers.artifacts.s3 import S3Driver
from tiphys.workflows.executor import locations
from tiphys.workflows.executor.agent import TaskAgent
from tiphys.workflows.executor.artifacts import ArtifactDriver
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.native import MakeResources, NativeExecutor, secret_references

Object = Mapping[str, Any]


class Drivers:
    """An ``executor.artifacts.ArtifactDrivers``. ``local`` None: S3 artifacts are in the S3 that they name."""

    def __init__(self, secret: SecretReader, local: LocalStore | None = None) -> None:
        self._secret = secret
        http = HttpDriver(secret)
        s3: ArtifactDriver = S3Driver(secret) if local is None else local
        self._by_kind: dict[str, ArtifactDriver] = {"raw": RawDriver(), "http": http, "artifactory": http, "s3": s3}

    def driver_for(self, artifact: Object) -> ArtifactDriver:
        kind = locations.kind_of(artifact)
        driver = self._by_kind.get(kind)
        if driver is None:
            raise ExecutorError(f"Unsupported artifact driver for {artifact.get('name', '')}")
        if not isinstance(driver, LocalStore):  # a missing secret is this call's failure, not the transfer's
            for name, key in secret_references(artifact[kind]):
                self._secret(name, key)
        return driver


def native_executor(
    client: Client, root: Path, resources: MakeResources | None = None, agent: TaskAgent | None = None
) -> NativeExecutor:
    """The executor of the embedded node: artifacts in ``root``, secrets from the API."""
    local = LocalStore(root)

    async def secret(namespace: str, name: str) -> Mapping[str, bytes]:
        try:
            found = await client.get(SECRETS, ObjectKey(namespace, name))
        except NotFound as err:
            raise ExecutorError(f"open /argo/secret/{name}: no such file or directory") from err
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    def drivers(known: SecretReader, repository: bool) -> Drivers:
        return Drivers(known, None if repository else local)

    return NativeExecutor(drivers, archive_location, secret, resources, agent)
