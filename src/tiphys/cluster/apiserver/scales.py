"""Server-side apply of a Scale: the owners of an object's replicas, as the Scale shows them and back.

The object's ``managedFields`` say who owns the replicas under the object's own path and version; those of its Scale say
so under ``.spec.replicas`` of ``autoscaling/v1`` (the original's ``ScaleHandler``). Reading and changing the number
itself is in ``subresources``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tiphys.api import kube_types
from tiphys.cluster.apiserver.ownership import untyped
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.ssa import FieldManager, fieldsets
from tiphys.machinery.ssa.values import TypeMismatch

API_VERSION: Final = "autoscaling/v1"
KIND: Final = "Scale"
_REPLICAS: Final[Object] = {"f:spec": {"f:replicas": {}}}


def applied(
    scale: Object, owners: Sequence[Object], patch: Object, steps: Sequence[str], who: str, now: str, *, force: bool
) -> Object:
    """The Scale after ``who`` applied ``patch``, with its owners. Raises BadRequest, Conflict or UntypedPatch.

    ``owners`` are those of its object, where the replicas are at ``steps``.
    """
    manager = FieldManager(
        API_VERSION,
        KIND,
        lambda version: kube_types.merge_type(version, KIND) if version == API_VERSION else None,
        "scale",
    )
    shown = [_of_scale(entry) for entry in owners if _owns(entry, steps)]
    live = scale | {"metadata": scale["metadata"] | {"managedFields": shown}}
    try:
        return manager.apply(live, patch, who, now, force=force)
    except TypeMismatch as err:
        raise untyped(patch, API_VERSION, KIND, err) from None


def owners_of_object(
    owners: Sequence[Object], scale: Mapping[str, Any], steps: Sequence[str], version: str
) -> list[Object]:
    """The owners of the object after its Scale's have changed; new ones have no time, as in the original."""
    path = _at(steps)
    left: list[Object] = []
    of_scale = {_identity(entry): entry for entry in scale["metadata"].get("managedFields") or ()}
    for entry in owners:
        keeps = of_scale.pop(_identity(entry), None) is not None
        fields = entry.get("fieldsV1") or {}
        fields = fieldsets.union(fields, path) if keeps else fieldsets.difference(fields, path)
        if fields:
            left.append(entry | {"fieldsV1": fields})
    new = [
        {key: value for key, value in entry.items() if key != "time"} | {"apiVersion": version, "fieldsV1": path}
        for entry in of_scale.values()
    ]
    return sorted([*left, *new], key=lambda e: (e["operation"], e.get("time", ""), e.get("manager", "")))


def _of_scale(entry: Object) -> Object:
    return entry | {"apiVersion": API_VERSION, "fieldsV1": _REPLICAS}


def _owns(entry: Mapping[str, Any], steps: Sequence[str]) -> bool:
    fields: Any = entry.get("fieldsV1") or {}
    for step in steps:
        fields = fields.get(f"f:{step}") if isinstance(fields, Mapping) else None
    return fields is not None


def _at(steps: Sequence[str]) -> Object:
    fields: Object = {}
    for step in reversed(steps):
        fields = {f"f:{step}": fields}
    return fields


def _identity(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")
