"""What users ask to overlook: ``ignoreDifferences`` of applications and of the configuration, and known types.

    jsonPointers, jqPathExpressions    removed from both sides
    managedFieldsManagers              fields that these managers own and that differ: removed from both sides
    knownTypeFields                    fields of custom kinds in the canonical form of a built-in type

Rules match by globs of group and kind, and by name and namespace where they say so. A rule that fails on an object is
skipped: it says what to overlook, not what must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from tiphys.api import decode, types
from tiphys.cd.plan.objects import Object, at, gvk_of, metadata_of, name_of, namespace_of, with_value
from tiphys.lang import durations, globs, jq
from tiphys.lang.jq.compiling import compile_filter
from tiphys.machinery.patches import json as json_patch
from tiphys.machinery.ssa import DEDUCED, SchemaType, fieldsets, values

_ROLLOUT: Final = ("argoproj.io", "Rollout")


class IgnoreError(ValueError):
    """A rule that cannot be read, or a known field whose value does not fit its type."""


@dataclass(frozen=True)
class Rule:
    """One entry of ``ignoreDifferences``; empty ``name`` and ``namespace`` match all."""

    group: str
    kind: str
    name: str = ""
    namespace: str = ""
    pointers: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    @classmethod
    def of(cls, entry: Mapping[str, Any], group: str | None = None, kind: str | None = None) -> Rule:
        return cls(
            entry.get("group") or "" if group is None else group,
            entry.get("kind") or "" if kind is None else kind,
            entry.get("name") or "",
            entry.get("namespace") or "",
            tuple(entry.get("jsonPointers") or ()),
            tuple(entry.get("jqPathExpressions") or ()),
            tuple(entry.get("managedFieldsManagers") or ()),
        )

    def matches(self, obj: Object) -> bool:
        gvk = gvk_of(obj)
        return (
            globs.fits(self.group, gvk.group)
            and globs.fits(self.kind, gvk.kind)
            and self.name in ("", name_of(obj))
            and self.namespace in ("", namespace_of(obj))
        )


@dataclass(frozen=True)
class Ignores:
    """All rules of a comparison: the application's and those of the configuration (by ``group/Kind``, ``Kind``)."""

    rules: tuple[Rule, ...] = ()
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Mapping[str, Any]] | None, overrides: Mapping[str, Any] | None = None) -> Ignores:
        """Raises IgnoreError for an expression that is none."""
        found = cls(tuple(Rule.of(entry) for entry in entries or ()), overrides or {})
        for rule in found._all:
            for expression in rule.expressions:
                _check(expression)
        return found

    def applied(self, obj: Object) -> Object:
        """The object without what is to be overlooked. Raises IgnoreError for a known field of the wrong form."""
        gvk = gvk_of(obj)
        for rule in self._all_for(gvk.group, gvk.kind):
            if rule.name in ("", name_of(obj)) and rule.namespace in ("", namespace_of(obj)):
                obj = self._removed(obj, rule)
        for path, type_name in self._known.get((gvk.group, gvk.kind), ()):
            obj = _with_known(obj, path, type_name)
        return obj

    def trusted_managers(self, obj: Object) -> tuple[str, ...]:
        """The managers whose fields are not compared."""
        gvk = gvk_of(obj)
        found: list[str] = []
        for key in (f"{gvk.group}/{gvk.kind}", "*/*"):
            ignored = (self.overrides.get(key) or {}).get("ignoreDifferences") or {}
            found += ignored.get("managedFieldsManagers") or ()
        for rule in self.rules:
            found += rule.managers if rule.managers and rule.matches(obj) else ()
        return tuple(dict.fromkeys(found))

    @cached_property
    def _all(self) -> tuple[Rule, ...]:
        of_configuration = []
        for key, override in self.overrides.items():
            group_kind, ignored = _group_kind(key), override.get("ignoreDifferences")
            if group_kind is not None and ignored:
                of_configuration.append(Rule.of({**ignored, "name": "", "namespace": ""}, *group_kind))
        return (*self.rules, *of_configuration)

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str], tuple[Rule, ...]]:
        return {}

    def _all_for(self, group: str, kind: str) -> tuple[Rule, ...]:
        found = self._by_kind.get((group, kind))
        if found is None:
            found = tuple(r for r in self._all if globs.fits(r.group, group) and globs.fits(r.kind, kind))
            self._by_kind[group, kind] = found
        return found

    @cached_property
    def _known(self) -> dict[tuple[str, str], list[tuple[tuple[str, ...], str]]]:
        found: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}
        for key, override in self.overrides.items():
            group_kind = _group_kind(key) or ("", "")
            for entry in override.get("knownTypeFields") or ():
                if _reader(entry.get("type", "")) is not None:
                    path = tuple(str(entry.get("field", "")).split("."))
                    found.setdefault(group_kind, []).append((path, entry["type"]))
        found.setdefault(_ROLLOUT, [(("spec", "template", "spec"), "core/v1/PodSpec")])
        return found

    def _removed(self, obj: Object, rule: Rule) -> Object:
        for pointer in rule.pointers:
            try:
                obj = json_patch.apply(obj, [{"op": "remove", "path": pointer}])
            except json_patch.JsonPatchError:
                continue
        for expression in rule.expressions:
            try:
                left = jq.delete_matching(expression, obj)
            except jq.JqError:
                continue
            if isinstance(left, Mapping):
                obj = left
        return obj


