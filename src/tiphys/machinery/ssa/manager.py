"""``metadata.managedFields``: what the API server calls on every write.

``FieldManager.update`` after a create, update or patch; ``FieldManager.apply`` for an apply patch. The layers of
apimachinery's ``managedfields`` package are steps here: version check, the last-applied annotation of kubectl, owners
of what existed before the first apply, the cap on update entries, identity, times, metadata that nobody owns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tiphys.lang import gojson
from tiphys.machinery.errors import BadRequest, Conflict
from tiphys.machinery.ssa import fieldsets, values
from tiphys.machinery.ssa.fieldsets import FieldSet, Path
from tiphys.machinery.ssa.ownership import ApplyConflicts, Convert, Manager, Merger, Owned, TypeOf, renamed

Object = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# apimachinery pkg/api/validation: the total size of all annotations.
ANNOTATIONS_SIZE_MAX = 256 * 1024
# managedfields/internal/fieldmanager.go DefaultMaxUpdateManagers
UPDATE_MANAGERS_MAX = 10
_SELF = Manager("current-operation", "Update")

_METADATA = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
             "managedFields", "resourceVersion")  # fmt: skip
_NOBODYS: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {fieldsets.SELF: {}, **{"f:" + name: {} for name in _METADATA}},
}


def _unchanged(obj: Object) -> Object:
    return obj


@dataclass(frozen=True)
class _Managed:
    """Decoded managedFields."""

    owners: dict[Manager, Owned] = field(default_factory=dict)
    times: dict[Manager, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FieldManager:
    """For one resource at one version and one subresource ("" is the main one).

    ``type_of`` gives the merge type for a version ("v1", "apps/v1"; None where it is not served). ``ignored`` are
    the fields this endpoint never owns. ``normalise`` turns a merged object into what the server would store (defaults,
    empty fields dropped); built-in kinds need it, custom resources pass through. ``convert`` gives an object as another
    version has it. ``empty`` is the object before any
    write: a built-in kind's zero object has its structs already, a custom resource has nothing.
    """

    api_version: str
    kind: str
    type_of: TypeOf
    subresource: str = ""
    ignored: FieldSet = field(default_factory=dict)
    normalise: Callable[[Object], Object] = _unchanged
    empty: Object = field(default_factory=dict)
    convert: Convert = renamed

    def update(self, live: Object | None, new: Object, manager: str, now: str) -> Object:
        """``new`` with its owners after ``manager`` wrote it over ``live`` (None: created) at ``now`` (RFC 3339).

        Without any where an owner's version does not know its fields: the original then forgets the owners.
        """
        managed = self._of_request(live, new)
        before = _without_managed(live) if live is not None else self._empty()
        after = _without_managed(new)
        if not managed.owners and live is not None and (live.get("metadata") or {}).get("uid"):
            return after
        try:
            return _encode(after, self._updated(before, after, managed, manager, now))
        except values.TypeMismatch:
            return after

    def apply(self, live: Object | None, applied: Object, manager: str, now: str, *, force: bool = False) -> Object:
        """The object after the apply. Raises ``BadRequest``, ``Conflict`` (with causes) or ``values.TypeMismatch``."""
        self._check(applied)
        managed = _decode((live or {}).get("metadata", {}).get("managedFields"))
        if managed is None:
            raise BadRequest("failed to decode managed fields")
        before = _without_managed(live) if live is not None else self._empty()
        if not managed.owners:
            managed = self._updated(self._empty(), before, managed, "before-first-apply", now)
        merged, managed = self._applied(before, applied, managed, manager, now, force)
        if manager == "kubectl":
            merged = _refresh_last_applied(merged, applied)
        return _encode(merged, managed)

    def _check(self, applied: Object) -> None:
        if applied.get("apiVersion") != self.api_version or applied.get("kind") != self.kind:
            group, _, version = str(applied.get("apiVersion", "")).rpartition("/")
            raise BadRequest(f"invalid object type: {group}/{version}, Kind={applied.get('kind', '')}")
        if (applied.get("metadata") or {}).get("managedFields") is not None:
            raise BadRequest("metadata.managedFields must be nil")

    def _empty(self) -> Object:
        return self.empty or {"apiVersion": self.api_version, "kind": self.kind}

    def _merger(self) -> Merger:
        return Merger(self.api_version, self.type_of, self.ignored, self.convert)

    def _of_request(self, live: Object | None, new: Object) -> _Managed:
        """Ownership as the request has it; as the live object has it where the request's is missing or broken."""
        of_live = ((live or {}).get("metadata") or {}).get("managedFields")
        if self.subresource:
            return _decode(of_live) or _Managed()
        sent = (new.get("metadata") or {}).get("managedFields")
        if sent in ([], [{}]):
            return _Managed()
        managed = _decode(sent)
        return managed if managed is not None and managed.owners else _decode(of_live) or _Managed()

    def _updated(self, before: Object, after: Object, managed: _Managed, name: str, now: str) -> _Managed:
        manager = Manager(name or "unknown", "Update", self.api_version, self.subresource)
        owners = _strip(self._merger().update(before, after, managed.owners, _SELF), _SELF)
        times = dict(managed.times)
        mine = owners.pop(_SELF, None)
        if mine is not None:
            previous = owners.get(manager)
            joined = fieldsets.union(mine.fields, previous.fields) if previous else mine.fields
            owners[manager] = Owned(joined, mine.version, mine.applied)
            times[manager] = now
        return _capped(_Managed(owners, times))

    def _applied(
        self, live: Object, applied: Object, managed: _Managed, name: str, now: str, force: bool
    ) -> tuple[Object, _Managed]:
        manager = Manager(name or "unknown", "Apply", "", self.subresource)
        merger = self._merger()
        values.validate(applied, merger.kind)
        try:
            merged, owners = merger.apply(live, applied, managed.owners, manager, force=force)
        except ApplyConflicts as err:
            left = self._conflicts_left(err.conflicts, live) if name == "kubectl" else err.conflicts
            if left:
                raise _conflict(left) from err
            merged, owners = merger.apply(live, applied, managed.owners, manager, force=True)
        times = dict(managed.times) if merged is None else managed.times | {manager: now}
        result = live if merged is None else self.normalise(merged)
        return result, _Managed(_strip(owners, manager), times)

    def _conflicts_left(self, conflicts: list[tuple[Manager, Path]], live: Object) -> list[tuple[Manager, Path]]:
        """Conflicts that client-side apply does not explain: fields whose last applied value still stands are free."""
        text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
        try:
            last = orjson.loads(text or "")
        except orjson.JSONDecodeError:
            return conflicts
        if last.get("apiVersion") != self.api_version:
            return conflicts
        kind = self._merger().kind
        change = values.compare(last, live, kind)
        free = values.fields_of(last, kind)
        for gone in (change.modified, change.added, change.removed):
            free = fieldsets.difference(free, gone)
        return [(manager, path) for manager, path in conflicts if not fieldsets.contains(free, path)]


