"""Who controls an object: references, adoption of what matches and is free, release of what no longer matches.

Source: pkg/controller's controller_ref_manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.machinery.actions import Patch, PatchType
from tiphys.machinery.resources import Resource, key_of
from tiphys.machinery.selectors import LabelSelector

Object = Mapping[str, Any]


def controller_of(obj: Object) -> Mapping[str, Any] | None:
    """The owner reference of the one that controls ``obj``."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            found: Mapping[str, Any] = owner
            return found
    return None


def controller_reference(owner: Object, resource: Resource) -> dict[str, Any]:
    """The reference that makes ``owner`` the controller of an object."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


@dataclass(frozen=True, slots=True)
class Claim:
    """``owned`` are an owner's objects once ``patches`` (adoptions and releases) are done."""

    owned: tuple[Object, ...]
    patches: tuple[Patch, ...]


def claim(
    owner: Object,
    resource: Resource,
    of: Resource,
    controlled: Iterable[Object],
    orphans: Iterable[Object],
    selector: LabelSelector,
    may_adopt: Callable[[Object], bool] = lambda _: True,
) -> Claim:
    """Sorts objects of kind ``of``: those that ``owner`` controls already, and those that nobody does."""
    uid, leaving = owner["metadata"]["uid"], bool(owner["metadata"].get("deletionTimestamp"))
    owned: list[Object] = []
    patches: list[Patch] = []
    for obj in controlled:
        if selector.matches(obj["metadata"].get("labels")):
            owned.append(obj)
        elif not leaving:
            patches.append(_release(of, obj, uid))
    for obj in orphans:
        meta = obj["metadata"]
        free = not leaving and not meta.get("deletionTimestamp") and may_adopt(obj)
        if free and selector.matches(meta.get("labels")):
            patches.append(_adopt(of, obj, controller_reference(owner, resource)))
            owned.append(obj)
    return Claim(tuple(owned), tuple(patches))


def _adopt(of: Resource, obj: Object, reference: Mapping[str, Any]) -> Patch:
    patch = {"metadata": {"ownerReferences": [dict(reference)], "uid": obj["metadata"]["uid"]}}
    return Patch(of, key_of(obj), patch, PatchType.STRATEGIC, why="it matches and nobody controls it")


def _release(of: Resource, obj: Object, uid: str) -> Patch:
    owners = [{"$patch": "delete", "uid": uid}]
    patch = {"metadata": {"ownerReferences": owners, "uid": obj["metadata"]["uid"]}}
    return Patch(of, key_of(obj), patch, PatchType.STRATEGIC, why="it does not match any more")


def reference_to(obj: Object, resource: Resource) -> dict[str, Any]:
    """What an event says that it is about."""
    meta = obj["metadata"]
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
    }
