"""Walks a document's text along a path. This is gjson's Get, with a limit on nesting and on the work done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tiphys.lang.gjson import modifiers, paths, wildcards
from tiphys.lang.gjson.paths import ArrayStep, Query
from tiphys.lang.gjson.scanning import (
    ELEMENT_START,
    VALUE_START,
    GjsonError,
    Value,
    parse,
    parse_float,
    printed,
    string_end,
    unescape,
    value_at,
)

PATH_LENGTH_MAX: Final = 64 * 1024
DEPTH_MAX: Final = 120
"""Pipes, queries and multipaths within each other, and levels of the document that one path descends."""
STEPS_MAX: Final = 1_000_000
"""Values looked at in one search; queries within queries multiply."""


class Search:
    """One evaluation of a path, with its budget."""

    def __init__(self) -> None:
        self._depth = 0
        self._steps = 0

    def get(self, json: str, path: str) -> Value:
        """The value at the path, or a `Value` that does not exist."""
        self._depth += 1
        self.spend()
        if self._depth > DEPTH_MAX:
            raise GjsonError(f"nested deeper than {DEPTH_MAX}")
        try:
            return self._get(json, path)
        finally:
            self._depth -= 1

    def spend(self) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise GjsonError(f"more than {STEPS_MAX} steps")

    def _get(self, json: str, path: str) -> Value:
        if len(path) > 1 and path[0] in "@!":
            applied = modifiers.apply(self, json, path) if path[0] == "@" else modifiers.static(path)
            if applied is not None:
                result, rest = applied
                return self.get(result, rest[1:]) if rest[:1] in ("|", ".") else parse(result)
        if len(path) > 1 and path[0] in "[{":
            selected = self._multipath(json, path)
            if isinstance(selected, Value):
                return selected
            path = selected
        return self._walk(json, path)

    def _walk(self, json: str, path: str) -> Value:
        if path[:2] == "..":
            found, pipe = _Walk(self, json).array(0, path[2:])
        else:
            start = min((at for at in (json.find("{"), json.find("[")) if at >= 0), default=-1)
            if start < 0:
                return Value()
            walk = _Walk(self, json)
            found, pipe = (walk.object if json[start] == "{" else walk.array)(start + 1, path)
        return found if pipe is None else self.get(found.raw, pipe)

    def _multipath(self, json: str, path: str) -> Value | str:
        """The list or object of what was selected; or, where the multipath is none, the path that is left of it."""
        parsed = paths.selections(path)
        if parsed is None:
            return ""
        selections, rest = parsed
        if rest[:1] not in ("", "|", "."):
            return rest
        entries: list[str] = []
        for selection in selections:
            found = self.get(json, selection.path)
            if found.exists:
                name = modifiers.entry_name(selection) + ":" if path[0] == "{" else ""
                entries.append(name + (found.raw or printed(found) or "null"))
        raw = path[0] + ",".join(entries) + ("}" if path[0] == "{" else "]")
        return self.get(raw, rest[1:]) if rest else Value("JSON", raw)


class _Walk:
    """The descent through one text. Both methods give what was found and the pipe that the path ended with, if any."""

    def __init__(self, search: Search, json: str) -> None:
        self._search = search
        self._json = json

    def object(self, at: int, path: str) -> tuple[Value, str | None]:
        found, pipe, _ = self._object(at, path, 0)
        return found or Value(), pipe

    def array(self, at: int, path: str) -> tuple[Value, str | None]:
        found, pipe, _ = self._array(at, path, 0)
        return found or Value(), pipe

    def _object(self, at: int, path: str, level: int) -> tuple[Value | None, str | None, int]:
        """Found value or None, pipe, and where the object ended."""
        json = self._json
        step = paths.object_step(path)
        pipe = step.pipe
        while at < len(json):
            quote, end = json.find('"', at), json.find("}", at)
            if end >= 0 and (quote < 0 or end < quote):
                return None, pipe, end + 1
            if quote < 0 or (at := string_end(json, quote)) < 0:
                return None, pipe, len(json)
            self._search.spend()
            key = unescape(json[quote + 1 : at - 1])
            is_match = wildcards.matches(key, step.key) if step.is_wild else key == step.key
            start = VALUE_START.search(json, at)
            if start is None:
                return None, pipe, len(json)
            if is_match and step.has_rest and start.group() in "{[":
                found, inner_pipe, at = self._inside(start.start(), step.rest, level)
                pipe = inner_pipe if inner_pipe is not None else pipe
                if found is not None:
                    return found, pipe, at
                continue
            value = value_at(json, start.start())
            if value is None:
                return None, pipe, len(json)
            if is_match and not step.has_rest:
                return value[0], pipe, value[1]
            at = value[1]
        return None, pipe, len(json)

    def _inside(self, at: int, path: str, level: int) -> tuple[Value | None, str | None, int]:
        if level > DEPTH_MAX:
            raise GjsonError(f"path deeper than {DEPTH_MAX}")
        descend = self._object if self._json[at] == "{" else self._array
        return descend(at + 1, path, level + 1)

    def _array(self, at: int, path: str, level: int) -> tuple[Value | None, str | None, int]:
        step = paths.array_step(path)
        if step.query is not None:
            return self._queried(at, step, step.query)
        json = self._json
        pipe = step.pipe
        wanted = int(step.part) if step.part.isascii() and step.part.isdigit() and len(step.part) < 19 else -1
        count = 0
        elements: list[Value] = []
        while at <= len(json):
            start = ELEMENT_START.search(json, at)
            if start is None or start.group() == "]":
                end = len(json) if start is None else start.start()
                found, each_pipe = self._counted(step, count, elements)
                return found, each_pipe if each_pipe is not None else pipe, end + 1
            self._search.spend()
            is_match = not step.has_hash and count == wanted
            count += 1
            if is_match and step.has_rest and start.group() in "{[":
                found, inner_pipe, at = self._inside(start.start(), step.rest, level)
                pipe = inner_pipe if inner_pipe is not None else pipe
                if found is not None:
                    return found, pipe, at
                continue
            value = value_at(json, start.start())
            if value is None:
                return None, pipe, len(json)
            if is_match and not step.has_rest:
                return value[0], pipe, value[1]
            if step.each is not None:
                elements.append(value[0])
            at = value[1]
        return None, pipe, at

    def _counted(self, step: ArrayStep, count: int, elements: list[Value]) -> tuple[Value | None, str | None]:
        """What ``#`` gives at an array's end: its length, or with a key the list of that key's values."""
        if step.part != "#":
            return None, None
        if step.each is None:
            return Value("Number", str(count), number=float(count)), None
        split = paths.split_pipe(step.each)
        key, pipe = split if split is not None else (step.each, None)
        found = (self._search.get(element.raw, key) for element in elements)
        listed = ",".join(each.raw or printed(each) for each in found if each.exists)
        return Value("JSON", f"[{listed}]"), pipe

    def _queried(self, at: int, step: ArrayStep, query: Query) -> tuple[Value | None, str | None, int]:
        json = self._json
        pipe = step.pipe
        rest = step.rest
        matched: list[str] = []
        while True:
            start = ELEMENT_START.search(json, at)
            if start is None or start.group() == "]":
                at = len(json) if start is None else start.start()
                found = Value("JSON", f"[{','.join(matched)}]") if query.all else None
                return found, pipe, at + 1
            self._search.spend()
            value = value_at(json, start.start())
            if value is None:
                return None, pipe, len(json)
            element, at = value
            if not self._passes(element, query):
                continue
            if step.has_rest and (split := paths.split_pipe(rest)) is not None:
                rest, pipe = split
            result = self._search.get(element.raw, rest) if step.has_rest else element
            if not query.all:
                return result, pipe, at
            if raw := result.raw or printed(result):
                matched.append(raw)

    def _passes(self, element: Value, query: Query) -> bool:
        if element.kind == "JSON":
            return satisfies(self._search.get(element.raw, query.path), query)
        return not query.path and satisfies(element, query)