def upgrade_client_side_apply(
    entries: list[Object], client_side_managers: set[str], manager: str, subresource: str = ""
) -> list[Object]:
    """managedFields where what kubectl's client-side apply owned now belongs to the applier ``manager``.

    client-go's ``csaupgrade.UpgradeManagedFields``: the first update entry of those managers turns into the apply entry
    unless there is one, which then takes their fields; the others go.
    """

    def is_old(entry: Object) -> bool:
        of_csa = entry.get("manager") in client_side_managers and entry.get("operation") == "Update"
        return of_csa and entry.get("subresource", "") == subresource

    def is_new(entry: Object) -> bool:
        of_ssa = entry.get("manager") == manager and entry.get("operation") == "Apply"
        return of_ssa and entry.get("subresource", "") == subresource

    old = [entry for entry in entries if is_old(entry)]
    if not old:
        return entries
    target = next((entry for entry in entries if is_new(entry)), None) or old[0]
    fields: FieldSet = target.get("fieldsV1") or {}
    for entry in old:
        fields = fieldsets.union(fields, entry.get("fieldsV1") or {})
    upgraded = target | {"manager": manager, "operation": "Apply", "fieldsV1": fields}
    return [upgraded if e is target else e for e in entries if e is target or not is_old(e)]


# The wire form


def _decode(entries: Any) -> _Managed | None:
    """None where the list is invalid."""
    out = _Managed()
    for entry in entries or ():
        if entry.get("operation") not in ("Apply", "Update") or not entry.get("apiVersion"):
            return None
        fields = entry.get("fieldsV1") or {}
        if entry.get("fieldsType") != "FieldsV1" or not fieldsets.is_valid(fields):
            return None
        applied = entry["operation"] == "Apply"
        version = entry["apiVersion"]
        manager = Manager(
            entry.get("manager", ""), entry["operation"], "" if applied else version, entry.get("subresource", "")
        )
        out.owners[manager] = Owned(fields, version, applied)
        if entry.get("time"):
            out.times[manager] = entry["time"]
    return out


def _encode(obj: Object, managed: _Managed) -> Object:
    entries = [_entry(manager, owned, managed.times.get(manager)) for manager, owned in managed.owners.items()]
    if not entries:
        return obj
    entries.sort(key=_entry_order)
    return obj | {"metadata": (obj.get("metadata") or {}) | {"managedFields": entries}}


