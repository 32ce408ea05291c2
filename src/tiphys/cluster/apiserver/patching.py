"""The patch kinds, as functions that make the new object of the old one."""

from __future__ import annotations

from typing import Any

from tiphys.api.kube_types import GoType, strategic_schema
from tiphys.cluster.apiserver.problems import rejected
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.verbs import Change
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import BadRequest, TooLarge, UnsupportedMediaType
from tiphys.machinery.patches import json as json_patch
from tiphys.machinery.patches import merge, strategic

_BUILTIN = (PatchType.JSON, PatchType.MERGE, PatchType.STRATEGIC)
_CUSTOM = (PatchType.JSON, PatchType.MERGE)


def patcher(info: ResourceInfo, content_type: str, patch: Any) -> Change:
    """Raises UnsupportedMediaType for a kind of patch that the resource does not take, BadRequest for no patch."""
    media = content_type.partition(";")[0].strip()
    accepted = _CUSTOM if info.custom is not None else _BUILTIN
    kind = next((known for known in accepted if known.value == media), None)
    if kind is None and media == PatchType.STRATEGIC.value:
        names = ", ".join([*(known.value for known in accepted), PatchType.APPLY.value])
        text = "the body of the request was in an unknown format - accepted media types include"
        raise UnsupportedMediaType(f"{text}: {names}")
    if kind is None:
        raise UnsupportedMediaType("415: Unsupported Media Type", {})
    if kind is PatchType.JSON:
        return lambda old: _json_patched(info, old, patch)
    if not isinstance(patch, dict):
        kind_of = "array" if isinstance(patch, list) else "value"
        text = f"json: cannot unmarshal {kind_of} into Go value of type map[string]interface {{}}"
        raise BadRequest(f"error decoding patch: {text}")
    if kind is PatchType.MERGE:
        return lambda old: _object(merge.apply(old, patch))
    schema = strategic_schema(info.resource.api_version, info.kind)
    if schema is None:
        raise UnsupportedMediaType(f"{info.kind} has no strategic merge patches")
    return lambda old: _strategic(old, patch, schema)


def _strategic(old: Object, patch: Object, schema: GoType) -> Object:
    try:
        return _object(strategic.apply(old, patch, schema))
    except strategic.StrategicMergeError as err:
        raise BadRequest(str(err)) from None


def _json_patched(info: ResourceInfo, old: Object, patch: Any) -> Object:
    try:
        return _object(json_patch.apply(old, patch))
    except json_patch.TooManyOperations as err:
        raise TooLarge(str(err)) from None
    except json_patch.JsonPatchError as err:
        if not isinstance(patch, list):
            kind = "object" if isinstance(patch, dict) else "value"
            text = f"json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp"
            raise BadRequest(f"error decoding patch: {text}") from None
        raise rejected() from err


def _object(value: Any) -> Object:
    """The patched document must still be an object with metadata."""
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        raise BadRequest("the patched object has no metadata")
    return value
