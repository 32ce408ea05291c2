"""Applies JSONPath templates to data, with client-go's rules for what is missing, nil or of the wrong type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tiphys.lang import gofmt, gojson
from tiphys.lang.jsonpath.parsing import (
    Field,
    Filter,
    Identifier,
    JsonPathError,
    Literal,
    Number,
    Part,
    Path,
    Recursive,
    Slice,
    Text,
    Union,
    Wildcard,
)

RESULTS_MAX: Final = 1_000_000
"""So many values are collected at most: ``..`` and ranges nest."""

DEPTH_MAX: Final = 300
"""Deepest data that ``..`` descends into, and deepest nesting of ranges."""


class _Absent:
    """Go's zero reflect.Value: what a nil document, or a nil element taken as one, is."""

    go_type = "<nil>"

    def go_string(self) -> str:
        return "<no value>"


ABSENT: Final = _Absent()


class Byte(int):
    """A byte of a string, which ``[*]`` and ``..`` take apart."""

    go_type = "uint8"


class Evaluation:
    """One application of a template. Ranges make it stateful: they are steps, not brackets, in this language."""

    def __init__(self, parts: Sequence[Part], allow_missing_keys: bool) -> None:
        self._parts = parts
        self._allow_missing_keys = allow_missing_keys
        self._ranges_begun = 0
        self._ranges_open = 0
        self._ranges_ended = 0
        self._last_end = -1
        self._count = 0

    def find(self, data: Any, first: int = 0) -> list[list[Any]]:
        """The values found by each part from ``first`` on, those inside of a range once for each of its values."""
        if self._ranges_open > DEPTH_MAX:
            raise JsonPathError(f"ranges nested deeper than {DEPTH_MAX}")
        here = [ABSENT if data is None else data]
        found: list[list[Any]] = []
        index = first
        while index < len(self._parts):
            results = self._part(here, self._parts[index])
            self._spend(len(results) + 1)
            if 0 < self._ranges_ended <= self._ranges_open:
                self._ranges_ended -= 1
                self._last_end = index
                break
            if self._ranges_begun > 0:
                found += self._range(results, index + 1)
                index = self._last_end if self._last_end > index else index
            else:
                found.append(results)
            index += 1
        return found

    def _range(self, values: list[Any], first: int) -> list[list[Any]]:
        self._ranges_begun -= 1
        self._ranges_open += 1
        found: list[list[Any]] = []
        for value in values:
            found += self.find(value, first)
        if not values:  # still to find the range's end
            self.find(None, first)
        self._ranges_open -= 1
        return found

    def _spend(self, count: int) -> None:
        self._count += count
        if self._count > RESULTS_MAX:
            raise JsonPathError(f"more than {RESULTS_MAX} values")

    def _part(self, here: list[Any], part: Part) -> list[Any]:
        return [part.text] if isinstance(part, Text) else self._path(here, part)

    def _path(self, values: list[Any], path: Path) -> list[Any]:
        for step in path.steps:
            values = _STEPS[type(step)](self, values, step)
        return values

    def _text(self, _values: list[Any], step: Text) -> list[Any]:
        return [step.text]

    def _number(self, values: list[Any], step: Number) -> list[Any]:
        return [step.value] * len(values)

    def _identifier(self, values: list[Any], step: Identifier) -> list[Any]:
        if step.name == "range":
            self._ranges_begun += 1
            return values
        if step.name != "end":
            raise JsonPathError(f"unrecognized identifier {step.name}")
        if self._ranges_open == 0:
            raise JsonPathError("not in range, nothing to end")
        self._ranges_ended += 1
        return []

    def _field(self, values: list[Any], step: Field) -> list[Any]:
        found = [value[step.name] for value in values if isinstance(value, dict) and step.name in value]
        if values and not found and not self._allow_missing_keys:
            raise JsonPathError(f"{step.name} is not found")
        return found

    def _wildcard(self, values: list[Any], _step: Wildcard) -> list[Any]:
        return [child for value in values for child in _children(value)]

    def _recursive(self, values: list[Any], _step: Recursive) -> list[Any]:
        found: list[Any] = []
        todo = [(value, 0) for value in reversed(values)]
        while todo:
            value, depth = todo.pop()
            children = _children(value)
            if not children:
                continue
            if depth > DEPTH_MAX:
                raise JsonPathError(f"data nested deeper than {DEPTH_MAX}")
            self._spend(len(children))
            found.append(value)
            if not isinstance(value, str):
                todo += [(child, depth + 1) for child in reversed(children)]
        return found

    def _slice(self, values: list[Any], step: Slice) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if value is None:
                continue
            if not isinstance(value, list):
                raise JsonPathError(f"{_type_name(value)} is not array or slice")
            start, end = _bounds(step, len(value))
            if start == end:
                return found
            if step.step is not None and step.step <= 0:
                raise JsonPathError("step must be > 0")
            found += value[start : end : step.step or 1]
        return found

    def _union(self, values: list[Any], step: Union) -> list[Any]:
        return [value for path in step.paths for value in self._path(values, path)]

    def _filter(self, values: list[Any], step: Filter) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if not isinstance(value, list):
                raise JsonPathError(f"{gofmt.sprint(value)} is not array or slice and cannot be filtered")
            self._spend(len(value))
            found += [item for item in value if self._passes(item, step)]
        return found

    def _passes(self, item: Any, step: Filter) -> bool:
        if step.operator == "exists":
            return self._exists(item, step.left)
        left = self._path([item], step.left)
        if not left:
            return False
        if len(left) > 1:
            raise JsonPathError("can only compare one element at a time")
        right = self._path([item], step.right)
        if not right:
            return False
        if len(right) > 1:
            raise JsonPathError("can only compare one element at a time")
        return _compare(left[0], step.operator, right[0])

    def _exists(self, item: Any, path: Path) -> bool:
        """Errors do not count, and all steps but field names leave what they could not work on: that exists."""
        values = [item]
        for step in path.steps:
            try:
                values = _STEPS[type(step)](self, values, step)
            except JsonPathError:
                return bool(values) and not isinstance(step, Field)
        return bool(values)