def _entry(manager: Manager, owned: Owned, time: str | None) -> Object:
    entry: Object = {"manager": manager.name, "operation": "Apply" if owned.applied else "Update"}
    entry["apiVersion"] = owned.version
    if time:
        entry["time"] = time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fieldsets.ordered(owned.fields)}
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def _entry_order(entry: Object) -> tuple[str, str, str, str, str]:
    """RFC 3339 times in UTC sort as text; an entry without one comes first."""
    return (
        entry["operation"], entry.get("time", ""), entry["manager"], entry["apiVersion"], entry.get("subresource", "")
    )  # fmt: skip


def _without_managed(obj: Object) -> Object:
    meta = obj.get("metadata")
    if not isinstance(meta, Mapping) or "managedFields" not in meta:
        return obj
    return obj | {"metadata": {k: v for k, v in meta.items() if k != "managedFields"}}


def _strip(owners: dict[Manager, Owned], manager: Manager) -> dict[Manager, Owned]:
    """Type and identity of an object belong to nobody."""
    mine = owners.get(manager)
    if mine is None:
        return owners
    fields = fieldsets.difference(mine.fields, _NOBODYS)
    rest = {m: o for m, o in owners.items() if m != manager}
    return rest | {manager: Owned(fields, mine.version, mine.applied)} if fields else rest


def _capped(managed: _Managed) -> _Managed:
    """At most ten update entries: the oldest of a version are joined in one called "ancient-changes"."""
    updaters = [m for m, owned in managed.owners.items() if not owned.applied]
    if len(updaters) <= UPDATE_MANAGERS_MAX:
        return managed
    updaters.sort(key=lambda m: (managed.times.get(m, ""), _identifier(m)))
    owners, times, count = dict(managed.owners), dict(managed.times), len(updaters)
    first_of: dict[str, Manager] = {}
    for manager in updaters:
        if count <= UPDATE_MANAGERS_MAX:
            break
        owned = owners[manager]
        if owned.version not in first_of:
            first_of[owned.version] = manager
            continue
        bucket = Manager("ancient-changes", "Update", owned.version)
        if bucket not in owners:
            owners[bucket] = owners.pop(first_of[owned.version])
        joined = fieldsets.union(owned.fields, owners[bucket].fields)
        del owners[manager]
        owners[bucket] = Owned(joined, owned.version, owned.applied)
        times[bucket] = managed.times.get(manager, "")
        count -= 1
    return _Managed(owners, times)


# Messages


def _identifier(manager: Manager) -> str:
    """The original's key of a manager (JSON of the entry), whose order shows in messages."""
    parts = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.version}
    parts["subresource"] = manager.subresource
    return orjson.dumps({k: v for k, v in parts.items() if v}).decode()


def _print_manager(manager: Manager) -> str:
    text = orjson.dumps(manager.name).decode()
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return f"{text} using {manager.version}" if manager.operation == "Update" else text


def _conflict(conflicts: list[tuple[Manager, Path]]) -> Conflict:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {_print_manager(manager)}",
            "field": fieldsets.print_path(path),
        }
        for manager, path in conflicts
    ]
    return Conflict(_conflict_message(conflicts), {"causes": causes})


def _conflict_message(conflicts: list[tuple[Manager, Path]]) -> str:
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        shown = fieldsets.print_path(path)
        return f"Apply failed with 1 conflict: conflict with {_print_manager(manager)}: {shown}"
    lines = []
    for manager in sorted({m for m, _ in conflicts}, key=_identifier):
        lines.append(f"conflicts with {_print_manager(manager)}:")
        lines += [f"- {fieldsets.print_path(path)}" for m, path in conflicts if m == manager]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


def _refresh_last_applied(merged: Object, applied: Object) -> Object:
    """kubectl's annotation follows its server-side applies, where there is one."""
    meta = merged.get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return merged
    bare = dict(applied)
    if own := (applied.get("metadata") or {}).get("annotations"):
        rest = {k: v for k, v in own.items() if k != LAST_APPLIED}
        kept = {k: v for k, v in applied["metadata"].items() if k != "annotations"}
        bare["metadata"] = kept | ({"annotations": rest} if rest else {})
    updated = annotations | {LAST_APPLIED: gojson.dumps(bare) + "\n"}
    if sum(len(k.encode()) + len(str(v).encode()) for k, v in updated.items()) > ANNOTATIONS_SIZE_MAX:
        updated.pop(LAST_APPLIED)
    return merged | {"metadata": meta | {"annotations": updated}}
