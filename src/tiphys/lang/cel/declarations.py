"""What an expression may refer to: functions with their overloads, variables, types.

A function knows, beside its overloads, what a call costs when it runs (`Cost`) and what it may cost at most as far as
the text tells (`Estimate`); both are given by the library that declares it, and default to cel-go's own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.lang.cel import types
from tiphys.lang.cel.types import Type


@dataclass(frozen=True)
class Overload:
    """One signature; for a member function the first argument is the target. ``run`` gets the values."""

    id: str
    args: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    is_member: bool = False


def member(id: str, args: Iterable[Type], result: Type, run: Callable[..., Any]) -> Overload:
    return Overload(id, tuple(args), result, run, is_member=True)


def plain(id: str, args: Iterable[Type], result: Type, run: Callable[..., Any]) -> Overload:
    return Overload(id, tuple(args), result, run)


Functions = Mapping[str, tuple[Overload, ...]]


@dataclass(frozen=True)
class Environment:
    """Everything declared. ``structs`` maps a struct's name to its fields; ``type_names`` what denotes a type."""

    functions: Functions
    variables: Mapping[str, Type] = field(default_factory=dict)
    structs: Mapping[str, Mapping[str, Type]] = field(default_factory=dict)
    type_names: Mapping[str, Type] = field(default_factory=dict)

    def with_variables(
        self, variables: Mapping[str, Type], structs: Mapping[str, Mapping[str, Type]] | None = None
    ) -> Environment:
        """The same with other variables, and structs for them."""
        return Environment(self.functions, variables, structs or {}, self.type_names)


def merged(*libraries: Functions) -> dict[str, tuple[Overload, ...]]:
    """Libraries as one; overloads of the same name add up, in order."""
    found: dict[str, tuple[Overload, ...]] = {}
    for library in libraries:
        for name, overloads in library.items():
            found[name] = found.get(name, ()) + overloads
    return found


TYPE_NAMES: Mapping[str, Type] = {
    **{t.name: t for t in (types.BOOL, types.INT, types.UINT, types.DOUBLE, types.STRING, types.BYTES)},
    "list": types.list_of(types.DYN),
    "map": types.map_of(types.DYN, types.DYN),
    "null_type": types.NULL,
    "type": types.type_of(types.DYN),
    "optional_type": types.optional_of(types.DYN),
    "google.protobuf.Duration": types.DURATION,
    "google.protobuf.Timestamp": types.TIMESTAMP,
}
