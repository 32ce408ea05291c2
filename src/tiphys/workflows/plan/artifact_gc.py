"""Whether artifacts of a workflow are to be deleted: then a finalizer keeps it until they are (``artifactGC``).

Decided once, when the workflow is first seen. What happens when it has ended is `artifact_collection`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan.nodes import COMPLETED

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

FINALIZER = "workflows.argoproj.io/artifact-gc"
NEVER = ("", "Never")


def add_finalizer(state: State) -> None:
    """Adds the finalizer where an output artifact asks to be deleted."""
    if not state.settings.artifact_gc or FINALIZER in state.finalizers:
        return
    known = state.status.get("artifactGCStatus") or {}
    if known.get("notSpecified"):
        return
    if _is_wanted(state):
        state.finalizers.append(FINALIZER)
    else:
        state.status["artifactGCStatus"] = {**known, "notSpecified": True}


def is_over(state: State) -> bool:
    """Whether the workflow ended and no artifact is left to be deleted: the original then writes in every pass."""
    if not state.settings.artifact_gc or state.phase not in COMPLETED:
        return False
    artifacts = (a for node in state.nodes for a in (node.outputs or {}).get("artifacts") or ())
    return all(a.get("deleted") or strategy(state.spec, a) in NEVER for a in artifacts)


def _is_wanted(state: State) -> bool:
    templates = [*(state.spec.get("templates") or ()), *state.stored_templates.values()]
    artifacts = (a for template in templates for a in (template.get("outputs") or {}).get("artifacts") or ())
    return any(strategy(state.spec, artifact) not in NEVER for artifact in artifacts)


def strategy(spec: Mapping[str, Any], artifact: Mapping[str, Any]) -> str:
    """When an artifact is deleted: its own word, else the workflow's."""
    return _strategy(artifact) or _strategy(spec) or "Never"


def _strategy(holder: Mapping[str, Any]) -> str:
    return str((holder.get("artifactGC") or {}).get("strategy") or "")
