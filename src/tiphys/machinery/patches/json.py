"""JSON patch (RFC 6902) as evanphx/json-patch v4 reads it for the API server, with that library's error texts.

    [{"op": add|remove|replace|move|copy|test, "path": pointer, "from": pointer, "value": any}, …]

Where it departs from the RFC we follow it: ``replace`` may create a member of an object, list indexes may be negative
or have leading zeros, an unknown ``~`` escape stays as it is, a missing ``value`` is null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tiphys.machinery.equality import same
from tiphys.machinery.sharedmap import ABSENT, SharedMap

OPERATIONS_MAX: Final = 10_000
COPIED_BYTES_MAX: Final = 3 << 20
_KINDS: Final = ("add", "remove", "replace", "move", "copy", "test")


class JsonPatchError(ValueError):
    """The patch cannot be carried out; the message is the library's."""


class TooManyOperations(JsonPatchError):
    """More than ``OPERATIONS_MAX`` operations."""


class CopiesTooMuch(JsonPatchError):
    """The patch's copies come to more than ``COPIED_BYTES_MAX`` bytes of JSON: each may double all there is."""


def apply(document: Any, patch: Any) -> Any:
    """The patched document; shares what was not touched. Raises JsonPatchError."""
    if not isinstance(patch, list):
        raise JsonPatchError(f"json: cannot unmarshal {_go_kind(patch)} into Go value of type jsonpatch.Patch")
    if len(patch) > OPERATIONS_MAX:
        raise TooManyOperations(f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(patch)}")
    for operation in patch:
        if not isinstance(operation, Mapping | type(None)):
            raise JsonPatchError(
                f"json: cannot unmarshal {_go_kind(operation)} into Go value of type jsonpatch.Operation"
            )
    if patch and not isinstance(document, Mapping | list):
        raise JsonPatchError(f"json: cannot unmarshal {_go_kind(document)} into Go value of type jsonpatch.partialDoc")
    copied = _Copied()
    for operation in patch:
        document = _carry_out(document, operation or {}, copied)
    return document


class _Copied:
    """How many bytes the copies of one patch added."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, value: Any) -> None:
        """Counts about the length of the value's JSON, and no further than the limit."""
        open_values = [value]
        while open_values:
            each = open_values.pop()
            if isinstance(each, Mapping):
                self._bytes += 2 + sum(len(key) + 4 for key in each)
                open_values += each.values()
            elif isinstance(each, list):
                self._bytes += 2 + len(each)
                open_values += each
            else:
                self._bytes += len(each) + 2 if isinstance(each, str) else 4
            if self._bytes > COPIED_BYTES_MAX:
                raise CopiesTooMuch(
                    f"Unable to complete the copy, the accumulated size increase of copy is {self._bytes}, "
                    f"exceeding the limit {COPIED_BYTES_MAX}"
                )


def _carry_out(document: Any, operation: Mapping[str, Any], copied: _Copied) -> Any:
    kind = operation.get("op", "unknown")
    if kind not in _KINDS:
        raise JsonPatchError(f"Unexpected kind: {kind}")
    path = operation.get("path")
    if not isinstance(path, str):
        raise JsonPatchError(f"{kind} operation failed to decode path: missing value")
    value = operation.get("value")
    match kind:
        case "add":
            return _add(document, path, value, f'add operation does not apply: doc is missing path: "{path}"', "add")
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, value)
        case "test":
            _test(document, path, value)
            return document
    source = operation.get("from")
    if not isinstance(source, str):
        raise JsonPatchError(f"{kind} operation failed to decode from: operation, missing from field: missing value")
    if kind == "move":
        return _move(document, source, path)
    return _copy(document, source, path, copied)


def _add(document: Any, path: str, value: Any, missing: str, word: str) -> Any:
    place = _Place.find(document, path)
    if place is None:
        raise JsonPatchError(f"{missing}: missing value")
    try:
        return place.with_added(value)
    except JsonPatchError as err:
        raise JsonPatchError(f"error in {word} for path: '{path}': {err}") from None


def _remove(document: Any, path: str) -> Any:
    place = _Place.find(document, path)
    if place is None:
        raise JsonPatchError(f'remove operation does not apply: doc is missing path: "{path}": missing value')
    try:
        return place.with_removed()
    except JsonPatchError as err:
        raise JsonPatchError(f"error in remove for path: '{path}': {err}") from None


def _replace(document: Any, path: str, value: Any) -> Any:
    if path == "":
        if not isinstance(value, Mapping | list):
            raise JsonPatchError("replace operation value must be object or array")
        return value
    place = _Place.find(document, path)
    if place is None:
        raise JsonPatchError(f"replace operation does not apply: doc is missing path: {path}: missing value")
    try:
        place.get()
    except JsonPatchError:
        raise JsonPatchError(f"replace operation does not apply: doc is missing key: {path}: missing value") from None
    return place.with_set(value)


