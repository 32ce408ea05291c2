"""Where things stand in a YAML text: the line of a field path, and keys that come twice.

Reading (`reading`) keeps no positions, because nearly all manifests are fine and errors are rare: here a text is gone
through a second time, at leisure, once something is known to be wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from tiphys.lang.gofmt import quote
from tiphys.lang.goyaml.errors import DuplicateKey
from tiphys.lang.goyaml.events import Next, events
from tiphys.lang.goyaml.scalars import resolve_key, resolve_tagged_key, typed

Path = Sequence[str | int]


@dataclass(eq=False)
class Node:
    """A node of a document. ``line`` counts from 1 and is the key's for a value in a mapping."""

    line: int
    scalar: ScalarEvent | None = None
    pairs: list[tuple[Node, Node]] | None = None
    items: list[Node] | None = None
    _fields: dict[str | int, Node] = field(default_factory=dict)

    def child(self, step: str | int) -> Node | None:
        """The value of a key, or the item of an index."""
        if self.items is not None:
            return self.items[step] if isinstance(step, int) and 0 <= step < len(self.items) else None
        return self._by_key().get(step)

    def _by_key(self) -> dict[str | int, Node]:
        if not self._fields:
            for key, value in self.pairs or ():
                if key.is_merge:
                    self._fields |= _merged(value)
                elif key.scalar is not None:
                    self._fields[_key_text(key.scalar)] = Node(key.line, value.scalar, value.pairs, value.items)
        return self._fields

    @property
    def is_merge(self) -> bool:
        event = self.scalar
        return event is not None and event.value == "<<" and (event.implicit[0] or (event.tag or "").endswith(":merge"))


def line_of(text: str | bytes, document: int, path: Path) -> int:
    """The line of a field, counted from 1; of its nearest parent where the field is absent."""
    node = compose(text, document)
    line = node.line
    for step in path:
        child = node.child(step)
        if child is None:
            break
        node, line = child, child.line
    return line


def duplicates(text: str | bytes, document: int) -> list[DuplicateKey]:
    """Keys that a strict reader refuses, in the order it meets them; merged keys count as well."""
    found: list[DuplicateKey] = []
    todo: list[tuple[Node, str]] = [(compose(text, document), "")]
    while todo:
        node, path = todo.pop()
        if node.pairs is not None:
            found += _duplicates_in(node, path)
            inner = [(value, _joined(path, key)) for key, value in node.pairs]
        else:
            inner = [(item, f"{path}[{index}]") for index, item in enumerate(node.items or ())]
        todo += reversed(inner)
    return sorted(found, key=lambda duplicate: duplicate.line)


def compose(text: str | bytes, document: int) -> Node:
    """The node tree of the n-th document (from 0). Only for texts that `reading` accepts."""
    get = events(text)
    seen = -1
    while True:
        event = get()
        if type(event) is DocumentStartEvent:
            seen += 1
            if seen == document:
                return _compose(get)


def _compose(get: Next) -> Node:
    root = Node(1, items=[])
    anchors: dict[str, Node] = {}
    stack: list[tuple[Node, Node | None]] = [(root, None)]  # the open container and the key that waits in it
    while True:
        event = get()
        kind = type(event)
        if kind is DocumentEndEvent:
            assert root.items
            return root.items[0]
        if kind is MappingEndEvent or kind is SequenceEndEvent:
            stack.pop()
            continue
        node = anchors[event.anchor] if kind is AliasEvent else _node(event, kind)
        if event.anchor is not None:
            anchors[event.anchor] = node
        _attach(stack, node)
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            stack.append((node, None))


def _node(event: Any, kind: type) -> Node:
    line = event.start_mark.line + 1
    if kind is ScalarEvent:
        return Node(line, scalar=event)
    return Node(line, pairs=[]) if kind is MappingStartEvent else Node(line, items=[])


def _attach(stack: list[tuple[Node, Node | None]], node: Node) -> None:
    here, key = stack[-1]
    if here.items is not None:
        here.items.append(node)
    elif key is None:
        stack[-1] = (here, node)
    else:
        assert here.pairs is not None
        here.pairs.append((key, node))
        stack[-1] = (here, None)


def _merged(value: Node) -> dict[str | int, Node]:
    merged: dict[str | int, Node] = {}
    for source in reversed(value.items) if value.items is not None else (value,):
        merged |= source._by_key()
    return merged


def _key_text(event: ScalarEvent) -> str:
    if event.tag is not None:
        return resolve_tagged_key(event.tag, event.value)
    return resolve_key(event.value) if event.implicit[0] else str(event.value)


def _duplicates_in(node: Node, path: str) -> list[DuplicateKey]:
    seen: set[tuple[str, Any]] = set()
    found: list[DuplicateKey] = []
    for key, value in _pairs_with_merged(node):
        if key.scalar is None:
            continue
        identity = typed(key.scalar.tag, key.scalar.value, is_plain=key.scalar.implicit[0])
        if identity in seen:
            found.append(DuplicateKey(value.line, _shown(identity[1]), path))
        seen.add(identity)
    return found


def _pairs_with_merged(node: Node) -> list[tuple[Node, Node]]:
    pairs: list[tuple[Node, Node]] = []
    for key, value in node.pairs or ():
        if not key.is_merge:
            pairs.append((key, value))
            continue
        for source in reversed(value.items) if value.items is not None else (value,):
            pairs += _pairs_with_merged(source)
    return pairs


def _shown(key: object) -> str:
    """A key as Go's %#v prints it."""
    if isinstance(key, str):
        return quote(key)
    return str(key).lower() if isinstance(key, bool) else str(key)


def _joined(path: str, key: Node) -> str:
    name = _key_text(key.scalar) if key.scalar is not None else "?"
    return f"{path}.{name}" if path else name
