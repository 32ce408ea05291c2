"""What a sync asks of a cluster. A pass yields *stages*: the operations of one stage may run at the same time, the next
stage begins when all of them were answered (``cd/act.py`` carries them out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tiphys.cd.plan.objects import Object, ResourceKey
from tiphys.machinery.errors import ApiError


@dataclass(frozen=True, slots=True)
class Get:
    """Read an object anew, beside every cache."""

    api_version: str
    key: ResourceKey


@dataclass(frozen=True, slots=True)
class Apply:
    """``kubectl apply``: client side with the last-applied annotation, or server side. The dry run sends nothing."""

    obj: Object
    dry_run: bool
    force: bool
    validate: bool
    server_side: bool
    manager: str


@dataclass(frozen=True, slots=True)
class Create:
    obj: Object
    dry_run: bool
    validate: bool


@dataclass(frozen=True, slots=True)
class Replace:
    """``kubectl replace``; with ``force`` the object is deleted and made again."""

    obj: Object
    dry_run: bool
    force: bool


@dataclass(frozen=True, slots=True)
class Update:
    """A plain PUT with the resourceVersion that the object carries."""

    obj: Object
    dry_run: bool


@dataclass(frozen=True, slots=True)
class SetFinalizers:
    """Writes the finalizers of a live object, on the condition that it is still the same version."""

    obj: Object


@dataclass(frozen=True, slots=True)
class MigrateFields:
    """Moves what ``old`` manages by client-side apply to ``new``; nothing where ``old`` manages nothing any more."""

    obj: Object
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Deletes an object. ``what`` says whether it is pruned or a hook whose time is over."""

    api_version: str
    key: ResourceKey
    what: Literal["prune", "hook"]
    propagation: str
    uid: str = ""


Operation = Get | Apply | Create | Replace | Update | SetFinalizers | MigrateFields | Remove
Stage = tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an operation: the object or the tool's words, or the refusal."""

    object: Object | None = None
    message: str = ""
    error: ApiError | None = None


Answers = tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class ApiResource:
    """What discovery says of a kind."""

    plural: str
    namespaced: bool


class UnknownKind(Exception):
    """Discovery knows no such kind; ``is_absent`` where the server said so, false where it could not be asked."""

    def __init__(self, message: str, *, is_absent: bool = True) -> None:
        super().__init__(message)
        self.is_absent = is_absent


def plain(operation: Operation) -> Mapping[str, Any]:
    """An operation as JSON, for plans and recordings."""
    fields = {name: getattr(operation, name) for name in operation.__slots__}
    return {"operation": type(operation).__name__, **fields}
