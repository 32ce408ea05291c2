"""The artifact repository of a workflow: from a ConfigMap that its spec (or its namespace) names, else the default.

It is resolved once and kept in ``status.artifactRepositoryRef``, so that later edits do not move running workflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan import merging
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

CONFIG_MAP = "artifact-repositories"
DEFAULT_KEY = "workflows.argoproj.io/default-artifact-repository"


def resolve(state: State) -> None:
    """Finds the repository. Raises `Problem` where the spec names one that does not exist."""
    ref = state.status.get("artifactRepositoryRef")
    if ref is None:
        ref = _find(state)
        state.set_status(artifactRepositoryRef=ref)
    if state.artifact_repository is None:
        state.artifact_repository = ref.get("artifactRepository") or state.settings.artifact_repository


def _find(state: State) -> dict[str, Any]:
    wanted = state.spec.get("artifactRepositoryRef")
    if wanted is not None:
        for namespace in (state.namespace, state.settings.controller_namespace):
            found = _in_config_map(state, namespace, wanted)
            if found is not None:
                return found
        shown = {key: value for key, value in wanted.items() if value}
        raise Problem(
            "failed to resolve artifact repository: failed to find any artifact repository for artifact repository ref "
            f'"{shown.get("configMap", CONFIG_MAP)}#{shown.get("key", "")}"'
        )
    found = _in_config_map(state, state.namespace, {})
    if found is not None:
        return found
    default = state.settings.artifact_repository
    return {"default": True, **({"artifactRepository": dict(default)} if default else {})}


def _in_config_map(state: State, namespace: str, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    name = wanted.get("configMap") or CONFIG_MAP
    obj = state.lookup.config_map(name, namespace)
    if obj is None:
        return None
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    key = wanted.get("key") or annotations.get(DEFAULT_KEY, "")
    text = (obj.get("data") or {}).get(key)
    if text is None:
        return None
    try:
        repository = merging.read_yaml(text)
    except ValueError as err:
        raise Problem(
            f'failed to resolve artifact repository: failed to unmarshall config map key "{key}": {err}'
        ) from err
    return {"namespace": namespace, "configMap": name, "key": key, "artifactRepository": repository}