def without_owned(
    live: Object, target: Object, managers: Sequence[str], kind: SchemaType | None
) -> tuple[Object, Object]:
    """Both without the fields in which they differ and that one of ``managers`` owns."""
    entries = metadata_of(live).get("managedFields") or ()
    owned = [entry.get("fieldsV1") or {} for entry in entries if entry.get("manager") in managers]
    kind = kind or DEDUCED
    if not owned:
        return live, target
    try:
        for side in (live, target):
            values.validate(side, kind)
        modified = values.compare(live, target, kind).modified
    except values.TypeMismatch:
        return live, target
    for fields in owned:
        common = fieldsets.intersection(fields, modified)
        if common:
            live, target = values.remove(live, common, kind), values.remove(target, common, kind)
    return live, target


def _check(expression: str) -> None:
    try:
        compile_filter(f"del({expression})")
    except jq.JqSyntaxError as err:
        raise IgnoreError(str(err)) from err


def _group_kind(key: str) -> tuple[str, str] | None:
    match key.split("/"):
        case [kind]:
            return "", kind
        case [group, kind]:
            return group, kind
    return None


# Known types


def _with_known(obj: Object, path: tuple[str, ...], type_name: str) -> Object:
    """The field in its canonical form; lists on the way are gone through."""
    for index in range(len(path)):
        held = at(obj, *path[: index + 1])
        if isinstance(held, list):
            rest = path[index + 1 :]
            items = [_known_item(item, rest, type_name) for item in held]
            return with_value(obj, items, *path[: index + 1])
    held = at(obj, *path)
    if held is None:
        return obj
    return with_value(obj, _canonical(held, type_name), *path)


def _known_item(item: Any, rest: tuple[str, ...], type_name: str) -> Any:
    if not isinstance(item, Mapping):
        return item
    return _with_known(item, rest, type_name) if rest else _canonical(item, type_name)


def _canonical(value: Any, type_name: str) -> Any:
    reader = _reader(type_name)
    assert reader is not None
    return reader(value)


def _reader(type_name: str) -> Callable[[Any], Any] | None:
    if type_name == "core/Quantity":
        return _quantity
    if type_name == "meta/v1/Duration":
        return _duration
    if type_name == "core/v1/ResourceList":
        return _resource_list
    group, _, name = type_name.partition("/v1/")
    if group != "core" or not name:
        return None
    full = f"k8s.io.api.core.v1.{name}"
    try:
        types.root(full)
    except KeyError:
        return None
    return lambda value: _through(full, value)


def _through(type_name: str, value: Any) -> Any:
    try:
        return decode.pruned(type_name, decode.decode(type_name, value).value)
    except decode.DecodeError as err:
        raise IgnoreError(str(err)) from err


def _quantity(value: Any) -> Any:
    return _through("k8s.io.apimachinery.pkg.api.resource.Quantity", value)


def _resource_list(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise IgnoreError("json: cannot unmarshal into Go value of type v1.ResourceList")
    return {name: _quantity(amount) for name, amount in value.items()}


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise IgnoreError("json: cannot unmarshal into Go value of type string")
    try:
        return durations.format(durations.parse(value))
    except durations.DurationError as err:
        raise IgnoreError(str(err)) from err