_STEPS: Final[dict[type, Callable[[Evaluation, list[Any], Any], list[Any]]]] = {
    Text: Evaluation._text,
    Number: Evaluation._number,
    Identifier: Evaluation._identifier,
    Field: Evaluation._field,
    Wildcard: Evaluation._wildcard,
    Recursive: Evaluation._recursive,
    Slice: Evaluation._slice,
    Union: Evaluation._union,
    Filter: Evaluation._filter,
}


def print_values(values: list[Any]) -> str:
    """Values separated by spaces: containers as JSON, strings as they are, a nil as ``null``."""
    return " ".join(map(_printed, values))


def _printed(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        try:
            return gojson.dumps(value)
        except gojson.GoJsonError as err:
            raise JsonPathError(str(err)) from err
    return gofmt.sprint(value)


def _children(value: Any) -> list[Any]:
    """What is directly inside. The original walks maps in random order; here it is the keys'."""
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    if isinstance(value, list):
        return value
    return [Byte(byte) for byte in value.encode("utf-8", "replace")] if isinstance(value, str) else []


def _bounds(step: Slice, length: int) -> tuple[int, int]:
    start = step.start or 0
    if start < 0:
        start += length
    end = length if step.end is None else step.end
    if end < 0 or (end == 0 and step.end_is_derived):
        end += length
    if start == end:  # asking for nothing is always fine
        return start, end
    if not 0 <= start < length:
        raise JsonPathError(f"array index out of bounds: index {start}, length {length}")
    if not 0 <= end <= length:
        raise JsonPathError(f"array index out of bounds: index {end - 1}, length {length}")
    if start > end:
        raise JsonPathError(f"starting index {start} is greater than ending index {end}")
    return start, end


def _compare(left: Any, operator: str, right: Any) -> bool:
    """Go templates' comparison: no conversion between integers and floats."""
    if operator not in ("<", ">", "==", "!=", "<=", ">="):
        raise JsonPathError(f"unrecognized filter operator {operator}")
    kinds = _kind(left), _kind(right)
    if "invalid" in kinds:
        raise JsonPathError("invalid type for comparison")
    if kinds[0] != kinds[1] and set(kinds) != {"int", "uint"}:
        raise JsonPathError("incompatible types for comparison")
    if operator in ("==", "!="):
        return bool(left == right) is (operator == "==")
    if kinds[0] == "bool":
        raise JsonPathError("invalid type for comparison")
    less = bool(left < right)
    if operator in ("<", ">="):
        return less is (operator == "<")
    return (less or bool(left == right)) is (operator == "<=")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Byte):
        return "uint"
    if isinstance(value, int):
        return "int"
    return {float: "float", str: "string"}.get(type(value), "invalid")


def _type_name(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, (Byte, Literal)):
        return value.go_type
    return {bool: "bool", int: "int64", float: "float64", str: "string"}.get(type(value), "<nil>")
