"""Mutating and validating webhooks: programs elsewhere that change or refuse what is about to be stored.

Mutating ones are asked one after the other, in the order of their configurations' names; one that comes early is asked
again (``reinvocationPolicy: IfNeeded``) when a later one has changed the object. Validating ones are asked all at once.
How one is asked is ``caller.py``'s business; what is decided from its answer is here, worded as the original does.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tiphys.cluster.apiserver.admission.caller import Caller, CallFailed
from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.expressions import Scope, Unusable
from tiphys.cluster.apiserver.admission.matching import REGISTRATION, Matcher, described
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.typed import Unreadable
from tiphys.machinery.errors import ApiError, InternalError
from tiphys.machinery.patches.json import apply
from tiphys.runtime.ids import Ids

MUTATING: Final = f"mutatingwebhookconfigurations.{REGISTRATION}"
VALIDATING: Final = f"validatingwebhookconfigurations.{REGISTRATION}"
TIMEOUT_SECONDS: Final = 10
PATCH_BYTES_MAX: Final = 3 << 20
_SHAPE: Final[Mapping[str, type]] = {
    "allowed": bool,
    "patch": str,
    "patchType": str,
    "warnings": list,
    "auditAnnotations": dict,
    "status": dict,
    "status.code": int,
    "status.message": str,
    "status.reason": str,
}


class Denied(ApiError):
    """A webhook's own Status."""

    def __init__(self, name: str, result: Mapping[str, Any]) -> None:
        said = str(result.get("message") or result.get("reason") or "")
        denied = f'admission webhook "{name}" denied the request'
        super().__init__(f"{denied}: {said}" if said else f"{denied} without explanation")
        code = int(result.get("code") or 0)
        self._status = dict(result) | {"code": code if code >= 400 else 400}

    def status(self) -> dict[str, Any]:
        head = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
        return head | self._status | {"status": "Failure", "message": self.message}

    @property
    def code(self) -> int:  # type: ignore[override]
        return int(self._status["code"])


@dataclass(frozen=True)
class Hook:
    """One webhook of one configuration."""

    configuration: str
    declared: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.declared["name"])

    @property
    def fails(self) -> bool:
        return (self.declared.get("failurePolicy") or "Fail") == "Fail"

    @property
    def seconds(self) -> int:
        return int(self.declared.get("timeoutSeconds") or TIMEOUT_SECONDS)


