"""Artifact plugins: drivers of their own, run by images that the controller's settings name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import Template


def check(state: State, template: Template) -> None:
    """Raises `Problem` for an output whose plugin is not configured."""
    for name in names(state, template, "outputs"):
        if name not in state.settings.artifact_drivers:
            raise Problem(f"artifact driver {name} not found")


def names(state: State, template: Template, where: str) -> Iterable[str]:
    """The plugins that a template's inputs or outputs need: their own, the template's or the repository's."""
    repository = state.artifact_repository or {}
    default = _name(template.get("archiveLocation")) or _name(repository)
    found = [_name(artifact) or default for artifact in (template.get(where) or {}).get("artifacts") or ()]
    if where == "outputs" and repository.get("archiveLogs"):
        found.append(_name(repository))
    return sorted({name for name in found if name})


def _name(holder: Mapping[str, Any] | None) -> str:
    return str(((holder or {}).get("plugin") or {}).get("name") or "")
