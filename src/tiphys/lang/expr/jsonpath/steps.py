"""The steps of a path: what each finds in a value, and how the rest of the path goes on from there.

A step that finds one value hands it to the rest of the path. A step that finds several applies the rest to each and
drops what fails or is null, unless the rest starts with an index, which then picks from the whole list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tiphys.lang.expr.jsonpath.errors import JsonPathError
from tiphys.lang.gotext import utf8
from tiphys.lang.govalues import Int64, kind_of

STEPS_MAX = 200_000
"""Steps that one query may take; ``..`` over a deep document multiplies quickly."""

DEPTH_MAX = 100
"""Levels of a document that ``..`` descends."""


class Run:
    """One query: the document, and how much of its budget is used."""

    __slots__ = ("_taken", "root")

    def __init__(self, root: Any) -> None:
        self.root = root
        self._taken = 0

    def step(self) -> None:
        self._taken += 1
        if self._taken > STEPS_MAX:
            raise TooMuch(f"the query takes more than {STEPS_MAX} steps")


class TooMuch(JsonPathError):
    """A budget is used up: unlike other failures this one is never taken for "not found"."""


class Step(Protocol):
    """One step of a path."""

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        """What this step and the ``rest`` find in ``value``. Raises JsonPathError."""


Evaluate = Callable[[Run, Any], Any]
"""A compiled expression: the run, the current element → a value. Raises JsonPathError."""


def go_on(run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
    """Applies the rest of the path."""
    run.step()
    return rest[0].apply(run, value, rest[1:]) if rest else value


def as_integer(value: Any) -> int | None:
    """A whole number as an int, None for everything else."""
    if isinstance(value, float):
        return int(value) if value == value and abs(value) != float("inf") and value == int(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def wrong_target(step: str, value: Any, *expected: str) -> JsonPathError:
    """The value is of a kind that this step cannot go into."""
    found = "nil" if value is None else kind_of(value)
    return JsonPathError(f"{step}: invalid token target. expected [{' '.join(expected)}] got [{found}]")


def members(value: dict[str, Any]) -> list[Any]:
    """The values of a map in the order of its keys."""
    return [value[key] for key in sorted(value)]


def _for_each(run: Run, values: Iterable[Any], rest: tuple[Step, ...]) -> Any:
    """Several values: each goes on alone, or all together where an index follows."""
    if not rest:
        return list(values)
    if isinstance(rest[0], Index):
        return go_on(run, list(values), rest)
    found = (_quietly(run, value, rest) for value in values)
    return [one for one in found if one is not None]


def _quietly(run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
    try:
        return go_on(run, value, rest)
    except TooMuch:
        raise
    except JsonPathError:
        return None


class Root:
    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        return go_on(run, run.root, rest)


class Current:
    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        return go_on(run, value, rest)


@dataclass(frozen=True)
class Key:
    name: str

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if not isinstance(value, dict):
            raise wrong_target("key", value, "map")
        if self.name not in value:
            raise JsonPathError(f"key: invalid token key '{self.name}' not found")
        return go_on(run, value[self.name], rest)


class Length:
    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if isinstance(value, dict) and "length" in value:
            return go_on(run, value["length"], rest)
        if not isinstance(value, dict | list | str):
            raise wrong_target("length", value, "array", "map", "slice", "string")
        length = len(utf8(value)) if isinstance(value, str) else len(value)
        return go_on(run, Int64(length), rest)


@dataclass(frozen=True)
class Index:
    index: int

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if not isinstance(value, list):
            raise wrong_target("index", value, "array", "slice")
        index = self.index + len(value) if self.index < 0 else self.index
        if not 0 <= index < len(value):
            raise JsonPathError("index: invalid token out of range")
        return go_on(run, value[index], rest)


class Wildcard:
    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if not isinstance(value, dict | list):
            raise wrong_target("wildcard", value, "array", "map", "slice")
        values = members(value) if isinstance(value, dict) else value
        # Unlike the other steps with several values this one does not keep them together for an index.
        found = (_quietly(run, one, rest) for one in values) if rest else values
        return [one for one in found if one is not None or not rest]


class Recursive:
    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        found: list[Any] = []
        self._descend(run, value, rest, found, 0)
        return found

    def _descend(self, run: Run, value: Any, rest: tuple[Step, ...], found: list[Any], depth: int) -> None:
        if depth > DEPTH_MAX:
            raise TooMuch(f"the document is nested too deeply (at most {DEPTH_MAX} levels)")
        if value is None:
            return
        here = _quietly(run, value, rest) if rest else value
        if rest and isinstance(here, list):
            found.extend(here)
        elif here is not None:
            found.append(here)
        if isinstance(value, dict | list):
            for one in members(value) if isinstance(value, dict) else value:
                self._descend(run, one, rest, found, depth + 1)


@dataclass(frozen=True)
class Filter:
    evaluate: Evaluate | None

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if self.evaluate is None:
            raise JsonPathError("invalid expression. is empty")
        if not isinstance(value, dict | list):
            raise wrong_target("filter", value, "array", "map", "slice")
        chosen = [one for one in (members(value) if isinstance(value, dict) else value) if self._holds(run, one)]
        return _for_each(run, chosen, rest)

    def _holds(self, run: Run, value: Any) -> bool:
        run.step()
        try:
            result = self.evaluate(run, value) if self.evaluate else None
        except TooMuch:
            raise
        except JsonPathError:
            return False
        if isinstance(result, str):
            quoted = len(result) > 1 and result[0] == result[-1] and result[0] in "'\""
            return (result[1:-1] if quoted else result) != ""
        return bool(result)


@dataclass(frozen=True)
class Script:
    evaluate: Evaluate | None

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if self.evaluate is None:
            raise JsonPathError("invalid expression. is empty")
        result = evaluated(self.evaluate, run, value)
        if isinstance(result, str):
            return Key(result).apply(run, value, rest)
        index = as_integer(result)
        if index is not None:
            return Index(index).apply(run, value, rest)
        found = "nil" if result is None else kind_of(result)
        raise JsonPathError(f"unexpected expression result. expected [int string] got [{found}]")


def evaluated(evaluate: Evaluate, run: Run, value: Any) -> Any:
    """The value of an expression whose failure matters."""
    try:
        return evaluate(run, value)
    except TooMuch:
        raise
    except JsonPathError as err:
        raise JsonPathError(as_expression_problem(str(err))) from None


def as_expression_problem(text: str) -> str:
    """A message that says that an expression is at fault."""
    return text if text.startswith("invalid expression") else f"invalid expression. {text}"


Argument = int | str | Evaluate | None
"""A bound of a range or a member of a union: a number, a name, an expression."""


def _argument(step: str, argument: Argument, run: Run, value: Any) -> Any:
    if not callable(argument):
        return argument
    try:
        return evaluated(argument, run, value)
    except TooMuch:
        raise
    except JsonPathError as err:
        raise JsonPathError(f"{step}: invalid token {err}") from None


@dataclass(frozen=True)
class Range:
    start: Argument
    stop: Argument
    stride: Argument

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        if not isinstance(value, list):
            raise wrong_target("range", value, "array", "slice")
        length = len(value)
        start = self._bound(run, value, self.start, 0)
        stop = self._bound(run, value, self.stop, length)
        stride = 1 if self.stride is None else self._integer(run, value, self.stride)
        if stride == 0:
            raise JsonPathError("range: invalid token out of range")
        places = range(start, stop, stride) if stride > 0 else range(stop - 1, start - 1, stride)
        return _for_each(run, (value[place] for place in places), rest)

    def _bound(self, run: Run, value: list[Any], argument: Argument, default: int) -> int:
        if argument is None:
            return default
        bound = self._integer(run, value, argument)
        bound += len(value) if bound < 0 else 0
        return min(max(bound, 0), len(value))

    def _integer(self, run: Run, value: Any, argument: Argument) -> int:
        result = _argument("range", argument, run, value)
        found = as_integer(result)
        if found is None:
            shown = "nil" if result is None else kind_of(result)
            raise JsonPathError(f"range: invalid token unexpected expression result. expected [int] got [{shown}]")
        return found


@dataclass(frozen=True)
class Union:
    arguments: tuple[Argument, ...]

    def apply(self, run: Run, value: Any, rest: tuple[Step, ...]) -> Any:
        keys: list[str] = []
        indexes: list[int] = []
        for argument in self.arguments:
            wanted = _argument("union", argument, run, value)
            index = as_integer(wanted)
            if isinstance(wanted, str):
                keys.append(wanted)
            elif index is not None:
                indexes.append(index)
            else:
                raise _bad_argument("nil" if wanted is None else kind_of(wanted), "int string")
            if keys and indexes:
                raise _bad_argument(*(("string", "int") if isinstance(wanted, str) else ("int", "string")))
        return _for_each(run, self._by_key(value, keys) if keys else self._by_index(value, indexes), rest)

    def _by_key(self, value: Any, keys: list[str]) -> list[Any]:
        if not isinstance(value, dict):
            raise wrong_target("union", value, "map")
        return [value[key] for key in keys if key in value]

    def _by_index(self, value: Any, indexes: list[int]) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_target("union", value, "array", "slice")
        return [value[index] for index in indexes if -len(value) <= index < len(value)]


def _bad_argument(found: str, expected: str) -> JsonPathError:
    return JsonPathError(f"union: invalid token argument. expected [{expected}] got [{found}]")
