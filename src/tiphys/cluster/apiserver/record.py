"""An object as the store keeps it: JSON bytes and a parsed view, each made from the other when first asked for.

Bytes are what lists, watches and the disk need, and are six times smaller than parsed objects; the view is what
in-process readers get. Both are read-only and shared by everybody. ``WarmViews`` bounds how many views stay parsed.

Canonical bytes start with kind and apiVersion, so that a list can leave them out by slicing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from sys import getrefcount
from typing import Any

import orjson

Object = dict[str, Any]

_MINE = 2
_LOOKS_PER_VIEW = 2
"""More than one, so that what waits for its holders to let go becomes fewer."""


class Record:
    """One version of one object. ``id`` names the object for its whole life, ``version`` this state of it.

    ``is_current``: this is what the object is now (the store's to say).
    """

    __slots__ = ("_bytes", "_fields", "_labels", "_view", "id", "is_current", "key", "version")

    def __init__(self, key: str, id: int, version: int, view: Object | None = None, body: bytes | None = None) -> None:
        self.key = key
        self.id = id
        self.version = version
        self.is_current = False
        self._view = view
        self._bytes = body
        self._labels: Mapping[str, str] | None = None
        self._fields: Mapping[str, str] | None = None

    @property
    def view(self) -> Object:
        view = self._view
        if view is None:
            view = self._view = orjson.loads(self._bytes or b"null")
        return view

    @property
    def is_parsed(self) -> bool:
        return self._view is not None

    @property
    def bytes(self) -> bytes:
        self.encode()
        return self._bytes or b"null"

    @property
    def labels(self) -> Mapping[str, str]:
        if self._labels is None:
            self._labels = self.view["metadata"].get("labels") or {}
        return self._labels

    def fields(self, read: Callable[[Object], Mapping[str, str]]) -> Mapping[str, str]:
        """The selectable fields; ``read`` must be the same function at every call."""
        if self._fields is None:
            self._fields = read(self.view)
        return self._fields

    def at_version(self, version: int) -> Record:
        """The same state under another resourceVersion (the last event of an object, or of its stay in a selector)."""
        meta = self.view["metadata"] | {"resourceVersion": str(version)}
        return Record(self.key, self.id, version, self.view | {"metadata": meta})

    def encode(self) -> None:
        """Makes the bytes now."""
        if self._bytes is None:
            # orjson 3.13 gives a text the block it was written in, several times its length: kept is a copy
            self._bytes = bytes(memoryview(encode(self._view)))

    @property
    def is_sole_holder(self) -> bool:
        """Whether nobody else has the view (one reference is the argument's)."""
        return self._view is not None and getrefcount(self._view) <= _MINE

    def cool(self) -> None:
        """Drops the view where the bytes can give it back."""
        if self._bytes is not None:
            self._view = None


class WarmViews:
    """Keeps the ``limit`` most recently parsed views, cools the rest (first in, first out).

    Where no journal makes their bytes (``makes_bytes``), bytes are made of those records that are current and whose
    view nobody else holds: beside a view in somebody's cache they would only be more. A view that is held now is
    looked at again later, since caches that lag behind let go as well.
    """

    def __init__(self, limit: int, makes_bytes: bool) -> None:
        self._limit = limit
        self._makes_bytes = makes_bytes
        self._records: deque[Record] = deque()

    def add(self, record: Record) -> None:
        self._records.append(record)
        for _ in range(_LOOKS_PER_VIEW):
            if len(self._records) > self._limit:
                self._cool(self._records.popleft())

    def _cool(self, cooling: Record) -> None:
        if self._makes_bytes and cooling.is_current:
            if not cooling.is_sole_holder:
                self._records.append(cooling)
                return
            cooling.encode()
        cooling.cool()


def encode(view: Any) -> bytes:
    return orjson.dumps(view, default=_plain)


def isolated(value: Any) -> Any:
    """A private, plain copy of what a caller handed in; a JSON round trip is the cheapest deep copy there is.

    Raises TypeError or ValueError for what JSON cannot say.
    """
    return orjson.loads(encode(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an object")
