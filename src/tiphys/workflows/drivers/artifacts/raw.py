"""Raw artifacts: the content stands in the manifest. Inputs only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiphys.workflows.executor.archives import create
from tiphys.workflows.executor.deletion import NOT_SUPPORTED
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]


class RawDriver:
    def load(self, artifact: Object, target: Path) -> None:
        with create(Place(target, str(target))) as file:
            file.write(str(artifact["raw"].get("data") or "").encode())

    def save(self, source: Place, artifact: Object) -> None:
        del source, artifact
        raise ExecutorError("Raw output artifacts unsupported")

    def delete(self, artifact: Object) -> None:
        del artifact
        raise ExecutorError(NOT_SUPPORTED)
