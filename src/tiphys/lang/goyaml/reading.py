"""From events to plain values, in one pass without recursion: this is the hot path, every manifest goes through it.

Merges, aliases and duplicate keys are go-yaml's: ``<<`` overrides what stands before it and is overridden by what
follows; a key that comes twice is overwritten; an alias gives a copy. Documents that mostly consist of expanded aliases
("billion laughs") are refused by the original's formula.
"""

from __future__ import annotations

from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from tiphys.lang import gojson
from tiphys.lang.goyaml.errors import YamlError
from tiphys.lang.goyaml.events import DEPTH_MAX, Next, check_escapes, check_start, error_at, error_from, events
from tiphys.lang.goyaml.scalars import (
    PLAIN_HINTS,
    ScalarError,
    resolve,
    resolve_key,
    resolve_tagged,
    resolve_tagged_key,
)

_NO_KEY: Final = object()
_MERGE: Final = object()
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"


class Reader:
    """Reads the documents of one text, one after the other."""

    def __init__(self, text: str | bytes) -> None:
        self._text = text
        self._next = events(text)
        self._has_slash_escapes = (b"\\/" if isinstance(text, bytes) else "\\/") in text  # type: ignore[operator]
        self.has_repeated_keys = False
        """Whether some mapping's key was overwritten; Go may still see two different keys (1 and "1")."""

    def document(self) -> tuple[bool, Any, int]:
        """Whether there is another document, its value, and the line it starts on (from 1)."""
        try:
            while True:
                event: Any = self._next()
                kind = type(event)
                if kind is DocumentStartEvent:
                    check_start(event)
                    return True, self._value(self._next), event.start_mark.line + 1
                if kind is StreamEndEvent or event is None:
                    return False, None, 0
        except (yaml.YAMLError, UnicodeEncodeError) as err:
            raise error_from(err) from err
        except YamlError:
            self._finish()
            raise

    def _finish(self) -> None:
        """Go parses a document whole before it reads values, so a later syntax error comes before any of those."""
        try:
            while type(event := self._next()) not in (DocumentEndEvent, StreamEndEvent) and event is not None:
                pass
        except (yaml.YAMLError, UnicodeEncodeError) as err:
            raise error_from(err) from err

    def _value(self, get: Next) -> Any:
        """The value of one document. One flat loop: its body runs once per node."""
        root: list[Any] = []
        here: Any = root  # the list or dict being filled
        key: Any = None  # of a dict: the key that waits for its value, or _NO_KEY
        stack: list[tuple[Any, Any, str | None, int]] = []
        anchors = _Anchors()
        count = 0
        while True:
            event = get()
            kind = type(event)
            count += 1
            if kind is ScalarEvent:
                if self._has_slash_escapes:
                    check_escapes(event, self._text)
                if key is _NO_KEY:
                    key = _scalar_key(event)
                    if event.anchor is not None:
                        anchors.add(event.anchor, None if key is _MERGE else _scalar(event), 1)
                    continue
                if event.tag is None and event.implicit[0]:
                    value = event.value
                    if not value or value[0] in PLAIN_HINTS:
                        value = _scalar(event)
                elif event.tag is None:
                    value = event.value
                else:
                    value = _scalar(event)
                if event.anchor is not None:
                    anchors.add(event.anchor, value, 1)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if len(stack) >= DEPTH_MAX:
                    raise error_at(event, f"exceeded max depth of {DEPTH_MAX}")
                stack.append((here, key, event.anchor, count))
                if event.anchor is not None:
                    anchors.open(event.anchor, len(stack))
                here, key = ({}, _NO_KEY) if kind is MappingStartEvent else ([], None)
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value = here
                depth = len(stack)
                here, key, anchor, start = stack.pop()
                if anchor is not None:
                    anchors.close(anchor, depth, value, count - start)
            elif kind is AliasEvent:
                value, size = anchors.use(event, count)
                count += size
                if key is _MERGE and type(value) is not dict:
                    raise error_at(event, _WANT_MAP)
            elif kind is DocumentEndEvent:
                return root[0]
            else:
                raise error_at(event, "unexpected end of the document")

            if type(here) is list:
                here.append(value)
            elif key is _NO_KEY:
                key = _complex_key(event, value)
            elif key is _MERGE:
                self._merge(here, value, event)
                key = _NO_KEY
            else:
                if key in here:
                    self.has_repeated_keys = True
                here[key] = value
                key = _NO_KEY

    def _merge(self, into: dict[str, Any], value: Any, event: Any) -> None:
        """``<<``: a mapping, or a list of mappings of which the first counts most."""
        for mapping in reversed(value) if type(value) is list else (value,):
            if type(mapping) is not dict:
                raise error_at(event, _WANT_MAP)
            if not self.has_repeated_keys and not into.keys().isdisjoint(mapping):
                self.has_repeated_keys = True
            into.update(mapping)


