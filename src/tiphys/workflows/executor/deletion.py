"""Deletes the artifacts that WorkflowArtifactGCTasks list, and says of each what came of it.

The work of the pods that ``plan/artifact_collection.py`` asks for; source: cmd/argoexec/commands/artifact/delete.go.
One artifact that cannot be deleted does not keep the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiphys.workflows.executor import locations
from tiphys.workflows.executor.artifacts import ArtifactDrivers
from tiphys.workflows.executor.errors import ExecutorError

Object = Mapping[str, Any]
NOT_SUPPORTED = (
    "delete not supported for this artifact storage, please check the following issue for details: "
    "https://github.com/argoproj/argo-workflows/issues/3102"
)


def delete(task: Object, drivers: ArtifactDrivers) -> dict[str, Any]:
    """The status of the task: its results by node and artifact. Blocks."""
    nodes = ((task.get("spec") or {}).get("artifactsByNode") or {}).items()
    results = {
        node_id: {"artifactResults": {name: _delete(artifact, location, drivers) for name, artifact in artifacts}}
        for node_id, spec in nodes
        for location, artifacts in [(spec.get("archiveLocation"), (spec.get("artifacts") or {}).items())]
    }
    return {"artifactResultsByNode": results}


def failures(status: Object) -> Iterable[str]:
    """What went wrong, a sentence for each artifact."""
    for result in (status.get("artifactResultsByNode") or {}).values():
        for name, found in result["artifactResults"].items():
            if found.get("error"):
                yield f"{name}: {found['error']}"


def _delete(artifact: Object, location: Object | None, drivers: ArtifactDrivers) -> dict[str, Any]:
    name = str(artifact.get("name", ""))
    try:
        placed = locations.relocate(artifact, location) if location else artifact
        drivers.driver_for(placed).delete(placed)
    except ExecutorError as err:
        return {"name": name, "error": str(err)}
    return {"name": name, "success": True}
