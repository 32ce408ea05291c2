"""One apply or one update of an object: what becomes of the object and of everybody's field sets.

Owners are kept per ``Manager`` (name, operation, version, subresource). The rules, from structured-merge-diff's
``merge/update.go``:

- an update takes every field that it changes from whoever had it, silently;
- an apply that would change a field somebody else owns is a conflict, unless forced;
- a field that an applier named last time and does not name now is removed, unless another owns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tiphys.machinery.ssa import fieldsets, values
from tiphys.machinery.ssa.fieldsets import FieldSet, Path
from tiphys.machinery.ssa.schema import SchemaType

TypeOf = Callable[[str], SchemaType | None]
Convert = Callable[[Any, str], Any]
"""An object as another version has it; None where nobody can tell: its owners there then keep what they have."""


def renamed(obj: Any, version: str) -> Any:
    """An object of a kind whose versions differ in their names alone."""
    return obj | {"apiVersion": version}


class Manager(NamedTuple):
    """Who owns fields. ``version`` is empty for appliers: they keep their identity across versions."""

    name: str
    operation: str
    version: str = ""
    subresource: str = ""


@dataclass(frozen=True)
class Owned:
    """The fields of one manager, as they are called in ``version``."""

    fields: FieldSet
    version: str
    applied: bool


Owners = Mapping[Manager, Owned]


class ApplyConflicts(Exception):
    """Fields that somebody else owns; (manager, path) pairs in the original's order within a manager."""

    def __init__(self, conflicts: list[tuple[Manager, Path]]) -> None:
        super().__init__(f"{len(conflicts)} conflicts")
        self.conflicts = conflicts


@dataclass(frozen=True)
class Merger:
    """Merges for one kind at one version. ``type_of`` knows the served versions; ``ignored`` are the fields that this
    endpoint never owns (status on the main resource, spec on status). ``convert`` is for the fields that others own as
    their version calls them."""

    version: str
    type_of: TypeOf
    ignored: FieldSet
    convert: Convert = renamed

    @property
    def kind(self) -> SchemaType:
        kind = self.type_of(self.version)
        if kind is None:
            raise KeyError(self.version)
        return kind

    def update(self, live: Any, new: Any, owners: Owners, manager: Manager) -> dict[Manager, Owned]:
        """The owners after ``manager`` replaced ``live`` by ``new``.

        Raises ``values.TypeMismatch`` where one of the two has fields that another owner's version does not know.
        """
        known = self._reconciled(owners)
        after, changed = self._settle(live, new, known, manager, force=True)
        mine = after[manager].fields if manager in after else {}
        mine = fieldsets.difference(mine, changed.removed)
        mine = fieldsets.union(fieldsets.union(mine, changed.modified), changed.added)
        return _with(after, manager, Owned(self._heeded(mine), self.version, applied=False))

    def apply(
        self, live: Any, applied: Any, owners: Owners, manager: Manager, *, force: bool
    ) -> tuple[Any | None, dict[Manager, Owned]]:
        """The merged object (None where nothing changed) and the owners. Raises ``ApplyConflicts``, and
        ``values.TypeMismatch`` as ``update`` does."""
        known = self._reconciled(owners)
        merged = values.merge(live, applied, self.kind)
        last = known.get(manager)
        mine = self._heeded(values.fields_of(applied, self.kind))
        known[manager] = Owned(mine, self.version, applied=True)
        new = self._pruned(merged, known, last)
        after, _ = self._settle(live, new, known, manager, force=force)
        return (None if values.same(live, new) else new), after

    def _reconciled(self, owners: Owners) -> dict[Manager, Owned]:
        """Owners whose version is still served, with their sets brought in line with today's schema."""
        out = {}
        for manager, owned in owners.items():
            kind = self.type_of(owned.version)
            if kind is not None:
                out[manager] = replace(owned, fields=values.reconcile(owned.fields, kind))
        return out

    def _heeded(self, fields: FieldSet) -> FieldSet:
        return fieldsets.recursive_difference(fields, self.ignored) if self.ignored else fields

    def _settle(
        self, live: Any, new: Any, owners: Owners, manager: Manager, *, force: bool
    ) -> tuple[dict[Manager, Owned], values.Comparison]:
        """Takes from the others what changed. Raises ``ApplyConflicts`` unless ``force``."""
        changes = {self.version: self._compared(live, new, self.kind)}
        after, conflicts = dict(owners), list[tuple[Manager, Path]]()
        for other, owned in owners.items():
            if other == manager:
                continue
            if owned.version not in changes:
                changes[owned.version] = self._compared_at(owned.version, live, new)
            change = changes[owned.version]
            clash = fieldsets.intersection(owned.fields, fieldsets.union(change.modified, change.added))
            conflicts += [(other, path) for path in fieldsets.paths(clash)]
            left = fieldsets.difference(fieldsets.difference(owned.fields, clash), change.removed)
            after[other] = replace(owned, fields=left)
        if conflicts and not force:
            raise ApplyConflicts(conflicts)
        return {m: o for m, o in after.items() if o.fields}, changes[self.version]

    def _compared(self, live: Any, new: Any, kind: SchemaType) -> values.Comparison:
        change = values.compare(live, new, kind)
        return values.Comparison(
            self._heeded(change.removed), self._heeded(change.modified), self._heeded(change.added)
        )

    def _compared_at(self, version: str, live: Any, new: Any) -> values.Comparison:
        """What changed, as another version that is served tells it."""
        kind = self.type_of(version)
        assert kind is not None, "owners of other versions are left out"
        before, after = self.convert(live, version), self.convert(new, version)
        if before is None or after is None:
            return values.Comparison({}, {}, {})
        for value in (before, after):
            values.validate(value, kind, allow_duplicates=True)
        return self._compared(before, after, kind)

    def _pruned(self, merged: Any, owners: Owners, last: Owned | None) -> Any:
        """Removes what the applier named last time, names no more and nobody else owns."""
        if last is None or not last.fields:
            return merged
        kind = self.type_of(last.version)
        if kind is None:
            return merged
        if last.version != self.version:
            there = self.convert(merged, last.version)
            return merged if there is None else self.convert(self._pruned_at(there, owners, last, kind), self.version)
        return self._pruned_at(merged, owners, last, kind)

    def _pruned_at(self, merged: Any, owners: Owners, last: Owned, kind: SchemaType) -> Any:
        before = values.with_named_fields(last.fields, kind)
        pruned = values.remove(merged, before, kind)
        managed: FieldSet = {}
        for owned in owners.values():
            managed = fieldsets.union(managed, owned.fields)
        all_fields = values.with_named_fields(values.fields_of(merged, kind), kind)
        kept = fieldsets.union(
            values.with_named_fields(values.fields_of(pruned, kind), kind), values.with_named_fields(managed, kind)
        )
        pruned = values.remove(merged, fieldsets.difference(all_fields, kept), kind)
        # Items that were never the applier's are given back: unowned ones, and those of updaters.
        left = values.with_named_fields(values.fields_of(pruned, kind), kind)
        gone = fieldsets.intersection(fieldsets.difference(all_fields, left), before)
        return values.remove(merged, gone, kind)


def _with(owners: dict[Manager, Owned], manager: Manager, owned: Owned) -> dict[Manager, Owned]:
    out = {m: o for m, o in owners.items() if m != manager}
    return out | {manager: owned} if owned.fields else out