_WANT_MAP = "map merge requires map or sequence of maps as the value"


def _scalar(event: ScalarEvent) -> Any:
    try:
        if event.tag is not None:
            return resolve_tagged(event.tag, event.value)
        return resolve(event.value) if event.implicit[0] else event.value
    except ScalarError as err:
        raise error_at(event, str(err)) from err


def _scalar_key(event: ScalarEvent) -> Any:
    text = event.value
    if text == "<<" and (event.implicit[0] or event.tag == _MERGE_TAG):
        return _MERGE
    if event.tag is None and (not event.implicit[0] or (text and text[0] not in PLAIN_HINTS)):
        return text
    try:
        return resolve_key(text) if event.tag is None else resolve_tagged_key(event.tag, text)
    except ScalarError as err:
        raise error_at(event, str(err)) from err


def _complex_key(event: Any, value: Any) -> str:
    """A key that came through an alias or is a container."""
    if type(value) in (dict, list):
        # what an unquoted {{tag}} reads as
        raise error_at(event, f"invalid map key: {gojson.dumps(value)[:80]} (a template tag needs quotes)")
    try:
        return value if isinstance(value, str) else resolve_key("~" if value is None else str(value).lower())
    except ScalarError as err:
        raise error_at(event, str(err)) from err


class _Anchors:
    """What ``&name`` stands for, and how much of the document came from aliases.

    Go counts every node it decodes, again for each alias; the ratio of the two counts is bounded, more strictly for
    larger documents: 99 % up to 400,000 nodes, falling to 10 % at 4,000,000.
    """

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, int]] = {}
        self._open: dict[str, int] = {}
        self._aliased = 0

    def add(self, name: str, value: Any, size: int) -> None:
        self._values[name] = (value, size)
        self._open.pop(name, None)

    def open(self, name: str, depth: int) -> None:
        """The container that starts at ``depth`` has this name from now on, though it is not complete."""
        self._open[name] = depth

    def close(self, name: str, depth: int, value: Any, size: int) -> None:
        """The container is complete; nothing happens when something inside it took the name over."""
        if self._open.get(name) == depth:
            self.add(name, value, size)

    def use(self, event: AliasEvent, count: int) -> tuple[Any, int]:
        """A copy of the named value, and how many nodes that is."""
        if event.anchor in self._open:
            raise error_at(event, f"anchor '{event.anchor}' value contains itself")
        if event.anchor not in self._values:
            raise error_at(event, f"unknown anchor '{event.anchor}' referenced")
        value, size = self._values[event.anchor]
        self._aliased += size
        decoded = count + size
        if self._aliased > 100 and decoded > 1000 and self._aliased / decoded > _allowed_ratio(decoded):
            raise error_at(event, "document contains excessive aliasing")
        return _copy(value), size


def _allowed_ratio(decoded: int) -> float:
    if decoded <= 400_000:
        return 0.99
    return 0.10 if decoded >= 4_000_000 else 0.99 - 0.89 * (decoded - 400_000) / 3_600_000


def _copy(value: Any) -> Any:
    """A deep copy of plain data, without recursion; its size was checked before."""
    if type(value) not in (dict, list):
        return value
    top = value.copy()
    todo = [top]
    while todo:
        container = todo.pop()
        for key, item in container.items() if type(container) is dict else enumerate(container):
            if type(item) in (dict, list):
                container[key] = inner = item.copy()
                todo.append(inner)
    return top
