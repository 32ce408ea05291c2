"""The syntax tree of a CEL expression.

Macros are expanded while parsing, as the specification says, so the tree knows only eight kinds of node; a node that a
macro made keeps the call it came from (``origin``), which is what the printer shows. ``offset`` is where errors point.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Node:
    """Base: ``offset`` into the source, ``origin`` (the macro call it replaced) and ``depth`` of the tree below."""

    __slots__ = ("depth", "offset", "origin")

    def __init__(self, offset: int, *children: Node | None) -> None:
        self.offset = offset
        self.origin: Call | None = None
        self.depth: int = 1 + max((child.depth for child in children if child is not None), default=0)


class Literal(Node):
    """bool, int, `values.Uint`, float, str, bytes or None."""

    __slots__ = ("value",)

    def __init__(self, offset: int, value: Any) -> None:
        super().__init__(offset)
        self.value = value


class Ident(Node):
    __slots__ = ("name",)

    def __init__(self, offset: int, name: str) -> None:
        super().__init__(offset)
        self.name = name


class Select(Node):
    """``operand.field``, or ``has(operand.field)`` when ``is_test``."""

    __slots__ = ("field", "is_test", "operand")

    def __init__(self, offset: int, operand: Node, field: str, is_test: bool = False) -> None:
        super().__init__(offset, operand)
        self.operand, self.field, self.is_test = operand, field, is_test


class Call(Node):
    """A function or operator (``_+_``); ``target`` is what stands before the dot of a member call."""

    __slots__ = ("args", "function", "target")

    def __init__(self, offset: int, function: str, args: tuple[Node, ...], target: Node | None = None) -> None:
        super().__init__(offset, target, *args)
        self.function, self.args, self.target = function, args, target


class ListNode(Node):
    """``optional`` are the positions written ``?x``."""

    __slots__ = ("elements", "optional")

    def __init__(self, offset: int, elements: tuple[Node, ...], optional: frozenset[int] = frozenset()) -> None:
        super().__init__(offset, *elements)
        self.elements, self.optional = elements, optional


class Entry(NamedTuple):
    key: Node
    value: Node
    is_optional: bool


class MapNode(Node):
    __slots__ = ("entries",)

    def __init__(self, offset: int, entries: tuple[Entry, ...]) -> None:
        super().__init__(offset, *(entry.key for entry in entries), *(entry.value for entry in entries))
        self.entries = entries


class Field(NamedTuple):
    name: str
    value: Node
    is_optional: bool
    offset: int


class StructNode(Node):
    """``some.Name{field: value}``."""

    __slots__ = ("fields", "name")

    def __init__(self, offset: int, name: str, fields: tuple[Field, ...]) -> None:
        super().__init__(offset, *(field.value for field in fields))
        self.name, self.fields = name, fields


class Fold(Node):
    """What ``all``, ``exists``, ``map``, ``filter`` and their kin are made of: a loop with an accumulator.

    ``second`` names the value (``first`` the index or key) in the two-variable forms.
    """

    __slots__ = ("accumulator", "condition", "first", "init", "range", "result", "second", "step")

    def __init__(
        self,
        offset: int,
        over: Node,
        variables: tuple[str, str | None],
        accumulator: str,
        init: Node,
        condition: Node,
        step: Node,
        result: Node,
    ) -> None:
        super().__init__(offset, over, init, condition, step, result)
        self.range, self.accumulator = over, accumulator
        self.first, self.second = variables
        self.init, self.condition, self.step, self.result = init, condition, step, result

    @property
    def is_binding(self) -> bool:
        """Whether it only names a value (optMap): no round is ever made."""
        return (
            isinstance(self.range, ListNode)
            and not self.range.elements
            and isinstance(self.condition, Literal)
            and self.accumulator != ACCUMULATOR
        )


ACCUMULATOR = "@result"
UNUSED = "#unused"


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below, in source order."""
    if isinstance(node, Select):
        return (node.operand,)
    if isinstance(node, Call):
        return node.args if node.target is None else (node.target, *node.args)
    if isinstance(node, ListNode):
        return node.elements
    if isinstance(node, MapNode):
        return tuple(part for entry in node.entries for part in (entry.key, entry.value))
    if isinstance(node, StructNode):
        return tuple(field.value for field in node.fields)
    if isinstance(node, Fold):
        return (node.range, node.init, node.condition, node.step, node.result)
    return ()


def qualified_name(node: Node) -> str | None:
    """``a.b.c`` of a chain of plain selections, None for anything else."""
    parts: list[str] = []
    while isinstance(node, Select):
        if node.is_test:
            return None
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(parts)])
