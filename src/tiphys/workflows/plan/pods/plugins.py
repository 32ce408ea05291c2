"""Artifact plugins: drivers of their own, run by images that the controller's settings name.

On the embedded node each one that a pod needs is a native sidecar of it, from before the first artifact is loaded until
the last is saved. It listens at a socket whose path is its only argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan.artifacts import has_location
from tiphys.workflows.plan.assess import ARTIFACT_PLUGIN
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import Template
    from tiphys.workflows.settings import ArtifactPlugin

SOCKETS = "/tmp/artifact-plugins"


def directory(name: str) -> str:
    """Where the plugin finds the place of its socket."""
    return f"{SOCKETS}/{name}"


def socket_path(name: str) -> str:
    return f"{directory(name)}/socket"


def check(state: State, template: Template) -> None:
    """Raises `Problem` for an output whose plugin is not configured, or cannot be had in this shape of pods."""
    for name in names(state, template, "outputs"):
        _configured(state, name)
        if state.settings.executor == "in-pod":
            raise Problem(f"artifact driver {name}: artifact plugins are for the native executor")


def names(state: State, template: Template, where: str) -> list[str]:
    """The plugins that a template's inputs or outputs need: their own, the template's or the repository's."""
    repository = state.artifact_repository or {}
    artifacts = (template.get(where) or {}).get("artifacts")
    saves_logs = where == "outputs" and repository.get("archiveLogs")
    if not artifacts and not saves_logs:
        return []
    default = _name(template.get("archiveLocation")) or _name(repository)
    found = [_name(artifact) or ("" if has_location(artifact) else default) for artifact in artifacts or ()]
    if saves_logs:
        found.append(_name(repository))
    return sorted({name for name in found if name})


def source_names(template: Template) -> list[str]:
    """The plugin that a data template lists the keys of."""
    source = ((template.get("data") or {}).get("source") or {}).get("artifactPaths") or {}
    name = _name(source) or _name(template.get("archiveLocation"))
    return [name] if source and name else []


def of_places(places: Iterable[Mapping[str, Any]]) -> list[str]:
    """The plugins that locations name."""
    return sorted({name for name in map(_name, places) if name})


def sidecars(state: State, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """The containers of plugins, for ``initContainers``. Raises `Problem`."""
    return [_sidecar(name, _configured(state, name).image) for name in sorted(set(wanted))]


def with_timeouts(state: State, template: Template) -> Template:
    """The template, each artifact of a plugin saying how long the plugin may take to answer, where that is set."""
    chosen = {n: p.connection_timeout_seconds for n, p in state.settings.artifact_drivers.items()}
    if not any(chosen.values()):
        return template
    made: dict[str, Any] = dict(template)
    if made.get("archiveLocation"):
        made["archiveLocation"] = _with_timeout(made["archiveLocation"], chosen)
    for where in ("inputs", "outputs"):
        artifacts = (made.get(where) or {}).get("artifacts")
        if artifacts:
            made[where] = {**made[where], "artifacts": [_with_timeout(a, chosen) for a in artifacts]}
    source = (made.get("data") or {}).get("source") or {}
    if source.get("artifactPaths"):
        listed = {**source, "artifactPaths": _with_timeout(source["artifactPaths"], chosen)}
        made["data"] = {**made["data"], "source": listed}
    return made


def _with_timeout(place: Mapping[str, Any], chosen: Mapping[str, int]) -> Mapping[str, Any]:
    plugin = place.get("plugin") or {}
    seconds = chosen.get(_name(place), 0)
    if not seconds or plugin.get("connectionTimeoutSeconds"):
        return place
    return {**place, "plugin": {**plugin, "connectionTimeoutSeconds": seconds}}


def _sidecar(name: str, image: str) -> dict[str, Any]:
    return {
        "name": f"{ARTIFACT_PLUGIN}{name}",
        "image": image,
        "args": [socket_path(name)],
        "restartPolicy": "Always",
    }


def _configured(state: State, name: str) -> ArtifactPlugin:
    plugin = state.settings.artifact_drivers.get(name)
    if plugin is None:
        raise Problem(f"artifact driver {name} not found")
    return plugin


def _name(holder: Mapping[str, Any] | None) -> str:
    return str(((holder or {}).get("plugin") or {}).get("name") or "")
