"""Which driver serves an artifact, by the kind of its location.

Without a configured repository (``local_only``) S3 artifacts are served by the local store: manifests written for a
bucket then run offline, and find again what other steps have put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.workflows.drivers.artifacts.http import HttpDriver, SecretReader
from tiphys.workflows.drivers.artifacts.local import LocalStore
from tiphys.workflows.drivers.artifacts.raw import RawDriver
from tiphys.workflows.executor import locations
from tiphys.workflows.executor.artifacts import ArtifactDriver
from tiphys.workflows.executor.errors import ExecutorError

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
