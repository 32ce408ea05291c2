"""Whatever the schemas that we publish allow, and a little more, is taken or refused: no request is our failure.

What schemathesis does with our OpenAPI from outside, from inside and for every kind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.cluster.any_object import AnyObject, Schema
from tiphys.client.transport import Request, Verb
from tiphys.cluster.apiserver import crds
from tiphys.cluster.apiserver.http.openapi import document
from tiphys.cluster.apiserver.listing import InvalidVersion
from tiphys.cluster.apiserver.ownership import UntypedPatch
from tiphys.cluster.apiserver.record import Object, Record
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo, builtin
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.strategies import STRATEGIES
from tiphys.cluster.apiserver.users import MASTERS, User
from tiphys.cluster.apiserver.verbs import Writer
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import ApiError, Timeout
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop

DEFINITIONS = ("workflows.argoproj.io", "rollouts.argoproj.io", "applications.argoproj.io")
SEEDS = st.integers(0, 2**63)
# What a real server answers with 500 and 504.
AS_RECORDED = (UntypedPatch, InvalidVersion, Timeout)


@cache
def schemas(api_version: str) -> dict[str, Schema]:
    group, _, version = api_version.rpartition("/")
    found: dict[str, Schema] = document(registry().in_version(group, version))["components"]["schemas"]
    return found


@cache
def registry() -> Registry:
    found = builtin(STRATEGIES)
    for definition in crds.bundled(DEFINITIONS):
        for info in crds.infos(definition):
            found.add(info)
    return found


KINDS = [info for info in registry() if "create" in info.verbs and not info.is_virtual and info.custom is None]
CUSTOM = [info for info in registry() if info.custom is not None]


def schema_of(info: ResourceInfo, definitions: dict[str, Schema]) -> Schema:
    group, version = info.resource.group, info.resource.version
    wanted = {"group": group, "version": version, "kind": info.kind}
    return next(each for each in definitions.values() if wanted in each.get("x-kubernetes-group-version-kind", ()))


class Fuzzer:
    """Writes as an administrator from outside."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._writer = Writer("fuzz", trusted=False, user=User("admin", (MASTERS,)))

    async def ask(
        self,
        verb: Verb,
        info: ResourceInfo,
        body: Any = None,
        name: str | None = None,
        media: str = "application/json",
        part: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Object | None:
        """The object that comes of it; None where the request was refused."""
        namespace = "default" if info.resource.namespaced else None
        if query is None:
            query = {"fieldManager": "fuzz", "force": "true"} if media == PatchType.APPLY.value else {}
        request = Request(verb, info.resource, namespace, name, part, query, body, media)
        try:
            if verb == "watch":
                self._server.open_watch(request).close()
                return None
            value = (await self._server.answer(request, self._writer)).value
        except ApiError as err:
            assert err.code < 500 or isinstance(err, AS_RECORDED), err
            return None
        except RecursionError:
            return None
        return value.view if isinstance(value, Record) else None

    async def live_with(self, info: ResourceInfo, seed: int) -> None:
        """Makes, changes and deletes an object of a kind."""
        definitions = schemas(info.resource.api_version)
        schema, rng = schema_of(info, definitions), random.Random(seed)
        objects = AnyObject(definitions, seed)
        first = objects.of(schema)
        if rng.random() < 0.9:
            first["metadata"] = {"name": "x", "labels": {"a": "b"}}
        first |= {"apiVersion": info.resource.api_version, "kind": info.kind}
        held = await self.ask("create", info, first)
        name = str(held["metadata"]["name"]) if held is not None else "x"
        second = objects.of(schema) | {"apiVersion": info.resource.api_version, "kind": info.kind}
        second["metadata"] = {"name": name}
        await self.ask("update", info, second, name)
        await self.ask("patch", info, objects.of(schema), name, PatchType.MERGE.value)
        await self.ask("patch", info, objects.of(schema), name, PatchType.STRATEGIC.value)
        await self.ask("patch", info, objects.patch(held or second), name, PatchType.JSON.value)
        await self.ask("patch", info, second, name, PatchType.APPLY.value)
        if info.subresource("status") is not None:
            await self.ask("update", info, second, name, part="status")
        for verb in ("list", "watch", "get", "delete", "deletecollection"):
            if verb in info.verbs:
                await self.ask(verb, info, name=name if verb in ("get", "delete") else None, query=objects.query())
        await self.ask("create", info, first, query=objects.query())


async def fuzz(info: ResourceInfo, seed: int, clock: VirtualClock) -> None:
    ids = SeededIds(random.Random(seed))
    server = await ApiServer.start(Store(shared_maps=SHARED_MAPS), clock, ids, [info.collection], roles=False)
    try:
        await Fuzzer(server).live_with(info, seed)
    finally:
        await server.close()


def run(info: ResourceInfo, seed: int) -> None:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(fuzz(info, seed, clock))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KINDS), SEEDS)
def test_no_object_of_a_builtin_kind_is_our_failure(info: ResourceInfo, seed: int) -> None:
    run(info, seed)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(CUSTOM), SEEDS)
def test_no_custom_object_is_our_failure(info: ResourceInfo, seed: int) -> None:
    run(info, seed)
