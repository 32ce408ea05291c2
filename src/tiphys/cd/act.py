"""Carries out what a sync asks of a cluster: kubectl's apply, create, replace and delete through our client.

A client-side apply knows the live object from the informer and so costs one request where kubectl needs two; where the
cache is behind (the object exists, or it is gone) it reads and tries again. The dry run sends nothing: it checks what
can be known without a server, names and the fields of built-in kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tiphys.api import decode
from tiphys.api.kube_types import strategic_schema
from tiphys.cd.live import LiveCluster
from tiphys.cd.plan.diff.comparing import last_applied
from tiphys.cd.plan.diff.threeway import merge_patch
from tiphys.cd.plan.markers import LAST_APPLIED
from tiphys.cd.plan.objects import (
    Gvk,
    Object,
    ResourceKey,
    annotations_of,
    at,
    finalizers_of,
    gvk_of,
    is_crd,
    key_of,
    metadata_of,
    name_of,
    namespace_of,
    with_metadata,
    with_value,
    without,
)
from tiphys.cd.plan.sync.migration import migration_patch
from tiphys.cd.plan.sync.operations import (
    Answer,
    Answers,
    Apply,
    Create,
    Get,
    MigrateFields,
    Operation,
    Remove,
    Replace,
    SetFinalizers,
    Stage,
    Update,
)
from tiphys.cd.plan.sync.run import RUN_ID
from tiphys.cd.plan.typed import go_type
from tiphys.client.client import Client
from tiphys.lang import gojson
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    InternalError,
    Invalid,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from tiphys.machinery.patches import strategic, strategic_diff
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.runtime.clock import Clock

MANAGER: Final = "argocd-controller"
_AT_ONCE: Final = 64
_CRD_SECONDS_MAX: Final = 3.0
_CRD_PAUSE_SECONDS: Final = 0.05
_CONFLICTS_MAX: Final = 5
_PASSING: Final = (ServiceUnavailable, Timeout, TooManyRequests, InternalError)
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True)
class SyncActor:
    """Holds a sync's conversation with a cluster. ``client`` may act as somebody else than the cluster's own.

    ``instance`` is the application that is synced: it is not told of its own writes.
    """

    live: LiveCluster
    clock: Clock
    client: Client
    instance: str = ""

    async def hold(self, talk: Generator[Stage, Answers, Any]) -> Any:
        """What the conversation returns in the end."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(operation: Operation) -> Answer:
            async with limit:
                return await self.answer(operation)

        try:
            stage = next(talk)
            while True:
                answers = await asyncio.gather(*map(one, stage)) if len(stage) > 1 else [await one(stage[0])]
                stage = talk.send(tuple(answers))
        except StopIteration as end:
            return end.value

    async def answer(self, operation: Operation) -> Answer:
        """What became of the operation. A cluster that is busy or out of reach for a moment is asked again: the sync
        would take its refusal for the end."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._do(operation)
            except _PASSING as err:
                if attempt == _ATTEMPTS - 1:
                    return Answer(error=err)
                await self.clock.sleep_until(self.clock.monotonic() + _PAUSE_SECONDS * 2**attempt)
            except ApiError as err:
                return Answer(error=err)
        raise AssertionError

    async def _do(self, operation: Operation) -> Answer:
        match operation:
            case Get(api_version, key):
                return Answer(await self._get(self._resource(_gvk(api_version, key)), key))
            case Apply(obj) if operation.dry_run:
                return self._tried(obj, operation.validate)
            case Apply(obj) if operation.server_side:
                return await self._apply_server_side(operation)
            case Apply(obj):
                return await self._apply(operation)
            case Create(obj, dry_run, validate):
                return self._tried(obj, validate) if dry_run else await self._create(obj, validate)
            case Replace(obj, dry_run, force):
                return self._tried(obj, True) if dry_run else await self._replace(obj, force=force)
            case Update(obj, dry_run):
                return self._tried(obj, True) if dry_run else Answer(self._learned(await self._put(obj)))
            case SetFinalizers(obj):
                return await self._set_finalizers(obj)
            case MigrateFields(obj, old, new):
                return await self._migrate(obj, old, new)
            case Remove():
                return await self._remove(operation)

    # Apply

    async def _apply(self, operation: Apply) -> Answer:
        obj = operation.obj
        wanted = with_last_applied(obj)
        resource, key = self._resource(gvk_of(obj)), key_of(obj)
        query = _query(MANAGER, operation.validate)
        live = self.live.get(gvk_of(obj), key)
        if live is None and not self.live.is_watched(gvk_of(obj)):
            live = await self._find(resource, key)
        for _attempt in range(_CONFLICTS_MAX):
            try:
                if live is None:
                    made = await self.client.create(resource, self._placed(resource, wanted), **query)
                    return await self._made(made, "created")
                return await self._patched(resource, live, wanted, query)
            except AlreadyExists:
                live = await self._find(resource, key)  # the cache was behind
            except NotFound:
                if live is None:
                    raise  # there is no such namespace
                # Writes meet a deletion before reads show it: to read here could find the deleted object once more.
                live = None
            except (Conflict, Invalid):
                if not operation.force or live is None:
                    raise
                return await self._recreate(resource, live, wanted, query)
        raise ServiceUnavailable(f"{resource.key} {key.name} comes and goes")  # passes: the caller asks again

    async def _patched(self, resource: Resource, live: Object, wanted: Object, query: Mapping[str, str]) -> Answer:
        gvk = gvk_of(wanted)
        last = last_applied(live) or {}
        wanted = self._placed(resource, wanted)
        schema = strategic_schema(gvk.api_version, gvk.kind)
        if schema is not None:
            try:
                patch = strategic_diff.three_way(last, wanted, live, schema)
            except strategic.StrategicMergeError as err:
                raise BadRequest(str(err)) from err
            kind = PatchType.STRATEGIC
        else:
            patch, kind = merge_patch(last, wanted, live), PatchType.MERGE
        if not patch:
            return Answer(live, f"{_shown(live)} unchanged")
        after = await self.client.patch(resource, _object_key(resource, live), patch, kind, **query)
        return await self._made(after, "configured")

    async def _apply_server_side(self, operation: Apply) -> Answer:
        obj = operation.obj
        resource = self._resource(gvk_of(obj))
        wanted = self._placed(resource, obj)
        query = {**_query(operation.manager or MANAGER, operation.validate), "force": "true"}
        after = await self.client.patch(resource, _object_key(resource, wanted), wanted, PatchType.APPLY, **query)
        return await self._made(after, "serverside-applied")

    async def dry_run_apply(self, obj: Object, manager: str) -> Object:
        """What a server-side apply would make of the object. Raises ApiError."""
        resource = self._resource(gvk_of(obj))
        wanted = self._placed(resource, obj)
        query = {"fieldManager": manager, "force": "true", "dryRun": "All"}
        return await self.client.patch(resource, _object_key(resource, wanted), wanted, PatchType.APPLY, **query)

    async def _recreate(self, resource: Resource, live: Object, wanted: Object, query: Mapping[str, str]) -> Answer:
        """``--force``: what cannot be changed is made anew."""
        await self._delete_and_wait(resource, live)
        made = await self.client.create(resource, self._placed(resource, wanted), **query)
        return await self._made(made, "configured")

    async def _delete_and_wait(self, resource: Resource, live: Object) -> None:
        key = _object_key(resource, live)
        try:
            await self.client.delete(resource, key, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
        except NotFound:
            return
        until = self.clock.monotonic() + 30.0
        while self.clock.monotonic() < until:
            found = await self._find(resource, key_of(live))
            if found is None or metadata_of(found).get("uid") != metadata_of(live).get("uid"):
                return
            await self.clock.sleep_until(self.clock.monotonic() + _CRD_PAUSE_SECONDS)

    async def _made(self, obj: Object, done: str) -> Answer:
        self._learned(obj)
        if is_crd(obj):
            await self._established(obj)
        return Answer(obj, f"{_shown(obj)} {done}")

    async def _established(self, crd: Object) -> None:
        """Objects of a new kind can be made only once it is served."""
        resource, key = self._resource(gvk_of(crd)), key_of(crd)
        until = self.clock.monotonic() + _CRD_SECONDS_MAX
        while not _is_established(crd) and self.clock.monotonic() < until:
            await self.clock.sleep_until(self.clock.monotonic() + _CRD_PAUSE_SECONDS)
            crd = await self._get(resource, key)
        await self.live.kinds.refresh()

    # The other verbs

    async def _create(self, obj: Object, validate: bool) -> Answer:
        resource = self._resource(gvk_of(obj))
        try:
            made = await self.client.create(resource, self._placed(resource, obj), **_query(MANAGER, validate))
        except AlreadyExists:
            # It was made, and the answer did not reach us.
            found, run = await self._find(resource, key_of(obj)), annotations_of(obj).get(RUN_ID)
            if found is None or run is None or annotations_of(found).get(RUN_ID) != run:
                raise
            made = found
        return await self._made(made, "created")

    async def _replace(self, obj: Object, *, force: bool) -> Answer:
        resource = self._resource(gvk_of(obj))
        live = await self._get(resource, key_of(obj))
        if force:
            await self._delete_and_wait(resource, live)
            made = await self.client.create(resource, self._placed(resource, obj), **_query(MANAGER, True))
            return await self._made(made, "replaced")
        return await self._made(await self._put(obj), "replaced")

    async def _put(self, obj: Object) -> Object:
        resource = self._resource(gvk_of(obj))
        return await self.client.replace(resource, self._placed(resource, obj), **_query(MANAGER, True))

    async def _set_finalizers(self, obj: Object) -> Answer:
        resource = self._resource(gvk_of(obj))
        fields = {"finalizers": finalizers_of(obj), "resourceVersion": metadata_of(obj).get("resourceVersion")}
        after = await self.client.patch(resource, _object_key(resource, obj), {"metadata": fields})
        return Answer(self._learned(after))

    async def _migrate(self, obj: Object, old: str, new: str) -> Answer:
        resource = self._resource(gvk_of(obj))
        for _attempt in range(_CONFLICTS_MAX):
            fresh = await self._get(resource, key_of(obj))
            owned = metadata_of(fresh).get("managedFields") or ()
            if not any(each.get("manager") == old and each.get("operation") == "Update" for each in owned):
                return Answer(fresh)
            patch = migration_patch(fresh, old, new)
            try:
                after = await self.client.patch(resource, _object_key(resource, fresh), patch, PatchType.JSON)
            except Conflict:
                continue
            return Answer(self._learned(after))
        raise Conflict(f"{name_of(obj)} was changed by others over and over")

    async def _remove(self, operation: Remove) -> Answer:
        resource = self._resource(_gvk(operation.api_version, operation.key))
        key = ObjectKey(operation.key.namespace if resource.namespaced else "", operation.key.name)
        options: dict[str, Any] = {"propagationPolicy": operation.propagation}
        if operation.uid:
            # Not another object that has taken the name meanwhile.
            options["preconditions"] = {"uid": operation.uid}
        try:
            answer = await self.client.delete(resource, key, options)
        except Conflict:
            if operation.uid:
                raise NotFound(f'{resource.key} "{key.name}" not found') from None
            raise
        if answer.get("kind") == resource.kind:
            self._learned(answer)
        return Answer()

    # Without a server

    def _tried(self, obj: Object, validate: bool) -> Answer:
        """The client-side dry run."""
        if not name_of(obj) and not metadata_of(obj).get("generateName"):
            raise BadRequest("error: resource name may not be empty")
        if validate:
            check_fields(obj)
        return Answer(obj, f"{_shown(obj)} created (dry run)")

    # Reading

    def _resource(self, gvk: Gvk) -> Resource:
        found = self.live.resource_of(gvk)
        if found is None:
            raise NotFound(f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"')
        return found

    async def _get(self, resource: Resource, key: ResourceKey) -> Object:
        return await self.client.get(resource, ObjectKey(key.namespace if resource.namespaced else "", key.name))

    async def _find(self, resource: Resource, key: ResourceKey) -> Object | None:
        try:
            return await self._get(resource, key)
        except NotFound:
            return None

    def _placed(self, resource: Resource, obj: Object) -> Object:
        """Targets carry a namespace even where their kind has none."""
        return obj if resource.namespaced or not namespace_of(obj) else without(obj, "metadata", "namespace")

    def _learned(self, obj: Object) -> Object:
        self.live.learn(obj, self.instance)
        return obj


def with_last_applied(obj: Object) -> Object:
    """The object with itself in the annotation that the next apply compares with, as kubectl writes it."""
    bare = without(obj, "metadata", "annotations", LAST_APPLIED)
    if "annotations" not in metadata_of(bare):
        bare = with_metadata(bare, annotations={})
    return with_value(bare, gojson.dumps(bare) + "\n", "metadata", "annotations", LAST_APPLIED)


def check_fields(obj: Object) -> None:
    """Raises BadRequest for a built-in kind whose fields do not exist or have the wrong type."""
    gvk = gvk_of(obj)
    name = go_type(gvk)
    if name is None:
        return
    where = f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}'
    try:
        decoded = decode.decode(name, obj, strict=True)
    except decode.DecodeError as err:
        raise BadRequest(f"{where}: {err}") from err
    if decoded.unknown:
        raise BadRequest(f"{where}: strict decoding error: {', '.join(map(str, decoded.unknown))}")


def _query(manager: str, validate: bool) -> dict[str, str]:
    return {"fieldManager": manager, "fieldValidation": "Strict" if validate else "Ignore"}


def _gvk(api_version: str, key: ResourceKey) -> Gvk:
    return gvk_of({"apiVersion": api_version, "kind": key.kind})


def _object_key(resource: Resource, obj: Object) -> ObjectKey:
    return ObjectKey(namespace_of(obj) if resource.namespaced else "", name_of(obj))


def _shown(obj: Object) -> str:
    """As kubectl names an object."""
    gvk = gvk_of(obj)
    kind = f"{gvk.kind}.{gvk.group}" if gvk.group else gvk.kind
    return f"{kind.lower()}/{name_of(obj)}"


def _is_established(crd: Object) -> bool:
    conditions = at(crd, "status", "conditions")
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions or ())
