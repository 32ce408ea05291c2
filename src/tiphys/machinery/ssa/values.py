"""Walks over typed values: their fields, a merge, a comparison, a removal, a validation.

JSON null is Python None; a value that is not there at all is ``ABSENT``. Nothing is changed in place; results share
structure with their inputs. Order and corner cases (empty against null, duplicates in a live list, a value whose type
changed) follow structured-merge-diff's walkers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import orjson

from tiphys.machinery.ssa import fieldsets
from tiphys.machinery.ssa.fieldsets import FieldSet, Path
from tiphys.machinery.ssa.schema import DEDUCED, ListType, MapType, SchemaType


class _Absent(Enum):
    ABSENT = 0


ABSENT: Final = _Absent.ABSENT
Value = Any


class TypeMismatch(ValueError):
    """A value does not fit its schema; the text begins with the path."""


@dataclass
class Comparison:
    removed: FieldSet = field(default_factory=dict)
    modified: FieldSet = field(default_factory=dict)
    added: FieldSet = field(default_factory=dict)


def same(a: Value, b: Value) -> bool:
    """Equality of JSON values: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def fields_of(value: Value, kind: SchemaType) -> FieldSet:
    """Every leaf and item that ``value`` mentions."""
    out: FieldSet = {}
    _collect(value, _deduce(kind, value), (), out)
    return out


def merge(live: Value, applied: Value, kind: SchemaType) -> Value:
    """``applied`` laid over ``live``: nothing is removed, leaves of ``applied`` win, its order of items too."""
    chosen = _deduce(kind, live if applied is ABSENT else applied)
    if chosen.map is not None:
        return _merge_maps(live, applied, chosen.map)
    if chosen.scalar is not None or chosen.list is None:
        return live if applied is ABSENT else applied
    return _merge_lists(live, applied, chosen.list)


def compare(old: Value, new: Value, kind: SchemaType) -> Comparison:
    out = Comparison()
    _compare(old, new, kind, (), out)
    return out


def remove(value: Value, gone: FieldSet, kind: SchemaType) -> Value:
    """``value`` without the fields and items of ``gone``; a container that loses everything becomes None."""
    chosen = _deduce(kind, value)
    if chosen.map is not None:
        return _remove_from_map(value, gone, chosen.map) if isinstance(value, dict) else None
    if chosen.scalar is not None or chosen.list is None:
        return value
    return _remove_from_list(value, gone, chosen.list) if isinstance(value, list) else None


def validate(value: Value, kind: SchemaType, *, allow_duplicates: bool = False) -> None:
    """Raises ``TypeMismatch`` for the first problems found, in the original's words."""
    problems = _problems(value, kind, allow_duplicates)
    if problems:
        raise TypeMismatch(problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems]))


def with_named_fields(fields: FieldSet, kind: SchemaType | None) -> FieldSet:
    """``fields`` where every named field on the way to a member is a member too."""
    out: FieldSet = {}
    for element, below in fields.items():
        if element == fieldsets.SELF:
            out[element] = below
            continue
        deeper = with_named_fields(below, _type_below(kind, element)) if below else below
        named = kind is not None and kind.map is not None and element[:2] == "f:" and element[2:] in kind.map.fields
        out[element] = {fieldsets.SELF: {}, **deeper} if named and deeper else deeper
    return out


def reconcile(fields: FieldSet, kind: SchemaType) -> FieldSet:
    """Ownership after a schema change from granular to atomic: the root of what is atomic now is owned instead."""
    roots: list[Path] = []
    _atomic_roots(fields, kind, (), False, roots)
    for root in roots:
        gone: FieldSet = {}
        fieldsets.insert(gone, root)
        fields = fieldsets.union(fieldsets.recursive_difference(fields, gone), gone)
    return fields


