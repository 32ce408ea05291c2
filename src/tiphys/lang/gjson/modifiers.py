"""gjson's modifiers (``@keys``, ``@flatten:{"deep":true}`` …) and static values (``!"text"``).

A modifier takes a document's text and an argument's text and gives another text. Like all of gjson they never fail:
what they cannot work on they return as it is, or as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from tiphys.lang import gojson
from tiphys.lang.gjson import paths, pretty
from tiphys.lang.gjson.scanning import (
    VALUE_START,
    GjsonError,
    Value,
    balanced,
    parse,
    printed,
    string_end,
    string_value,
    value_at,
)

if TYPE_CHECKING:
    from tiphys.lang.gjson.getting import Search

DEPTH_MAX: Final = 120
"""Levels that ``@flatten`` and ``@dig`` go down."""


def apply(search: Search, json: str, path: str) -> tuple[str, str] | None:
    """The modified text and the rest of the path; None when ``path`` starts with no known modifier."""
    match = re.match(r"@([^:|.]*)", path)
    assert match is not None
    name, rest = match[1], path[match.end() :]
    if name not in _MODIFIERS and name != "dig":
        return None
    argument = ""
    if rest[:1] == ":":
        argument, rest = _argument(rest[1:])
    if name == "dig":
        return _dig(search, json, argument), rest
    return _MODIFIERS[name](json, argument), rest


def static(path: str) -> tuple[str, str] | None:
    """The literal that ``path`` starts with, and its rest: ``!"a"``, ``!{…}``, ``!5``, ``!true``."""
    if path[1:2] and path[1] in '{["+-0123456789':
        # numbers and strings, too, are read as if they were brackets, and so reach to the end
        raw = balanced(path, 1) if path[1] in "{[" else _to_unmatched_closing(path[1:])
        return raw, path[1 + len(raw) :]
    match = re.match(r"![^|.]*", path)
    assert match is not None
    name = match.group()[1:]
    return (name, path[match.end() :]) if name.lower() in ("true", "false", "null", "nan", "inf") else None


def entry_name(selection: paths.Selection) -> str:
    """The key of an entry of an object multipath, as JSON."""
    if selection.name:
        is_json = selection.name[0] == '"' and gojson.is_valid(selection.name)
        return selection.name if is_json else quoted(selection.name)
    last = paths.last_name(selection.path)
    return quoted(last if paths.is_simple_name(last) else "_")


def quoted(text: str) -> str:
    """Text as a JSON string, with Go's escapes."""
    return gojson.dumps(text)


def entries(container: Value, *, stops_at_end: bool = False) -> Iterator[tuple[Value, Value]]:
    """Keys (for arrays: nothing) and values of a container; a scalar is its own only value.

    The original runs over the closing bracket into whatever follows, unless it makes plain data (``stops_at_end``).
    """
    if not container.exists:
        return
    if container.kind != "JSON":
        yield Value(), container
        return
    json = container.raw
    at = 1
    while at < len(json):
        key = Value()
        if stops_at_end and (following := _ENTRY_OR_END.search(json, at)) and following.group() in "]}":
            return
        if container.is_object:
            at = json.find('"', at)
            if at < 0 or (end := string_end(json, at)) < 0:
                return
            key, at = string_value(json[at:end]), end
        start = VALUE_START.search(json, at)
        found = None if start is None else value_at(json, start.start())
        if found is None:
            return
        yield key, found[0]
        at = found[1]


_ENTRY_OR_END: Final = re.compile(r'["{\[ntf\-0-9\]}]')


def _argument(text: str) -> tuple[str, str]:
    """The argument at the start and what follows: a JSON value, or anything up to a pipe outside of brackets."""
    if text[:1] in ("{", "[", '"') and parse(text).exists:
        argument = balanced(text)
        return argument, text[len(argument) :]
    at = 0
    while at < len(text) and text[at] != "|":
        at += len(balanced(text, at)) if text[at] in '{["(' else 1
    return text[:at], text[at:]


def _to_unmatched_closing(text: str) -> str:
    """What the original's bracket counter takes when it starts one level deep on a character that is no bracket."""
    return text[0] + balanced("(" + text[1:])[1:]


def _options(argument: str) -> dict[str, Value]:
    return {printed(key): value for key, value in entries(parse(argument))} if argument else {}


def _flag(options: dict[str, Value], name: str) -> bool:
    return name in options and is_true(options[name])


