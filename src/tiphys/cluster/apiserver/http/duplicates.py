"""Keys that stand twice in a JSON object, for field validation: fast parsers keep the last one silently."""

from __future__ import annotations

import json
from typing import Any, Final

DUPLICATES_MAX: Final = 32


class _Repeated(dict[str, Any]):
    """An object of which some keys were given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]], repeated: list[str]) -> None:
        super().__init__(pairs)
        self.repeated = repeated


def duplicate_fields(content: bytes) -> list[str]:
    """Paths such as ``spec.containers[0].image``, in the order of the document; at most ``DUPLICATES_MAX``."""
    try:
        document = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return []  # said elsewhere
    found: list[str] = []
    _collect(document, "", found)
    return found[:DUPLICATES_MAX]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys: set[str] = set()
    repeated: list[str] = []
    for key, _ in pairs:
        if key in keys and key not in repeated:
            repeated.append(key)
        keys.add(key)
    return _Repeated(pairs, repeated) if repeated else dict(pairs)


def _collect(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, dict):
        if isinstance(value, _Repeated):
            found.extend(f"{path}.{key}" if path else key for key in value.repeated)
        for key, member in value.items():
            _collect(member, f"{path}.{key}" if path else key, found)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            _collect(item, f"{path}[{at}]", found)