def satisfies(value: Value, query: Query) -> bool:
    """Whether a value passes the condition of a query."""
    wanted = query.value
    if wanted[:1] == "~":
        claim = _TRUTHS.get(wanted[1:])
        if claim is None:
            return False
        value, wanted = Value("True" if claim(value) else "False"), "true"
    if not value.exists:
        return False
    if not query.operator:
        return True
    if value.kind == "String":
        return _compare_text(value.text, query.operator, wanted)
    if value.kind == "Number":
        return _compare_numbers(value.number, query.operator, wanted)
    return (value.kind, query.operator, wanted) in _BOOLEAN or (
        (value.kind, query.operator) in _BOOLEAN_NOT and (wanted != _BOOLEAN_NOT[value.kind, query.operator])
    )


_BOOLEAN: Final = frozenset(
    {
        ("True", "=", "true"),
        ("True", ">", "false"),
        ("False", "=", "false"),
        ("False", "<", "true"),
    }
)
# satisfied by every value but this one
_BOOLEAN_NOT: Final[dict[tuple[str, str], str | None]] = {
    ("True", "!="): "true",
    ("True", ">="): None,
    ("False", "!="): "false",
    ("False", "<="): None,
}


def _compare_text(left: str, operator: str, right: str) -> bool:
    if operator in ("%", "!%"):
        return wildcards.matches(left, right) is (operator == "%")
    return _ordered((left > right) - (left < right), operator)


def _compare_numbers(left: float, operator: str, right: str) -> bool:
    number = parse_float(right)
    if left != left or number != number:
        return operator == "!="
    return _ordered((left > number) - (left < number), operator)


def _ordered(sign: int, operator: str) -> bool:
    signs = {"=": (0,), "!=": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
    return sign in signs.get(operator, ())


def _is_trueish(value: Value) -> bool:
    if value.kind == "String":
        return value.text.lower() in ("1", "t", "true")
    return value.kind == "True" or (value.kind == "Number" and value.number != 0)


def _is_falseish(value: Value) -> bool:
    if value.kind == "String":
        return value.text.lower() in ("0", "f", "false")
    return value.kind in ("Null", "False") or (value.kind == "Number" and value.number == 0)


_TRUTHS: Final[dict[str, Callable[[Value], bool]]] = {
    "*": lambda value: value.exists,
    "null": lambda value: value.kind == "Null",
    "true": _is_trueish,
    "false": _is_falseish,
}
