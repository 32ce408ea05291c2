"""A read-only mapping that shares structure with its predecessor: how a workflow's nodes are kept in memory.

``status.nodes`` of a workflow may hold 100,000 entries of which an update names a few. ``SharedMap`` keeps its entries
in buckets of about 16; ``changed`` copies the list of buckets and those that it touches and shares the rest, so that
both the old and the new map stay valid, and an update costs n / 16 pointers and 16 entries for each change, not n
entries. Small buckets also are what makes many versions cheap to keep (the watch cache does).

A value may be given as ``bytes`` (JSON as it was stored): it is parsed at its first use. Iteration is in no particular
order. Not thread-safe: parsing a value at its first use writes to a bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

ABSENT: Final = object()
"""As a value in ``changed``: remove this key."""

_BUCKETS_MIN = 8
_PER_BUCKET = 16
_PER_BUCKET_MAX = 64


class SharedMap(Mapping[str, Any]):
    """``SharedMap.of(mapping)`` makes one; ``changed`` makes the next one. Compares equal to any equal mapping."""

    __slots__ = ("_buckets", "_size")

    _buckets: list[dict[str, Any]]
    _size: int

    def __init__(self, buckets: list[dict[str, Any]], size: int) -> None:
        self._buckets = buckets
        self._size = size

    @classmethod
    def of(cls, items: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> SharedMap:
        pairs = dict(items)
        return cls(_spread(pairs.items(), len(pairs)), len(pairs))

    def changed(self, changes: Mapping[str, Any]) -> SharedMap:
        """The map with ``changes`` made (``ABSENT`` removes); itself where nothing changed."""
        buckets, copied, size = list(self._buckets), set[int](), self._size
        for key, value in changes.items():
            at = hash(key) % len(buckets)
            old = buckets[at].get(key, ABSENT)
            if old is value or (old is not ABSENT and value is not ABSENT and _parsed(old) == _parsed(value)):
                continue
            if at not in copied:
                buckets[at] = dict(buckets[at])
                copied.add(at)
            if value is ABSENT:
                del buckets[at][key]
            else:
                buckets[at][key] = value
            size += (value is not ABSENT) - (old is not ABSENT)
        if not copied:
            return self
        if size > _PER_BUCKET_MAX * len(buckets):
            buckets = _spread((pair for bucket in buckets for pair in bucket.items()), size)
        return SharedMap(buckets, size)

    def differences(self, newer: Mapping[str, Any]) -> dict[str, Any]:
        """The changes that make ``newer`` of this map; cheap where ``newer`` was made by ``changed``."""
        if not isinstance(newer, SharedMap) or len(newer._buckets) != len(self._buckets):
            return _differences(self, newer)
        found: dict[str, Any] = {}
        for mine, theirs in zip(self._buckets, newer._buckets, strict=True):
            if mine is not theirs:
                found.update(_differences(mine, theirs))
        return found

    def __getitem__(self, key: str) -> Any:
        bucket = self._buckets[hash(key) % len(self._buckets)]
        value = bucket[key]
        if type(value) is bytes:
            value = bucket[key] = orjson.loads(value)
        return value

    def __iter__(self) -> Iterator[str]:
        for bucket in self._buckets:
            yield from bucket

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: object) -> bool:
        return key in self._buckets[hash(key) % len(self._buckets)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self is other or (len(self) == len(other) and not self.differences(other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SharedMap({dict(self)!r})"


def _spread(pairs: Iterable[tuple[str, Any]], size: int) -> list[dict[str, Any]]:
    buckets: list[dict[str, Any]] = [{} for _ in range(max(_BUCKETS_MIN, size // _PER_BUCKET))]
    for key, value in pairs:
        buckets[hash(key) % len(buckets)][key] = value
    return buckets


def _parsed(value: Any) -> Any:
    return orjson.loads(value) if type(value) is bytes else value


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key, ABSENT)
        if before is not value and (before is ABSENT or _parsed(before) != _parsed(value)):
            found[key] = _parsed(value)
    for key in old:
        if key not in new:
            found[key] = ABSENT
    return found
