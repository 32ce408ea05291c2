"""The events that controllers of pods emit about what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiphys.cluster.controllers.plan.owners import reference_to
from tiphys.machinery.actions import Create, Delete, Emit
from tiphys.machinery.errors import Forbidden
from tiphys.machinery.resources import Resource
from tiphys.runtime.act import Done, EventSink

Object = Mapping[str, Any]


def normal(sink: EventSink, about: Object, resource: Resource, reason: str, message: str) -> None:
    sink.emit(Emit(reference_to(about, resource), "Normal", reason, message))


def warning(sink: EventSink, about: Object, resource: Resource, reason: str, message: str) -> None:
    sink.emit(Emit(reference_to(about, resource), "Warning", reason, message))


def of_pods(sink: EventSink, owner: Object, resource: Resource, outcomes: Sequence[Done]) -> None:
    """Says of each pod that was made or ended, and of each that could not be (source: RealPodControl)."""
    for outcome in outcomes:
        match outcome.action:
            case Create(_, _) if outcome.error is not None:
                if not _namespace_is_leaving(outcome):
                    warning(sink, owner, resource, "FailedCreate", f"Error creating: {outcome.error}")
            case Create(_, _) if outcome.object is not None:
                normal(sink, owner, resource, "SuccessfulCreate", f"Created pod: {outcome.object['metadata']['name']}")
            case Delete(_, key) if outcome.error is not None:
                warning(sink, owner, resource, "FailedDelete", f"Error deleting: {outcome.error}")
            case Delete(_, key):
                normal(sink, owner, resource, "SuccessfulDelete", f"Deleted pod: {key.name}")


def _namespace_is_leaving(outcome: Done) -> bool:
    causes = (outcome.error.details if outcome.error is not None else {}).get("causes") or ()
    return isinstance(outcome.error, Forbidden) and any(c.get("reason") == "NamespaceTerminating" for c in causes)
