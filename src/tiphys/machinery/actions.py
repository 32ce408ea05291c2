"""What a plan asks for: values, carried out by ``runtime/act.py`` and shown by ``tiphys plan``.

Every action is safe to repeat: names are deterministic, patches carry preconditions where a stale decision could do
harm. A plan never calls anything.

    Plan(actions, wake_at)      actions in one ``Stage`` may run concurrently; a stage starts when the one before ended
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from tiphys.machinery.resources import ObjectKey, Resource


class PatchType(Enum):
    """The four patch kinds; the value is the content type on the wire."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Create:
    """Create ``obj``. Where it exists already with the same controller owner the action counts as done."""

    resource: Resource
    obj: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """Patch an object; a merge patch by default. ``metadata.resourceVersion`` in ``patch`` makes it conditional.

    A merge patch of ``status.nodes`` names only the nodes that changed (fields gone are null, as RFC 7386 says).
    """

    resource: Resource
    key: ObjectKey
    patch: Any
    kind: PatchType = PatchType.MERGE
    subresource: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object if it is (still) the one with this uid; gone already counts as done."""

    resource: Resource
    key: ObjectKey
    uid: str | None = None
    grace_seconds: int | None = None
    propagation: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Emit:
    """Record a Kubernetes Event about ``about`` (an object reference); ``type`` is Normal or Warning."""

    about: Mapping[str, Any]
    type: str
    reason: str
    message: str
    annotations: Mapping[str, str] = field(default_factory=dict)


Action = Create | Patch | Delete | Emit


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of a decision.

    ``stages`` are carried out in order; the actions of one stage concurrently. ``wake_at`` is when to look again if
    nothing happens before (UTC), None for "only when something changes". ``waits`` says in sentences, for
    ``tiphys explain``, what keeps each waiting thing (by object or node name).
    """

    stages: tuple[tuple[Action, ...], ...] = ()
    wake_at: datetime | None = None
    waits: Mapping[str, str] = field(default_factory=dict)

    @property
    def actions(self) -> tuple[Action, ...]:
        return tuple(action for stage in self.stages for action in stage)
