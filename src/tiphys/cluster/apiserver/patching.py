"""The patch kinds, as functions that make the new object of the old one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.api.decode import Repeated
from tiphys.api.kube_types import GoType, strategic_schema
from tiphys.cluster.apiserver.problems import rejected
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.verbs import Change
from tiphys.lang.gofmt import sprint
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


def strictly(content_type: str, patch: Any) -> tuple[tuple[str, ...], Any]:
    """What a strict reading of a patch objects to, and the patch without a trace of it."""
    media = content_type.partition(";")[0].strip()
    faults = tuple(f'duplicate field "{path}"' for path in _repeated(patch, ""))
    if media == PatchType.JSON.value and isinstance(patch, list):
        unknown = (f'unknown field "[{at}].{key}"' for at, key in _unknown_members(patch))
        return tuple(f"json patch {fault}" for fault in (*faults, *unknown)), patch
    return faults, _plain(patch) if faults else patch


def shown_in_messages(content_type: str, patch: Any) -> str:
    """How a message shows a patch: strategic ones as Go prints maps; "" for those of which the result is shown."""
    return sprint(patch) if content_type.partition(";")[0].strip() == PatchType.STRATEGIC.value else ""


def _unknown_members(patch: list[Any]) -> Iterator[tuple[int, str]]:
    for at, operation in enumerate(patch):
        if isinstance(operation, dict):
            yield from ((at, key) for key in operation if key not in ("op", "path", "from", "value"))


def _repeated(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        inner = f"{at}." if at else ""
        for key, member in value.items():
            yield from _repeated(member, f"{inner}{key}")
        if isinstance(value, Repeated):
            yield from (f"{inner}{key}" for key in value.repeated)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{at}[{index}]")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _strategic(old: Object, patch: Object, schema: GoType) -> Object:
    try:
        return _object(strategic.apply(old, patch, schema))
    except strategic.StrategicMergeError as err:
        raise BadRequest(str(err)) from None


def _json_patched(info: ResourceInfo, old: Object, patch: Any) -> Object:
    try:
        return _object(json_patch.apply(old, patch))
    except (json_patch.TooManyOperations, json_patch.CopiesTooMuch) as err:
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