class Webhooks:
    """The webhooks of a store that are about a request; what both kinds have in common."""

    collection: str

    def __init__(self, store: Store, matcher: Matcher, ids: Ids, caller: Caller) -> None:
        self._store = store
        self._matcher = matcher
        self._ids = ids
        self._caller = caller

    def wants(self, request: Attributes) -> bool:
        if not self._store.collection(self.collection).records:
            return False
        return any(True for _ in self._matching(request))

    def _matching(self, request: Attributes) -> Iterator[Hook]:
        records = self._store.collection(self.collection).records
        for name in sorted(records):
            for declared in self._store.view(records[name]).get("webhooks") or ():
                if self._matcher.fits(request, declared):
                    yield Hook(name, declared)

    def _is_meant(self, hook: Hook, request: Attributes) -> bool:
        """Its match conditions; raises InternalError for one that fails where that counts."""
        conditions = hook.declared.get("matchConditions") or ()
        if not conditions:
            return True
        scope = Scope({"object": request.obj, "oldObject": request.old, "request": described(request)})
        failed = ""
        for condition in conditions:
            try:
                if scope.evaluate(condition["expression"]) is not True:
                    return False
            except Unusable as err:
                failed = failed or f"{condition['name']}: {err}"
        if failed and hook.fails:
            raise _internal(f'failed to evaluate match conditions of webhook "{hook.name}": {failed}')
        return not failed

    async def _ask(self, hook: Hook, request: Attributes) -> Mapping[str, Any]:
        """The webhook's response; {"allowed": True} for one that failed and may. Raises ApiError."""
        uid = self._ids.uid()
        version = next(v for v in hook.declared["admissionReviewVersions"] if v in ("v1", "v1beta1"))
        asked = described(request) | {"uid": uid, "object": request.obj, "oldObject": request.old}
        review = {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": asked}
        try:
            answer = await self._caller.call(hook.declared["clientConfig"], orjson.dumps(review), hook.seconds)
            return _response(answer, uid)
        except CallFailed as err:
            if not hook.fails:
                request.audit[f"failed-open.{self.collection.partition('.')[0]}"] = hook.name
                return {"allowed": True}
            raise _internal(f'failed calling webhook "{hook.name}": {err}') from err

    def _take(self, hook: Hook, request: Attributes, response: Mapping[str, Any]) -> None:
        """What the webhook says besides yes or no; raises Denied."""
        for key, value in (response.get("auditAnnotations") or {}).items():
            request.audit[f"{hook.name}/{key}"] = str(value)
        request.warnings.extend(str(warning) for warning in response.get("warnings") or ())
        if response.get("allowed") is not True:
            raise Denied(hook.name, response.get("status") or {})


class ValidatingWebhooks(Webhooks):
    """A ``chain.Remote``."""

    collection = VALIDATING

    async def ask(self, request: Attributes) -> None:
        hooks = [hook for hook in self._matching(request) if self._is_meant(hook, request)]
        answers = await asyncio.gather(*(self._ask(hook, request) for hook in hooks), return_exceptions=True)
        for hook, answer in zip(hooks, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            self._take(hook, request, answer)


class MutatingWebhooks(Webhooks):
    """A ``chain.Remote``. ``again`` runs the built-in plugins over an object that a webhook has changed."""

    collection = MUTATING
    again: Callable[[Attributes], None] | None = None

    async def ask(self, request: Attributes) -> None:
        changed_after = -1
        for at, hook in enumerate(list(self._matching(request))):
            if await self._mutate(hook, request):
                changed_after = at
        if changed_after < 0:
            return
        if self.again is not None:
            self.again(request)
        for at, hook in enumerate(list(self._matching(request))):
            if at < changed_after and hook.declared.get("reinvocationPolicy") == "IfNeeded":
                await self._mutate(hook, request)

    async def _mutate(self, hook: Hook, request: Attributes) -> bool:
        """Whether the webhook has changed the object."""
        if not self._matcher.fits(request, hook.declared) or not self._is_meant(hook, request):
            return False
        response = await self._ask(hook, request)
        self._take(hook, request, response)
        if not response.get("patch") or request.obj is None:
            return False
        before = request.obj
        request.obj = _completed(hook, request, _patched(hook, before, response))
        return before != request.obj


def _patched(hook: Hook, obj: Object, response: Mapping[str, Any]) -> Object:
    """Raises InternalError for a patch that is none."""
    if response.get("patchType") != "JSONPatch":
        raise _internal(f'admission plugin "{hook.name}" response has invalid patchType')
    try:
        text = base64.b64decode(str(response["patch"]), validate=True)
        if len(text) > PATCH_BYTES_MAX:
            raise _internal(f'the patch of webhook "{hook.name}" is too large')
        changed = apply(obj, orjson.loads(text))
    except (binascii.Error, ValueError) as err:
        raise _internal(f'cannot apply the patch of webhook "{hook.name}": {err}') from err
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata"), dict):
        raise _internal(f'the patch of webhook "{hook.name}" leaves no object')
    return changed


def _completed(hook: Hook, request: Attributes, changed: Object) -> Object:
    """What a webhook adds gets its defaults; raises InternalError for what is none of the kind."""
    if request.info.codec is None:
        return changed
    try:
        read, _ = request.info.codec.read(changed)
    except Unreadable as err:
        raise _internal(f'cannot apply the patch of webhook "{hook.name}": {err}') from err
    return read | {"metadata": changed["metadata"]}


def _response(answer: bytes, uid: str) -> Mapping[str, Any]:
    """Raises CallFailed."""
    try:
        review = orjson.loads(answer)
    except ValueError as err:
        raise CallFailed(f"could not get REST client: {err}") from err
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise CallFailed("webhook response is missing response")
    if response.get("uid") != uid:
        raise CallFailed(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    misshapen = next(_misshapen(response), "")
    if misshapen:
        raise CallFailed(f"webhook response has a {misshapen} of the wrong type")
    return response


def _misshapen(response: Mapping[str, Any]) -> Iterator[str]:
    """The fields of an AdmissionResponse that are not what its type says."""
    for path, kind in _SHAPE.items():
        held: Any = response
        for name in path.split("."):
            held = held.get(name) if isinstance(held, dict) else None
        if held is not None and (not isinstance(held, kind) or (kind is int and isinstance(held, bool))):
            yield path
    if not all(isinstance(one, str) for one in (response.get("auditAnnotations") or {}).values()):
        yield "auditAnnotations"
    if not all(isinstance(one, str) for one in response.get("warnings") or ()):
        yield "warnings"


def _internal(text: str) -> InternalError:
    return InternalError(f"Internal error occurred: {text}", {"causes": [{"message": text}]})
