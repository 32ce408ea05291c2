"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, numbered, the oldest thrown away.

Source: pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.lang.gojson import dump_bytes
from tiphys.machinery.actions import Action, Create, Delete, Patch
from tiphys.machinery.equality import same
from tiphys.machinery.resources import CONTROLLER_REVISIONS, Resource, key_of

Object = Mapping[str, Any]

HASH_LABEL = "controller-revision-hash"


@dataclass(frozen=True)
class History:
    """``update`` is the revision of the present template (made by ``actions`` where it is new); oldest first."""

    revisions: tuple[Object, ...]
    update: Object
    actions: tuple[Action, ...]


def data_of(template: Object) -> dict[str, Any]:
    """What a revision keeps of a template."""
    cleaned = {**template, "metadata": {k: v for k, v in (template.get("metadata") or {}).items() if v is not None}}
    return {"spec": {"template": {"$patch": "replace", **cleaned}}}


def template_of(revision: Object) -> dict[str, Any]:
    template = revision["data"]["spec"]["template"]
    return {key: value for key, value in template.items() if key != "$patch"}


def encoded(data: Mapping[str, Any]) -> bytes:
    """The canonical text that is hashed."""
    return dump_bytes(data)


def track(
    owner: Object,
    resource: Resource,
    held: Iterable[Object],
    make: Callable[[dict[str, Any], int], Object],
) -> History:
    """Finds the revision of the owner's template, brings it to the end where an older one is used again, or makes it.

    ``make`` builds a new one of data and number.
    """
    ordered = sorted(held, key=lambda each: (int(each["revision"]), each["metadata"].get("creationTimestamp", "")))
    data = data_of(owner["spec"].get("template") or {})
    number = int(ordered[-1]["revision"]) + 1 if ordered else 1
    known = [each for each in ordered if same(each.get("data"), data)]
    if not known:
        made = make(data, number)
        return History((*ordered, made), made, (Create(CONTROLLER_REVISIONS, made, why="a new template"),))
    found = known[-1]
    if found is ordered[-1]:
        return History(tuple(ordered), found, ())
    patch = Patch(CONTROLLER_REVISIONS, key_of(found), {"revision": number}, why="an old template is used again")
    renewed = {**found, "revision": number}
    return History((*(each for each in ordered if each is not found), renewed), renewed, (patch,))


def new(
    owner: Object, resource: Resource, name: str, labels: Mapping[str, str], data: Mapping[str, Any], number: int
) -> dict[str, Any]:
    """A revision that is not stored yet."""
    meta: dict[str, Any] = {"name": name, "namespace": owner["metadata"]["namespace"], "labels": dict(labels)}
    annotations = owner["metadata"].get("annotations")
    if annotations:
        meta["annotations"] = dict(annotations)
    meta["ownerReferences"] = [controller_reference(owner, resource)]
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": meta,
        "data": dict(data),
        "revision": number,
    }


def surplus(history: Sequence[Object], live: set[str], limit: int | None) -> list[Delete]:
    """The oldest revisions beyond ``limit`` that nobody uses (``live`` are names in use)."""
    unused = [each for each in history if each["metadata"]["name"] not in live and "uid" in each["metadata"]]
    extra = len(unused) - (10 if limit is None else int(limit))
    why = "beyond revisionHistoryLimit"
    return [
        Delete(CONTROLLER_REVISIONS, key_of(each), each["metadata"]["uid"], why=why) for each in unused[: max(0, extra)]
    ]