def is_true(value: Value) -> bool:
    """gjson's Bool()."""
    if value.kind == "String":
        return value.text.lower() in ("1", "t", "true")
    return value.kind == "True" or (value.kind == "Number" and value.number != 0)


def _list(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def _reverse(json: str, _argument: str) -> str:
    value = parse(json)
    if value.is_array:
        return _list([item.raw for _, item in entries(value)][::-1])
    if value.is_object:
        return "{" + ",".join([f"{key.raw}:{item.raw}" for key, item in entries(value)][::-1]) + "}"
    return json


def _flatten(json: str, argument: str, depth: int = 0) -> str:
    value = parse(json)
    if not value.is_array:
        return json
    if depth > DEPTH_MAX:
        raise GjsonError(f"nested deeper than {DEPTH_MAX}")
    is_deep = _flag(_options(argument), "deep")
    flat: list[str] = []
    for _, item in entries(value):
        raw = item.raw
        if item.is_array:
            raw = _unwrapped(_flatten(raw, argument, depth + 1) if is_deep else raw)
        flat += [raw.strip()] if raw.strip() else []
    return _list(flat)


def _unwrapped(json: str) -> str:
    json = json.strip()
    return json[1:-1] if len(json) >= 2 and json[0] in "[{" else json


def _join(json: str, argument: str) -> str:
    value = parse(json)
    if not value.is_array:
        return json
    objects = [item for _, item in entries(value) if item.is_object]
    if _flag(_options(argument), "preserve"):
        return "{" + ",".join(_unwrapped(each.raw) for each in objects) + "}"
    joined: dict[str, tuple[str, str]] = {}
    for each in objects:
        for key, item in entries(each):
            first = joined.get(key.text, (key.raw, ""))[0]
            joined[key.text] = (first, item.raw)
    return "{" + ",".join(f"{key}:{raw}" for key, raw in joined.values()) + "}"


def _keys(json: str, _argument: str) -> str:
    value = parse(json)
    return _list([key.raw if value.is_object else "null" for key, _ in entries(value)])


def _values(json: str, _argument: str) -> str:
    value = parse(json)
    return json if value.is_array else _list([item.raw for _, item in entries(value)])


def _group(json: str, _argument: str) -> str:
    value = parse(json)
    if not value.is_object:
        return ""
    rows: list[list[str]] = []
    for key, column in entries(value):
        if not column.is_array:
            continue
        for index, (_, item) in enumerate(entries(column)):
            if index == len(rows):
                rows.append([])
            rows[index].append(f"{key.raw}:{item.raw}")
    return _list(["{" + ",".join(row) + "}" for row in rows])


def _valid(json: str, _argument: str) -> str:
    return json if gojson.is_valid(json) else ""


def _from_string(json: str, _argument: str) -> str:
    return printed(parse(json)) if gojson.is_valid(json) else ""


def _pretty(json: str, argument: str) -> str:
    options = _options(argument)
    width = int(options["width"].number) if "width" in options and options["width"].kind == "Number" else 80
    return pretty.pretty(
        json,
        width=0 if "width" in options and options["width"].kind != "Number" else width,
        prefix=_spaces(printed(options["prefix"])) if "prefix" in options else "",
        indent=_spaces(printed(options["indent"])) if "indent" in options else "  ",
        sort_keys=_flag(options, "sortKeys"),
    )


def _spaces(text: str) -> str:
    return "".join(character for character in text if character in " \t\n\r")


def _dig(search: Search, json: str, path: str) -> str:
    """Every value at ``path`` of the document and of everything in it, outermost first."""
    found: list[str] = []
    todo = [(parse(json), 0)]
    while todo:
        value, depth = todo.pop()
        if depth > DEPTH_MAX:
            raise GjsonError(f"nested deeper than {DEPTH_MAX}")
        result = search.get(value.raw, path)
        found += [result.raw] if result.exists else []
        if value.kind == "JSON":
            todo += [(item, depth + 1) for _, item in entries(value)][::-1]
    return _list(found)


_MODIFIERS: Final[dict[str, Callable[[str, str], str]]] = {
    "pretty": _pretty,
    "ugly": lambda json, _argument: pretty.ugly(json),
    "reverse": _reverse,
    "this": lambda json, _argument: json,
    "flatten": _flatten,
    "join": _join,
    "valid": _valid,
    "keys": _keys,
    "values": _values,
    "tostr": lambda json, _argument: quoted(json),
    "fromstr": _from_string,
    "group": _group,
}
