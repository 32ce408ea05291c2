"""The simple JSON paths of custom resource definitions: ``.spec.a``, ``.status.conditions[?(@.type=="Ready")].status``.

    path  = { "." name | "[" index "]" | "['" name "']" | "[*]" | "[?(@.name==value)]" }

Names may hold dots escaped by a backslash. Not kubectl's whole template language, which definitions do not use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

Step = Callable[[Any], Iterator[Any]]

_STEP: Final = re.compile(
    r"""\.?\[\?\(\s*@(?P<filter>(?:\.[\w\-\\./]+)+)\s*(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[\w.\-]+)\s*\)\]"""
    r"""|\[(?P<index>-?\d+)\]|\.?\[\*\]|\.(?P<star>\*)|\[["'](?P<quoted>[^"']*)["']\]|\.(?P<name>(?:\\.|[^.\[\]\\])+)"""
)


class PathError(ValueError):
    """The text is no path of this form."""


def find_all(obj: Any, path: str) -> list[Any]:
    """All values that the path names, in order; none for a path that cannot be read."""
    try:
        steps = compile_path(path)
    except PathError:
        return []
    found = [obj]
    for step in steps:
        found = [value for each in found for value in step(each)]
    return found


@lru_cache(maxsize=512)
def compile_path(path: str) -> tuple[Step, ...]:
    """Raises PathError."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise PathError(f"cannot read {path!r} at {at}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["filter"] is not None:
        return _filter(match["filter"], match["op"], match["value"])
    if match["index"] is not None:
        return _index(int(match["index"]))
    name = match["name"] if match["name"] is not None else match["quoted"]
    return _member(re.sub(r"\\(.)", r"\1", name)) if name is not None else _children


def _member(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, Mapping) and name in value:
            yield value[name]

    return step


def _index(at: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= at < len(value):
            yield value[at]

    return step


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _filter(path: str, operator: str, literal: str) -> Step:
    wanted = literal[1:-1] if literal[0] in "\"'" else literal

    def step(value: Any) -> Iterator[Any]:
        for item in _children(value):
            held = find_all(item, path)
            if (bool(held) and _shown(held[0]) == wanted) == (operator == "=="):
                yield item

    return step


def _shown(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}.get(value, str(value))
        if not isinstance(value, int)
        else (str(value).lower())
    )