def _move(document: Any, source: str, path: str) -> Any:
    place = _Place.find(document, source)
    if place is None:
        raise JsonPatchError(f"move operation does not apply: doc is missing from path: {source}: missing value")
    try:
        value = place.get()
        without = place.with_removed()
    except JsonPatchError as err:
        raise JsonPatchError(f"error in move for path: '{place.key}': {err}") from None
    missing = f"move operation does not apply: doc is missing destination path: {path}"
    return _add(without, path, value, missing, "move")


def _copy(document: Any, source: str, path: str, copied: _Copied) -> Any:
    place = _Place.find(document, source)
    if place is None:
        raise JsonPatchError(f"copy operation does not apply: doc is missing from path: {source}: missing value")
    try:
        value = place.get()
    except JsonPatchError as err:
        raise JsonPatchError(f"error in copy for from: '{source}': {err}") from None
    target = _Place.find(document, path)
    if target is None:
        raise JsonPatchError(f"copy operation does not apply: doc is missing destination path: {path}: missing value")
    copied.add(None if value is ABSENT else value)
    try:
        return target.with_added(None if value is ABSENT else value)
    except JsonPatchError as err:
        raise JsonPatchError(f"error while adding value during copy: {err}") from None


def _test(document: Any, path: str, value: Any) -> None:
    if path == "":
        held = document
    else:
        place = _Place.find(document, path)
        if place is None:
            raise JsonPatchError(f"test operation does not apply: is missing path: {path}: missing value")
        try:
            held = place.get()
        except JsonPatchError as err:
            raise JsonPatchError(f"error in test for path: '{path}': {err}") from None
    if not same(None if held is ABSENT else held, value):
        raise JsonPatchError(f"testing value {path} failed: test failed")


class _Place:
    """A key in a container of the document, with the way there; containers are copied, never changed."""

    def __init__(self, way: list[tuple[Any, str]], key: str) -> None:
        self._way = way[:-1]
        self._container = way[-1][0]
        self.key = key

    @classmethod
    def find(cls, document: Any, path: str) -> _Place | None:
        """The place that a pointer names; None where a container on the way is missing."""
        steps = path.split("/")
        if len(steps) < 2:
            return None
        way: list[tuple[Any, str]] = []
        container = document
        keys = [_unescape(step) for step in steps[1:]]
        for key in keys[:-1]:
            way.append((container, key))
            try:
                container = _member(container, key)
            except JsonPatchError:
                return None
            if not isinstance(container, Mapping | list):
                return None
        return cls([*way, (container, keys[-1])], keys[-1])

    def get(self) -> Any:
        """The value; ABSENT for a member that an object does not have. Raises for a bad index."""
        return _member(self._container, self.key)

    def with_added(self, value: Any) -> Any:
        if not isinstance(self._container, list):
            return self._rebuilt(_with_member(self._container, self.key, value))
        size = len(self._container)
        at = size if self.key == "-" else _add_index(self.key, size)
        return self._rebuilt([*self._container[:at], value, *self._container[at:]])

    def with_set(self, value: Any) -> Any:
        if not isinstance(self._container, list):
            return self._rebuilt(_with_member(self._container, self.key, value))
        at = _index(self.key, len(self._container))
        return self._rebuilt([*self._container[:at], value, *self._container[at + 1 :]])

    def with_removed(self) -> Any:
        if isinstance(self._container, list):
            at = _index(self.key, len(self._container))
            return self._rebuilt([*self._container[:at], *self._container[at + 1 :]])
        if self.key not in self._container:
            raise JsonPatchError(f"Unable to remove nonexistent key: {self.key}: missing value")
        return self._rebuilt(_with_member(self._container, self.key, ABSENT))

    def _rebuilt(self, new: Any) -> Any:
        for container, key in reversed(self._way):
            if isinstance(container, list):
                at = _index(key, len(container))
                new = [*container[:at], new, *container[at + 1 :]]
            else:
                new = _with_member(container, key, new)
        return new


def _with_member(container: Mapping[str, Any], key: str, value: Any) -> Mapping[str, Any]:
    if isinstance(container, SharedMap):
        return container.changed({key: value})
    if value is ABSENT:
        return {name: member for name, member in container.items() if name != key}
    return {**container, key: value}


def _member(container: Any, key: str) -> Any:
    if isinstance(container, list):
        return container[_index(key, len(container))]
    return container.get(key, ABSENT)


def _index(key: str, size: int) -> int:
    at = _integer(key)
    if at >= size or at < -size:
        raise JsonPatchError(f"Unable to access invalid index: {at}: invalid index referenced")
    return at if at >= 0 else at + size


def _add_index(key: str, size: int) -> int:
    try:
        at = _integer(key)
    except JsonPatchError as err:
        raise JsonPatchError(f"value was not a proper array index: '{key}': {err}") from None
    if at > size or at < -(size + 1):
        raise JsonPatchError(f"Unable to access invalid index: {at}: invalid index referenced")
    return at if at >= 0 else at + size + 1


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise JsonPatchError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _unescape(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


def _go_kind(value: Any) -> str:
    """What encoding/json calls the value in its complaints."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case list():
            return "array"
        case Mapping():
            return "object"
    return "number"