def list_element(item: Value, kind: ListType) -> str:
    """The path element of a list item. Raises ``TypeMismatch`` where it has none."""
    if not kind.keys:
        return _set_element(item)
    if item is None:
        raise TypeMismatch("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise TypeMismatch("associative list with keys may not have non-map elements")
    target = kind.item.type.map
    defaults: Mapping[str, Any] = target.defaults if target else {}
    keys = {name: item.get(name, defaults.get(name)) for name in kind.keys if name in item or name in defaults}
    if not keys:
        names = " ".join(f'"{name}"' for name in kind.keys)
        raise TypeMismatch(
            f"associative list with keys has an element that omits all key fields [{names}] "
            "(and doesn't have default values for any key fields)"
        )
    return fieldsets.item_by_keys(keys)


def _set_element(item: Value) -> str:
    if isinstance(item, dict):
        raise TypeMismatch("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise TypeMismatch("not supported: associative list with lists as elements")
    if item is None:
        raise TypeMismatch("associative list without keys has an element that's an explicit null")
    return fieldsets.item_by_value(item)


def _deduce(kind: SchemaType, value: Value) -> SchemaType:
    """Where the schema allows several shapes, the one that the value has."""
    if isinstance(value, dict):
        return SchemaType(map=kind.map) if kind.map is not None else kind
    if isinstance(value, list):
        return SchemaType(list=kind.list) if kind.list is not None else kind
    if value is None or value is ABSENT:
        return kind
    return SchemaType(scalar=kind.scalar) if kind.scalar is not None else kind


def _shape(kind: SchemaType) -> str:
    return "map" if kind.map is not None else "scalar" if kind.scalar is not None else "list"


# Fields of a value


def _collect(value: Value, kind: SchemaType, path: Path, out: FieldSet) -> None:
    if kind.map is not None:
        _collect_map(value, kind.map, path, out)
    elif kind.scalar is not None or kind.list is None:
        fieldsets.insert(out, path)
    else:
        _collect_list(value, kind.list, path, out)


def _collect_map(value: Value, kind: MapType, path: Path, out: FieldSet) -> None:
    if kind.atomic:
        fieldsets.insert(out, path)
        return
    for name, sub in (value or {}).items() if isinstance(value, dict) else ():
        below = (*path, fieldsets.field(name))
        inner = kind.type_of(name) or DEDUCED
        _collect(sub, _deduce(inner, sub), below, out)
        if sub is None or sub == {} or name not in kind.fields:
            fieldsets.insert(out, below)


def _collect_list(value: Value, kind: ListType, path: Path, out: FieldSet) -> None:
    if kind.atomic:
        fieldsets.insert(out, path)
        return
    by_element: dict[str, list[Value]] = {}
    for item in value if isinstance(value, list) else ():
        by_element.setdefault(list_element(item, kind), []).append(item)
    for element, items in by_element.items():
        below = (*path, element)
        if len(items) == 1:
            _collect(items[0], _deduce(kind.item.type, items[0]), below, out)
        fieldsets.insert(out, below)


# Merge


def _merge_maps(live: Value, applied: Value, kind: MapType) -> Value:
    left = live if isinstance(live, dict) else {}
    right = applied if isinstance(applied, dict) else {}
    if kind.atomic or (not left and not right):
        return live if applied is ABSENT else applied
    out = {}
    for name in left | right:
        merged = merge(left.get(name, ABSENT), right.get(name, ABSENT), kind.type_of(name) or DEDUCED)
        if merged is not ABSENT:
            out[name] = merged
    return out or ABSENT


def _merge_lists(live: Value, applied: Value, kind: ListType) -> Value:
    left = live if isinstance(live, list) else []
    right = applied if isinstance(applied, list) else []
    if kind.atomic or (not left and not right):
        return live if applied is ABSENT else applied
    return _ListMerge(left, right, kind).run() or ABSENT


class _ListMerge:
    """Interleaves two keyed lists: items of both sides, in the right side's order where it has one."""

    def __init__(self, left: list[Value], right: list[Value], kind: ListType) -> None:
        self.kind, self.left_items = kind, left
        self.left = [list_element(item, kind) for item in left]
        self.right = [list_element(item, kind) for item in right]
        self.left_by = dict(zip(self.left, left, strict=True))
        for element in {e for e in self.left if self.left.count(e) > 1}:
            self.left_by[element] = None  # duplicates are not merged with the applied item
        self.right_by = dict(zip(self.right, right, strict=True))
        self.shared = iter([e for e in self.right if e in self.left_by])
        self.next_shared = next(self.shared, None)
        self.merged: set[str] = set()
        self.out: list[Value] = []

    def run(self) -> list[Value]:
        at_left = at_right = 0
        while at_left < len(self.left) or at_right < len(self.right):
            if at_left < len(self.left) and at_right < len(self.right):
                element = self.left[at_left]
                if element == self.right[at_right]:
                    self._take_right(element)
                    self.next_shared = next(self.shared, None)
                    at_left, at_right = at_left + 1, at_right + 1
                    continue
                if element in self.right_by and self.next_shared is not None and self.next_shared != element:
                    at_left += 1  # shared, but its turn comes later
                    continue
            if at_left < len(self.left):
                element = self.left[at_left]
                if element not in self.right_by:
                    self._append(self.left_items[at_left], ABSENT)
                    at_left += 1
                    continue
                if element in self.merged:
                    at_left += 1
            if at_right < len(self.right):
                element = self.right[at_right]
                self._take_right(element)
                at_right += 1
                if self.next_shared == element:
                    self.next_shared = next(self.shared, None)
        return self.out

    def _take_right(self, element: str) -> None:
        self.merged.add(element)
        self._append(self.left_by.get(element, ABSENT), self.right_by[element])

    def _append(self, left: Value, right: Value) -> None:
        merged = merge(left, right, self.kind.item.type)
        if merged is not ABSENT:
            self.out.append(merged)


# Comparison


def _compare(old: Value, new: Value, kind: SchemaType, path: Path, out: Comparison) -> None:
    before, after = _deduce(kind, old), _deduce(kind, new)
    if new is ABSENT:
        leaf = _compare_as(old, new, before, path, out)
    else:
        if old is not ABSENT and _shape(before) != _shape(after):
            _compare_as(old, new, before, path, out)
        leaf = _compare_as(old, new, after, path, out)
    if leaf:
        return
    if old is ABSENT:
        fieldsets.insert(out.added, path)
    elif new is ABSENT:
        fieldsets.insert(out.removed, path)


def _compare_as(old: Value, new: Value, kind: SchemaType, path: Path, out: Comparison) -> bool:
    """Compares as the given shape; says whether it was a leaf."""
    if kind.map is not None:
        return _compare_maps(old, new, kind.map, path, out)
    if kind.scalar is not None or kind.list is None:
        return _compare_leaf(old, new, path, out)
    return _compare_lists(old, new, kind.list, path, out)


def _compare_leaf(old: Value, new: Value, path: Path, out: Comparison) -> bool:
    if old is ABSENT:
        fieldsets.insert(out.added, path)
    elif new is ABSENT:
        fieldsets.insert(out.removed, path)
    elif not same(old, new):
        fieldsets.insert(out.modified, path)
    return True


def _compare_maps(old: Value, new: Value, kind: MapType, path: Path, out: Comparison) -> bool:
    left = old if isinstance(old, dict) else {}
    right = new if isinstance(new, dict) else {}
    if kind.atomic or (not left and not right):
        return _compare_leaf(old, new, path, out)
    for name in left | right:
        a, b = left.get(name, ABSENT), right.get(name, ABSENT)
        if a is not b:
            _compare(a, b, kind.type_of(name) or DEDUCED, (*path, fieldsets.field(name)), out)
    return False


def _compare_lists(old: Value, new: Value, kind: ListType, path: Path, out: Comparison) -> bool:
    left = old if isinstance(old, list) else []
    right = new if isinstance(new, list) else []
    if kind.atomic or (not left and not right):
        return _compare_leaf(old, new, path, out)
    by_left, by_right = _group(left, kind), _group(right, kind)
    for element in by_left | by_right:
        _compare_items(by_left.get(element, []), by_right.get(element, []), kind, (*path, element), out)
    return False


def _group(items: list[Value], kind: ListType) -> dict[str, list[Value]]:
    out: dict[str, list[Value]] = {}
    for item in items:
        out.setdefault(list_element(item, kind), []).append(item)
    return out


def _compare_items(left: list[Value], right: list[Value], kind: ListType, path: Path, out: Comparison) -> None:
    """Items of one key; several on a side are duplicates, which are owned as a whole."""
    if len(left) <= 1 and len(right) <= 1:
        _compare(left[0] if left else ABSENT, right[0] if right else ABSENT, kind.item.type, path, out)
    elif len(left) >= 2 and len(right) >= 2:
        if not same(left, right):
            fieldsets.insert(out.modified, path)
    elif len(left) >= 2:
        if right:
            _compare(ABSENT, right[0], kind.item.type, path, out)
        fieldsets.insert(out.removed, path)
    else:
        if left:
            _compare(left[0], ABSENT, kind.item.type, path, out)
        fieldsets.insert(out.added, path)


# Removal


def _remove_from_map(value: dict[str, Value], gone: FieldSet, kind: MapType) -> Value:
    if not value or kind.atomic:
        return None
    out = {}
    for name, sub in value.items():
        element = fieldsets.field(name)
        if fieldsets.has(gone, element):
            continue
        below = gone.get(element)
        out[name] = remove(sub, below, kind.type_of(name) or DEDUCED) if below else sub
    return out or None


def _remove_from_list(value: list[Value], gone: FieldSet, kind: ListType) -> Value:
    if not value or kind.atomic:
        return None
    out = []
    for item in value:
        element = list_element(item, kind)
        if fieldsets.has(gone, element):
            continue
        below = gone.get(element)
        out.append(remove(item, below, kind.item.type) if below else item)
    return out or None


# Schema changes


def _type_below(kind: SchemaType | None, element: str) -> SchemaType | None:
    if kind is None:
        return None
    if element[0] == "f":
        return kind.map.type_of(element[2:]) if kind.map else None
    return kind.list.item.type if kind.list else None


def _atomic_roots(fields: FieldSet, kind: SchemaType, path: Path, was_atomic: bool, roots: list[Path]) -> None:
    if kind is DEDUCED or (kind.map is not None and not kind.map.fields and _is_deduced(kind.map)):
        return
    container = kind.map or (kind.list if kind.scalar is None else None)
    if container is None:
        return
    if container.atomic and not was_atomic:
        if path and (isinstance(container, ListType) or fields):
            roots.append(path)
        return
    for element, below in fields.items():
        inner = _type_below(kind, element) if element != fieldsets.SELF else None
        if inner is not None:
            _atomic_roots(fieldsets.children(fields, element), inner, (*path, element), not below, roots)


def _is_deduced(kind: MapType) -> bool:
    return kind.other is not None and kind.other.type is DEDUCED


# Validation

_FITS: dict[str, tuple[type, ...]] = {"string": (str,), "numeric": (int, float), "boolean": (bool,)}


def _problems(value: Value, kind: SchemaType, allow_duplicates: bool) -> list[str]:
    chosen = _deduce(kind, value)
    if value is None:
        return []
    if chosen.map is not None:
        return _map_problems(value, chosen.map, allow_duplicates)
    if chosen.scalar is not None or chosen.list is None:
        return _scalar_problems(value, chosen.scalar or "untyped")
    return _list_problems(value, chosen.list, allow_duplicates)


def _scalar_problems(value: Value, scalar: str) -> list[str]:
    if scalar == "untyped":
        return [f": expected any scalar, got {_show(value)}"] if isinstance(value, dict | list) else []
    fits = isinstance(value, _FITS[scalar]) and (scalar == "boolean" or not isinstance(value, bool))
    if fits:
        return []
    shown = _show(value)
    if scalar == "numeric":
        return [f": expected numeric (int or float), got {_go_type(value)}"]
    return [f": expected {scalar}, got {f'&value.valueUnstructured{{Value:{shown}}}' if scalar == 'string' else shown}"]


def _map_problems(value: Value, kind: MapType, allow_duplicates: bool) -> list[str]:
    if not isinstance(value, dict):
        return [f": expected map, got &{{{_show(value)}}}"]
    out: list[str] = []
    for name, sub in value.items():
        inner = kind.type_of(name)
        if inner is None:
            return [*out, f".{name}: field not declared in schema"]
        out += [f".{name}{problem}" for problem in _problems(sub, inner, allow_duplicates)]
    return out


def _list_problems(value: Value, kind: ListType, allow_duplicates: bool) -> list[str]:
    if not isinstance(value, list):
        return [f": expected list, got &{{{_show(value)}}}"]
    out: list[str] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        if kind.atomic:
            shown = f"[{index}]"
        else:
            try:
                element = list_element(item, kind)
            except TypeMismatch as err:
                return [*out, f": element {index}: {err}"]
            shown = fieldsets.print_element(element)
            if element in seen and not allow_duplicates:
                out.append(f": duplicate entries for key {shown}")
            seen.add(element)
        out += [f"{shown}{problem}" for problem in _problems(item, kind.item.type, allow_duplicates)]
    return out


def _go_type(value: Value) -> str:
    names = {bool: "bool", int: "int64", float: "float64", str: "string", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}")


def _show(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if isinstance(value, int | float) else fieldsets.print_element("v:" + _json(value))[2:-1]


def _json(value: Value) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
