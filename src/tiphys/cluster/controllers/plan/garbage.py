"""What becomes of one object whose owners went, or that waits for its dependents before it goes.

    owners gone, none left ──► deleted (as its own finalizers ask: orphan, foreground, else background)
    some gone, one left    ──► the dangling references are removed
    foregroundDeletion     ──► dependents that block it are deleted, then the finalizer is removed
    orphan                 ──► dependents lose their reference to it, then the finalizer is removed

Source: pkg/controller/garbagecollector (attemptToDeleteItem, processDeletingDependentsItem, orphanDependents).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.controllers.graph import Item
from tiphys.machinery.actions import Action, Delete, Patch, PatchType

Object = Mapping[str, Any]

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"


@dataclass(frozen=True)
class Observed:
    """``owners`` maps the uid of each reference to the owner, None where it is gone; ``dependents`` are live."""

    item: Item
    obj: Object
    owners: Mapping[str, Object | None]
    dependents: tuple[tuple[Item, Object], ...] = ()


def plan(seen: Observed) -> list[Sequence[Action]]:
    meta = seen.obj["metadata"]
    finalizers = meta.get("finalizers") or []
    if meta.get("deletionTimestamp"):
        if ORPHAN in finalizers:
            return [_orphaned(seen), [_without_finalizer(seen, ORPHAN)]]
        if FOREGROUND in finalizers:
            return _dependents_first(seen)
        return []
    if not meta.get("ownerReferences"):
        return []
    return _judge_owners(seen)


def _judge_owners(seen: Observed) -> list[Sequence[Action]]:
    references = seen.obj["metadata"]["ownerReferences"]
    gone = [each for each in references if seen.owners.get(each["uid"]) is None]
    waiting = [each for each in references if each not in gone and _waits_for(seen.owners[each["uid"]], each)]
    solid = [each for each in references if each not in gone and each not in waiting]
    if solid:
        lost = {each["uid"] for each in (*gone, *waiting)}
        return [[_without_owners(seen.item, seen.obj, lost)]] if lost else []
    if waiting and seen.dependents:
        return [_unblocking(seen), [_delete(seen.item, seen.obj, "Foreground")]]
    return [[_delete(seen.item, seen.obj, _own_policy(seen.obj))]]


def _waits_for(owner: Object | None, reference: Mapping[str, Any]) -> bool:
    meta = owner["metadata"] if owner is not None else {}
    holds = meta.get("deletionTimestamp") and FOREGROUND in (meta.get("finalizers") or ())
    return bool(holds and reference.get("blockOwnerDeletion"))


def _dependents_first(seen: Observed) -> list[Sequence[Action]]:
    uid = seen.obj["metadata"]["uid"]
    blocking = [(item, obj) for item, obj in seen.dependents if _blocks(obj, uid)]
    if not blocking:
        return [[_without_finalizer(seen, FOREGROUND)]]
    return []  # the dependents are looked at themselves: their owner waits


def _blocks(obj: Object, uid: str) -> bool:
    references = obj["metadata"].get("ownerReferences") or ()
    return any(each["uid"] == uid and each.get("blockOwnerDeletion") for each in references)


def _unblocking(seen: Observed) -> list[Action]:
    """Where a dependent waits for this one in turn (a circle), this one stops holding its owners."""
    if not any(FOREGROUND in (obj["metadata"].get("finalizers") or ()) for _, obj in seen.dependents):
        return []
    meta = seen.obj["metadata"]
    freed = [{**each, "blockOwnerDeletion": False} for each in meta["ownerReferences"]]
    patch = {"metadata": {"uid": meta["uid"], "ownerReferences": freed}}
    return [Patch(seen.item.resource, seen.item.key, patch, why="its dependents wait for it: a circle")]


def _orphaned(seen: Observed) -> list[Action]:
    uid = seen.obj["metadata"]["uid"]
    return [_without_owners(item, obj, {uid}) for item, obj in seen.dependents]


def _without_owners(item: Item, obj: Object, lost: set[str]) -> Patch:
    meta = obj["metadata"]
    kept = [each for each in meta.get("ownerReferences") or () if each["uid"] not in lost]
    patch = {
        "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "ownerReferences": kept or None}
    }
    return Patch(item.resource, item.key, patch, why="these owners are gone")


def _without_finalizer(seen: Observed, finalizer: str) -> Patch:
    meta = seen.obj["metadata"]
    kept = [each for each in meta.get("finalizers") or () if each != finalizer]
    patch = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": kept or None}}
    return Patch(seen.item.resource, seen.item.key, patch, PatchType.MERGE, why=f"{finalizer} is done")


def _own_policy(obj: Object) -> str:
    finalizers = obj["metadata"].get("finalizers") or ()
    return "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"


def _delete(item: Item, obj: Object, policy: str) -> Delete:
    return Delete(item.resource, item.key, obj["metadata"]["uid"], propagation=policy, why="no owner is left")
