"""Conversion webhooks: a custom kind's objects as another version has them, told by a program elsewhere.

    objects of other versions ──ConversionReview──> webhook ──> as many objects of the wanted version, in order

What may change on the way is all but kind, name, namespace and uid; of the metadata only labels and annotations are
taken from the answer. Worded as the original does (apiextensions-apiserver, ``webhook_converter.go``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from tiphys.cluster.apiserver.admission.caller import Caller, CallFailed
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.machinery.errors import ApiError
from tiphys.runtime.ids import Ids

TIMEOUT_SECONDS: Final = 30
OBJECTS_MAX: Final = 500
"""So many are sent at once."""
_REVIEWS: Final = ("v1", "v1beta1")
_KEPT: Final = ("name", "namespace", "uid")


class ConversionFailed(ApiError):
    """The webhook was not reached, or what it says is not to be used; the original answers a 500 without a reason."""

    code, reason = 500, ""


class _Unusable(Exception):
    """What is wrong with an answer."""


class Webhook:
    """Asks the webhooks of definitions."""

    def __init__(self, caller: Caller, ids: Ids) -> None:
        self._caller = caller
        self._ids = ids

    async def convert(self, objects: Sequence[Object], to: ResourceInfo) -> list[Object]:
        """The objects, which are of other versions, as ``to``'s; raises ConversionFailed."""
        found: list[Object] = []
        for start in range(0, len(objects), OBJECTS_MAX):
            found += await self._ask(objects[start : start + OBJECTS_MAX], to)
        return found

    async def _ask(self, objects: Sequence[Object], to: ResourceInfo) -> list[Object]:
        assert to.conversion is not None, "only kinds with a webhook come here"
        head = f"conversion webhook for {objects[0].get('apiVersion')}, Kind={to.kind}"
        review = next((v for v in to.conversion.get("conversionReviewVersions") or () if v in _REVIEWS), "")
        if not review:
            raise ConversionFailed("no supported conversion review versions")
        uid, version = self._ids.uid(), f"apiextensions.k8s.io/{review}"
        request = {"uid": uid, "desiredAPIVersion": to.resource.api_version, "objects": objects}
        body = orjson.dumps({"kind": "ConversionReview", "apiVersion": version, "request": request})
        try:
            answer = await self._caller.call(to.conversion["clientConfig"], body, TIMEOUT_SECONDS)
            converted = _converted(answer, version, uid)
        except (CallFailed, _Unusable) as err:
            raise ConversionFailed(f"{head} failed: {str(err).removeprefix('failed to call webhook: ')}") from err
        if len(converted) != len(objects):
            raise ConversionFailed(f"{head} returned {len(converted)} objects, expected {len(objects)}")
        try:
            return [_checked(old, new, to, at) for at, (old, new) in enumerate(zip(objects, converted, strict=True))]
        except _Unusable as err:
            raise ConversionFailed(f"{head} returned {err}") from err


def _converted(answer: bytes, version: str, uid: str) -> list[Any]:
    """The objects of a response that says that all went well; raises _Unusable."""
    try:
        review = orjson.loads(answer)
    except ValueError as err:
        raise _Unusable(str(err)) from err
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise _Unusable("no response provided")
    if version.endswith("/v1"):
        if (review.get("apiVersion"), review.get("kind")) != (version, "ConversionReview"):
            said = f"{review.get('apiVersion', '')}, Kind={review.get('kind', '')}"
            raise _Unusable(f"expected webhook response of {version}, Kind=ConversionReview, got {said}")
        if response.get("uid") != uid:
            raise _Unusable(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result")
    status = result.get("status", "") if isinstance(result, dict) else ""
    if status != "Success":
        told = result.get("message") if isinstance(result, dict) else ""
        raise _Unusable(str(told or f"response.result.status was '{status}', not 'Success'"))
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _checked(old: Object, new: Any, to: ResourceInfo, at: int) -> Object:
    """A converted object with the metadata that it must keep; raises _Unusable."""
    where = f"invalid converted object at index {at}"
    if not isinstance(new, dict):
        raise _Unusable(f"{where}: it is no object")
    if new.get("apiVersion") != to.resource.api_version:
        expected = f"expected {to.resource.api_version}, received {new.get('apiVersion', '')}"
        raise _Unusable(f"{where}: invalid groupVersion ({expected})")
    if new.get("kind") != to.kind:
        raise _Unusable(f"{where}: invalid kind (expected {to.kind}, received {new.get('kind', '')})")
    meta, held = new.get("metadata"), old["metadata"]
    if not isinstance(meta, dict):
        raise _Unusable(f"invalid metadata in object at index {at}: missing metadata in converted object")
    for field in _KEPT:
        if (meta.get(field) or "") != (held.get(field) or ""):
            name = "UID" if field == "uid" else field
            raise _Unusable(f"{where}: must have the same {name}: {held.get(field, '')} != {meta.get(field, '')}")
    return new | {"metadata": _restored(held, meta, at)}


def _restored(held: Mapping[str, Any], meta: Mapping[str, Any], at: int) -> Object:
    """The metadata that was sent, with the labels and annotations of the answer."""
    found = {key: value for key, value in held.items() if key not in ("labels", "annotations")}
    for field in ("labels", "annotations"):
        given = meta.get(field)
        if given is None:
            continue
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise _Unusable(f"invalid metadata in object at index {at}: metadata.{field} must be a map of strings")
        found[field] = given
    return found
