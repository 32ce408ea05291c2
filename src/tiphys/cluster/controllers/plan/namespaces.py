"""What a namespace that is going says of what is left in it. Source: status_condition_utils.go of the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tiphys.machinery.times import to_time

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Remaining:
    """Objects left by kind (``pods.``), finalizers left by name, and what could not be deleted."""

    counts: Mapping[str, int]
    finalizers: Mapping[str, int]
    failures: tuple[str, ...] = ()

    def __or__(self, other: Remaining) -> Remaining:
        return Remaining(
            {**self.counts, **other.counts}, {**self.finalizers, **other.finalizers}, (*self.failures, *other.failures)
        )


def conditions(namespace: Object, left: Remaining, now: datetime) -> list[dict[str, Any]]:
    """The five conditions, those that do not change with their time."""
    resources = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(left.counts.items()))
    finalizers = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(left.finalizers.items()))
    failed = "; ".join(left.failures)
    rows = (
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            bool(failed),
            "ContentDeletionFailed" if failed else "ContentDeleted",
            f"Failed to delete all resource types, {len(left.failures)} remaining: {failed}"
            if failed
            else "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(resources),
            "SomeResourcesRemain" if resources else "ContentRemoved",
            f"Some resources are remaining: {resources}" if resources else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {finalizers}"
            if finalizers
            else "All content-preserving finalizers finished",
        ),
    )
    held = {each["type"]: each for each in (namespace.get("status") or {}).get("conditions") or ()}
    return [
        _condition(held.get(kind), kind, "True" if holds else "False", reason, message, now)
        for kind, holds, reason, message in rows
    ]


def _condition(
    held: Mapping[str, Any] | None, kind: str, status: str, reason: str, message: str, now: datetime
) -> dict[str, Any]:
    same = held is not None and held["status"] == status
    since = held["lastTransitionTime"] if held is not None and same else to_time(now)
    return {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
