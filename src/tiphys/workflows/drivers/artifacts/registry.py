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
from tiphys.workflows.executor import locations
from tiphys.workflows.executor.artifacts import ArtifactDriver
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.native import NativeExecutor

Object = Mapping[str, Any]


class Drivers:
    """An ``executor.artifacts.ArtifactDrivers``."""

    def __init__(self, local: LocalStore, secret: SecretReader) -> None:
        http = HttpDriver(secret)
        self._by_kind: dict[str, ArtifactDriver] = {"raw": RawDriver(), "http": http, "artifactory": http, "s3": local}

    def driver_for(self, artifact: Object) -> ArtifactDriver:
        driver = self._by_kind.get(locations.kind_of(artifact))
        if driver is None:
            raise ExecutorError(f"Unsupported artifact driver for {artifact.get('name', '')}")
        return driver


def native_executor(client: Client, root: Path) -> NativeExecutor:
    """The executor of the embedded node: artifacts in ``root``, secrets from the API."""
    local = LocalStore(root)

    async def secret(namespace: str, name: str) -> Mapping[str, bytes]:
        try:
            found = await client.get(SECRETS, ObjectKey(namespace, name))
        except NotFound as err:
            raise ExecutorError(f"open /argo/secret/{name}: no such file or directory") from err
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    return NativeExecutor(lambda known: Drivers(local, known), archive_location, secret)
