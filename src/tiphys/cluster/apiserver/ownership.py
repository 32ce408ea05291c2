"""Who owns which field: ``metadata.managedFields`` of every write that names a manager, and server-side apply.

Writers inside the process name none (their status writes are the hot path) and leave ownership as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.api import decode, defaults, kube_types
from tiphys.cluster.apiserver.problems import bad_request
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.cluster.apiserver.versions import Versions
from tiphys.machinery.errors import ApiError
from tiphys.machinery.ssa import DEDUCED, FieldManager, SchemaType, from_openapi
from tiphys.machinery.ssa.ownership import renamed
from tiphys.machinery.ssa.values import TypeMismatch


class UntypedPatch(ApiError):
    """An applied object that does not fit its schema; the original answers a 500 without a reason."""

    code, reason = 500, ""


class Owners:
    """The field managers of all resources."""

    def __init__(self, registry: Registry, versions: Versions) -> None:
        self._registry = registry
        self._versions = versions
        self._managers: dict[tuple[str, str, str, str], FieldManager] = {}
        self._revision = -1

    def update(
        self, info: ResourceInfo, subresource: str, live: Object | None, new: Object, who: str, now: str
    ) -> Object:
        """``new`` with its owners after ``who`` wrote it over ``live`` (None: created).

        What is owned through a Scale has no time: the original loses it on the way to the Scale's object.
        """
        if subresource == "scale":
            now = ""
        return self._manager(info, subresource).update(live, new, who, now)

    def apply(
        self,
        info: ResourceInfo,
        subresource: str,
        live: Object | None,
        applied: Object,
        who: str,
        now: str,
        force: bool,
    ) -> Object:
        """The object after a server-side apply; raises BadRequest, Conflict or UntypedPatch."""
        try:
            return self._manager(info, subresource).apply(live, applied, who, now, force=force)
        except TypeMismatch as err:
            raise untyped(applied, info.resource.api_version, info.kind, err) from None
        except decode.DecodeError as err:
            raise bad_request(str(err)) from None

    def _manager(self, info: ResourceInfo, subresource: str) -> FieldManager:
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self._managers.clear()
        resource = info.resource
        key = (resource.group, resource.version, resource.plural, subresource)
        if key not in self._managers:
            self._managers[key] = self._make(info, subresource)
        return self._managers[key]

    def _make(self, info: ResourceInfo, subresource: str) -> FieldManager:
        resource = info.resource
        custom = info.custom is not None

        def type_of(api_version: str) -> SchemaType | None:
            group, _, version = api_version.rpartition("/")
            served = self._registry.find(group, version, resource.plural)
            return merge_type(served) if served is not None else None

        def convert(obj: Object, api_version: str) -> Object:
            group, _, version = api_version.rpartition("/")
            served = self._registry.find(group, version, resource.plural)
            return self._versions.converted(obj, served) if served is not None else obj

        def untold(obj: Object, api_version: str) -> None:
            """Nobody waits for a webhook to learn who owns what: owners of other versions keep what they have."""

        return FieldManager(
            resource.api_version,
            info.kind,
            type_of,
            subresource,
            _ignored(info, subresource),
            _unchanged if custom else defaults.stored,
            {} if custom else defaults.empty(resource.api_version, info.kind),
            convert if not custom else renamed if info.conversion is None else untold,
        )


def untyped(applied: Object, version: str, kind: str, err: TypeMismatch) -> UntypedPatch:
    """What is answered to an applied object of a wrong shape."""
    meta = applied.get("metadata") or {}
    shown = version if "/" in version else f"/{version}"
    place = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
    return UntypedPatch(f"failed to create typed patch object ({place}; {shown}, Kind={kind}): {err}")


def merge_type(info: ResourceInfo) -> SchemaType | None:
    """How the objects of a resource merge."""
    if info.custom is None:
        return kube_types.merge_type(info.resource.api_version, info.kind)
    schema: Mapping[str, Any] | None = (info.custom.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        return DEDUCED
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": "/ObjectMeta"}}
    whole = {**schema, "properties": {**(schema.get("properties") or {}), **properties}}
    return from_openapi(whole, lambda _: _object_meta())


def _object_meta() -> SchemaType:
    whole = kube_types.merge_type("v1", "ConfigMap")
    found = whole.map.type_of("metadata") if whole is not None and whole.map is not None else None
    return found or DEDUCED


def _ignored(info: ResourceInfo, subresource: str) -> dict[str, Any]:
    """The fields that a write through this endpoint cannot own because it cannot change them."""
    if info.strategy.status != "isolated":
        return {}
    if subresource == "status":
        return {"f:spec": {}} if info.custom is not None else {"f:spec": {}, "f:metadata": {"f:labels": {}}}
    return {} if subresource else {"f:status": {}}


def _unchanged(obj: Object) -> Object:
    return obj


def owned_once(version: str, fields: Mapping[str, Any], manager: str, now: str, subresource: str = "") -> Object:
    """The entry of managedFields for who has sent ``fields`` of something that is answered and never stored."""
    entry: Object = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": _fields(fields),
    }
    return entry | ({"subresource": subresource} if subresource else {})


def _fields(value: Any) -> Object:
    """Structures by their members; lists as one."""
    if not isinstance(value, Mapping):
        return {}
    return {f"f:{key}": _fields(member) for key, member in value.items() if member not in (None, "", [], {})}
