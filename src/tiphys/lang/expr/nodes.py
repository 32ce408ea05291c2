"""The syntax tree.

``at`` is the character that messages point at, ``type`` what the checker found out (UNKNOWN where it did not look),
``depth`` how many nodes hang below each other. A chain of binary operators counts once however long it is, because
everything that walks trees handles the left side of such chains in a loop (see :func:`spine`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tiphys.lang.expr.types import UNKNOWN, Type


@dataclass(slots=True, eq=False)
class Node:
    at: int = field(default=0, kw_only=True)
    depth: int = field(default=1, kw_only=True)
    type: Type = field(default=UNKNOWN, kw_only=True)


@dataclass(slots=True, eq=False)
class Nil(Node):
    """nil"""


@dataclass(slots=True, eq=False)
class Literal(Node):
    """A bool, int, float, str or bytes."""

    value: bool | int | float | str | bytes


@dataclass(slots=True, eq=False)
class Constant(Node):
    """A value that folding computed: a list, or a set of keys to look in."""

    value: object


@dataclass(slots=True, eq=False)
class Identifier(Node):
    name: str


@dataclass(slots=True, eq=False)
class Pointer(Node):
    """``#`` ("" ), ``#index`` or ``#acc`` inside a predicate."""

    name: str


@dataclass(slots=True, eq=False)
class Unary(Node):
    op: str
    operand: Node


@dataclass(slots=True, eq=False)
class Binary(Node):
    op: str
    left: Node
    right: Node


@dataclass(slots=True, eq=False)
class Conditional(Node):
    """``c ? a : b`` (``ternary``), or ``if c { a } else { b }``."""

    condition: Node
    then: Node
    otherwise: Node
    ternary: bool = True


@dataclass(slots=True, eq=False)
class Chain(Node):
    """The extent of optional chaining: where a ``?.`` inside finds nil, the whole of this is nil."""

    inner: Node


@dataclass(slots=True, eq=False)
class Member(Node):
    """``base.name``, ``base[key]``, with ``?.`` when ``optional``; ``called`` when it is the callee of a call."""

    base: Node
    key: Node
    optional: bool = False
    called: bool = False


@dataclass(slots=True, eq=False)
class Slice(Node):
    base: Node
    start: Node | None
    stop: Node | None


@dataclass(slots=True, eq=False)
class Call(Node):
    callee: Node
    arguments: list[Node]


@dataclass(slots=True, eq=False)
class Builtin(Node):
    """A call of a builtin. ``mapped``, ``throws`` and ``threshold`` are set by folding only."""

    name: str
    arguments: list[Node]
    mapped: Node | None = None
    throws: bool = False
    threshold: int | None = None


@dataclass(slots=True, eq=False)
class Predicate(Node):
    """The body of a closure."""

    body: Node


@dataclass(slots=True, eq=False)
class Let(Node):
    name: str
    value: Node
    body: Node


@dataclass(slots=True, eq=False)
class Sequence(Node):
    parts: list[Node]


@dataclass(slots=True, eq=False)
class Array(Node):
    items: list[Node]


@dataclass(slots=True, eq=False)
class Map(Node):
    pairs: list[tuple[Node, Node]]


def spine(node: Binary) -> tuple[Node, list[Binary]]:
    """The leftmost operand of a chain of binary operators, and the operators from the innermost to ``node``."""
    operators = [node]
    left = node.left
    while isinstance(left, Binary):
        operators.append(left)
        left = left.left
    operators.reverse()
    return left, operators


def children(node: Node) -> list[Node]:
    """The nodes directly below, in the order in which they are written."""
    match node:
        case Unary(operand=one) | Chain(inner=one) | Predicate(body=one):
            return [one]
        case Binary(left=left, right=right):
            return [left, right]
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return [condition, then, otherwise]
        case Member(base=base, key=key):
            return [base, key]
        case Slice(base=base, start=start, stop=stop):
            return [base, *(one for one in (start, stop) if one is not None)]
        case Call(callee=callee, arguments=arguments):
            return [callee, *arguments]
        case Builtin(arguments=arguments):
            return arguments
        case Let(value=value, body=body):
            return [value, body]
        case Sequence(parts=many) | Array(items=many):
            return many
        case Map(pairs=pairs):
            return [one for pair in pairs for one in pair]
    return []
