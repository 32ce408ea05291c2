"""Literals that cannot be right: patterns, durations, times, formats, lists of several types.

These are cel-go's validators of a checked tree, as Kubernetes turns them on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiphys.lang.cel import clock
from tiphys.lang.cel.errors import Issue
from tiphys.lang.cel.formatting import FormatError, fill, refusal
from tiphys.lang.cel.nodes import Call, ListNode, Literal, MapNode, Node, children
from tiphys.lang.cel.types import Type, unwrapped
from tiphys.lang.cel.values import Failure, Timestamp, Uint
from tiphys.lang.goregexp import RegexpError, compile_pattern

if TYPE_CHECKING:
    from tiphys.lang.cel.checker import Checked


def issues(checked: Checked) -> Iterator[Issue]:
    """Everything wrong with the literals of a tree."""
    yield from _below(checked, checked.root, in_format=False)


def _below(checked: Checked, node: Node, *, in_format: bool) -> Iterator[Issue]:
    if isinstance(node, Call):
        yield from _call(checked, node)
        in_format = in_format or node.function == "format"
    elif isinstance(node, ListNode) and not in_format:
        yield from _list(checked, node)
    elif isinstance(node, MapNode) and not in_format:
        yield from _map(checked, node)
    for child in children(node):
        yield from _below(checked, child, in_format=in_format)


def _call(checked: Checked, node: Call) -> Iterator[Issue]:
    if node.args and isinstance(node.args[0], Literal) and not _is_valid(node.function, node.args[0].value):
        yield Issue(node.args[0].offset, f"invalid {node.function} argument")
    is_format = node.function == "format" and isinstance(node.target, Literal) and isinstance(node.target.value, str)
    if is_format and isinstance(node.args[0], ListNode):
        yield from _format(checked, node, node.args[0])


def _is_valid(function: str, value: object) -> bool:
    if function == "matches":
        try:
            compile_pattern(str(value))
        except RegexpError:
            return False
    if function == "duration" and isinstance(value, str):
        return clock.parse_duration(value) is not None
    if function == "timestamp" and isinstance(value, str):
        return isinstance(clock.parse_timestamp(value), Timestamp)
    if function == "timestamp" and isinstance(value, int) and not isinstance(value, bool | Uint):
        from tiphys.lang.cel.standard import to_timestamp

        return not isinstance(to_timestamp(value), Failure)
    return True


def _format(checked: Checked, node: Call, values: ListNode) -> Iterator[Issue]:
    assert isinstance(node.target, Literal)
    used = 0

    def judge(at: int, verb: str, precision: int | None) -> str:
        nonlocal used
        used = at + 1
        wrong = refusal(verb, checked.type(values.elements[at]))
        if wrong is not None:
            raise FormatError(wrong, at)
        return ""

    try:
        fill(node.target.value, len(values.elements), judge)
    except FormatError as err:
        offset = node.offset if err.argument is None else values.elements[err.argument].offset
        yield Issue(offset, str(err))
        return
    if len(values.elements) > used:
        text = f"too many arguments supplied to string.format (expected {used}, got {len(values.elements)})"
        yield Issue(node.offset, text)


def _mismatch(node: Node, wanted: Type, found: Type) -> Issue:
    return Issue(node.offset, f"expected type '{wanted}' but found '{found}'")


def _list(checked: Checked, node: ListNode) -> Iterator[Issue]:
    first: Type | None = None
    for at, element in enumerate(node.elements):
        found = checked.type(element)
        found = unwrapped(found) if at in node.optional else found
        first = first or found
        if not _is_equivalent(first, found):
            yield _mismatch(element, first, found)
            return


def _map(checked: Checked, node: MapNode) -> Iterator[Issue]:
    key: Type | None = None
    value: Type | None = None
    for entry in node.entries:
        found_key, found = checked.type(entry.key), checked.type(entry.value)
        found = unwrapped(found) if entry.is_optional else found
        key, value = key or found_key, value or found
        if not _is_equivalent(key, found_key):
            yield _mismatch(entry.key, key, found_key)
        if not _is_equivalent(value, found):
            yield _mismatch(entry.value, value, found)


def _is_equivalent(one: Type, other: Type) -> bool:
    """Equal, where an empty list or map (of dyn) goes with any."""
    if one.kind != other.kind or one.name != other.name or len(one.params) != len(other.params):
        return False
    return one.kind == "dyn" or all(
        a.is_dyn or b.is_dyn or _is_equivalent(a, b) for a, b in zip(one.params, other.params, strict=True)
    )
