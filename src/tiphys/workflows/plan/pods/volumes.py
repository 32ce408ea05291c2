"""The volumes of a pod: those that its containers mount, and secrets that artifacts need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.templates import Template

if TYPE_CHECKING:
    from tiphys.workflows.plan.pods.build import Draft

Mount = Mapping[str, Any]


def add_references(draft: Draft) -> None:
    """Adds the volumes that mounts of the template name: its own, the workflow's, or made from claim templates."""
    state, template, spec = draft.state, draft.template, draft.spec
    known = {v["name"]: v for v in state.status.get("persistentVolumeClaims") or ()}
    known.update((v["name"], v) for v in state.volumes)
    known.update((v["name"], v) for v in template.get("volumes") or ())
    present = {v["name"]: None for v in spec.get("volumes") or ()}
    for volume in template.get("volumes") or ():
        if volume["name"] not in present:
            present[volume["name"]] = None
            spec.setdefault("volumes", []).append(volume)
    for mount in _all_mounts(template):
        name = mount.get("name", "")
        if name not in known:
            raise Problem(f"volume '{name}' not found in workflow spec")
        if name not in present:
            present[name] = None
            spec.setdefault("volumes", []).append(known[name])


def main_mounts(template: Template) -> list[Mount]:
    """The mounts that a template's main containers share by its own words."""
    for kind in ("container", "script", "containerSet"):
        if template.get(kind) is not None:
            return list(template[kind].get("volumeMounts") or ())
    return []


def _all_mounts(template: Template) -> Iterable[Mount]:
    yield from main_mounts(template)
    for kind in ("initContainers", "sidecars"):
        for container in template.get(kind) or ():
            yield from container.get("volumeMounts") or ()


def user_container(container: Mapping[str, Any], main: Mapping[str, Any] | None) -> dict[str, Any]:
    """A sidecar or init container of the user; ``mirrorVolumeMounts`` gives it the mounts of main."""
    made = {key: value for key, value in container.items() if key != "mirrorVolumeMounts"}
    if container.get("mirrorVolumeMounts") and main is not None:
        made["volumeMounts"] = [*(made.get("volumeMounts") or ()), *(main.get("volumeMounts") or ())]
    return made


def overlapping(template: Template, path: str) -> Mount | None:
    """The mount of the user that holds a path, the longest first."""
    return next((mount for mount in longest_first(template) if _is_within(mount.get("mountPath", ""), path)), None)


def longest_first(template: Template) -> list[Mount]:
    """The mounts of the user, the longest path first."""
    return sorted(main_mounts(template), key=lambda mount: -len(mount.get("mountPath", "")))


def _is_within(base: str, target: str) -> bool:
    base = base.rstrip("/")
    return target == base or target.startswith(base + "/") or (base == "" and target.startswith("/"))
