"""Sets of field paths, kept in the form that goes over the wire (FieldsV1).

A set is a nested dict. A key is a path element; its value is the set below it:

    f:NAME      a field                    {"f:spec": {"f:replicas": {}}}            owns spec.replicas
    k:{…}       a list item by its keys    {"k:{\"name\":\"a\"}": {".": {}, …}}      owns the item and fields below
    v:VALUE     an item of a set list      {"v:\"x\"": {}}
    i:N         an item by position

An element is a *member* when its value is empty or has the key ".". Sets are values: no function changes its
arguments, and results may share structure with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

FieldSet = dict[str, "FieldSet"]
Path = tuple[str, ...]

SELF = "."
EMPTY: FieldSet = {}


def field(name: str) -> str:
    return "f:" + name


def item_by_keys(keys: dict[str, Any]) -> str:
    return "k:" + orjson.dumps(_plain(keys), option=orjson.OPT_SORT_KEYS).decode()


def item_by_value(value: Any) -> str:
    return "v:" + orjson.dumps(_plain(value)).decode()


def is_valid(fields: Any) -> bool:
    """Whether this is a FieldsV1 object: known element kinds, objects all the way down."""
    if not isinstance(fields, dict):
        return False
    return all(_is_element(element) and is_valid(below) for element, below in fields.items())


def has(fields: FieldSet, element: str) -> bool:
    """Whether ``element`` itself is a member at the top of ``fields``."""
    below = fields.get(element)
    return below is not None and _is_member(below)


def children(fields: FieldSet, element: str) -> FieldSet:
    """The set below ``element``, without the element itself."""
    below = fields.get(element)
    return {k: v for k, v in below.items() if k != SELF} if below else EMPTY


def insert(fields: FieldSet, path: Path) -> None:
    """Adds a path to a set under construction (the one function that changes its argument)."""
    for element in path[:-1]:
        known = element in fields
        below = fields.setdefault(element, {})
        if known and not below:
            below[SELF] = {}
        fields = below
    if path:
        entry = fields.setdefault(path[-1], {})
        if entry:
            entry[SELF] = {}


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    if not a or a is b:
        return b
    if not b:
        return a
    out = dict(a)
    for element, below in b.items():
        if element == SELF:
            out[SELF] = EMPTY
        elif element in out:
            member = _is_member(out[element]) or _is_member(below)
            out[element] = _entry(member, union(_below(out[element]), _below(below)))
        else:
            out[element] = below
    return out


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Members of ``a`` that are not members of ``b``; what lies below a member of ``b`` stays."""
    return _subtract(a, b, recursive=False)


def recursive_difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """As ``difference``, and what lies below a member of ``b`` goes too."""
    return _subtract(a, b, recursive=True)


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    out: FieldSet = {}
    for element, below in a.items():
        other = b.get(element)
        if other is None or element == SELF:
            continue
        member, rest = _is_member(below) and _is_member(other), intersection(_below(below), _below(other))
        if member or rest:
            out[element] = _entry(member, rest)
    return out


def paths(fields: FieldSet, prefix: Path = ()) -> Iterator[Path]:
    """All members, in the original's order: those of a level (fields, keys, values, indexes), then what is below."""
    ordered = sorted((e for e in fields if e != SELF), key=_order)
    for element in ordered:
        if _is_member(fields[element]):
            yield (*prefix, element)
    for element in ordered:
        below = _below(fields[element])
        if below:
            yield from paths(below, (*prefix, element))


def ordered(fields: FieldSet) -> FieldSet:
    """The same set as the original writes it: an element itself before what is below, elements by kind and value."""
    if not fields:
        return fields
    below = {element: ordered(entry) for element, entry in fields.items()}
    wanted = sorted(fields, key=_written) if len(fields) > 1 else list(fields)
    if all(one is other and below[one] is fields[one] for one, other in zip(fields, wanted, strict=True)):
        return fields
    return {element: below[element] for element in wanted}


def contains(fields: FieldSet, path: Path) -> bool:
    for element in path[:-1]:
        fields = fields.get(element, EMPTY)
    return bool(path) and has(fields, path[-1])


def print_path(path: Path) -> str:
    """The path as error messages show it: ``.spec.ports[port=80].name``."""
    return "".join(print_element(element) for element in path)


def print_element(element: str) -> str:
    kind, text = element[0], element[2:]
    if kind == "f":
        return "." + text
    if kind == "k":
        keys = orjson.loads(text)
        return "[" + ",".join(f"{name}={_print_value(keys[name])}" for name in sorted(keys)) + "]"
    return f"[={_print_value(orjson.loads(text))}]" if kind == "v" else f"[{text}]"


def _print_value(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _is_element(element: str) -> bool:
    if element == SELF:
        return True
    if len(element) < 2 or element[1] != ":" or element[0] not in "fkvi":
        return False
    if element[0] in "fi":
        return element[0] == "f" or element[2:].lstrip("-").isdigit()
    try:
        value = orjson.loads(element[2:])
    except orjson.JSONDecodeError:
        return False
    return element[0] == "v" or isinstance(value, dict)


def _is_member(below: FieldSet) -> bool:
    return not below or SELF in below


def _below(entry: FieldSet) -> FieldSet:
    return {k: v for k, v in entry.items() if k != SELF} if SELF in entry else entry


def _entry(member: bool, below: FieldSet) -> FieldSet:
    return {SELF: EMPTY, **below} if member and below else below


def _subtract(a: FieldSet, b: FieldSet, *, recursive: bool) -> FieldSet:
    if not a or not b:
        return a
    out: FieldSet = {}
    for element, below in a.items():
        other = b.get(element)
        if other is None:
            out[element] = below
            continue
        if recursive and _is_member(other):
            continue
        member = _is_member(below) and not _is_member(other)
        rest = _subtract(_below(below), _below(other), recursive=recursive)
        if member or rest:
            out[element] = _entry(member, rest)
    return out


def _order(element: str) -> tuple[int, Any]:
    kind, text = element[0], element[2:]
    if kind == "f":
        return 0, text
    if kind == "i":
        return 3, int(text)
    value = orjson.loads(text)
    if kind == "k":
        return 1, [(name, _rank(value[name])) for name in sorted(value)]
    return 2, _rank(value)


def _written(element: str) -> tuple[int, Any]:
    return (-1, "") if element == SELF else _order(element)


def _rank(value: Any) -> tuple[int, Any]:
    """Orders values of mixed types: numbers, strings, booleans, the rest."""
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (3, repr(value))


def _plain(value: Any) -> Any:
    """1.0 and 1 are the same element: whole floats are written as integers, as Go prints them."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value
