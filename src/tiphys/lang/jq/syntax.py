"""The syntax tree of a jq filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    pass


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class Index:
    """``target[key]``; ``key`` is evaluated on what the whole expression gets."""

    target: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Slice:
    target: Node
    start: Node | None
    end: Node | None


@dataclass(frozen=True, slots=True)
class Iterate:
    target: Node


@dataclass(frozen=True, slots=True)
class Array:
    body: Node | None


@dataclass(frozen=True, slots=True)
class Object:
    """Pairs of key and value; a value of None stands for the key's own value (``{a}``)."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """An interpolated string: literals and filters; ``format`` applies to the filters' values."""

    parts: tuple[str | Node, ...]
    format: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function, or a variable (``$name``, without arguments)."""

    name: str
    arguments: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipe:
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Comma:
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """Operators that compute: ``+ - * / % == != < <= > >=``."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Alternative:
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Update:
    """``= |= += -= *= /= %= //=``."""

    operator: str
    target: Node
    value: Node


@dataclass(frozen=True, slots=True)
class If:
    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Try:
    body: Node
    handler: Node | None


@dataclass(frozen=True, slots=True)
class Reduce:
    source: Node
    pattern: Pattern
    start: Node
    update: Node


@dataclass(frozen=True, slots=True)
class Foreach:
    source: Node
    pattern: Pattern
    start: Node
    update: Node
    extract: Node


@dataclass(frozen=True, slots=True)
class Bind:
    """``source as p1 ?// p2 … | body``."""

    source: Node
    patterns: tuple[Pattern, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Label:
    name: str
    body: Node


@dataclass(frozen=True, slots=True)
class Break:
    name: str


@dataclass(frozen=True, slots=True)
class Define:
    """``def name(parameters): body; rest``; parameters that are variables start with ``$``."""

    name: str
    parameters: tuple[str, ...]
    body: Node
    rest: Node


@dataclass(frozen=True, slots=True)
class VariablePattern:
    name: str


@dataclass(frozen=True, slots=True)
class ArrayPattern:
    items: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class ObjectPattern:
    """Entries of key filter, variable bound to the value (or ""), and pattern for the value (or None)."""

    entries: tuple[tuple[Node, str, Pattern | None], ...]


Pattern = VariablePattern | ArrayPattern | ObjectPattern
Node = (
    Identity
    | Constant
    | Index
    | Slice
    | Iterate
    | Array
    | Object
    | Text
    | Format
    | Call
    | Pipe
    | Comma
    | Binary
    | Alternative
    | Update
    | If
    | Try
    | Reduce
    | Foreach
    | Bind
    | Label
    | Break
    | Define
)
