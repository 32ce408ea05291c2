"""The objects by which the server says what it is: its APIServices, FlowSchemas and PriorityLevelConfigurations.

They are there when the server begins to serve, and follow what they tell of: definitions come and go, a schema's level
is there or not. Others may write the same object in the same moment, a webhook or the disk refuse: such a one is left
alone, and looked at again after the next change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from tiphys.cluster.apiserver import crds, flow_control, metadata
from tiphys.cluster.apiserver.api_services import API_SERVICES, follows_definitions, of_server
from tiphys.cluster.apiserver.bootstrap import MANAGER, with_first_owners
from tiphys.cluster.apiserver.deletion import DeleteOptions
from tiphys.cluster.apiserver.flow_control import FLOW_SCHEMAS, PRIORITY_LEVELS
from tiphys.cluster.apiserver.keeping import Keeper
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.verbs import Target, Verbs, WriteOptions
from tiphys.machinery.errors import ApiError, ServiceUnavailable
from tiphys.machinery.resources import Resource
from tiphys.machinery.times import to_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.ids import Ids


class Housekeeping:
    """``begin`` makes what is missing; from then on until ``close`` it is kept true."""

    def __init__(self, store: Store, verbs: Verbs, registry: Registry, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._verbs = verbs
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self._keepers: list[Keeper] = []

    async def begin(self) -> None:
        """After the definitions: their APIServices are made here as well."""
        await asyncio.gather(
            self._put_missing(API_SERVICES, of_server(self._registry), MANAGER),
            self._put_missing(PRIORITY_LEVELS, flow_control.priority_levels(), flow_control.PRODUCER),
            self._put_missing(FLOW_SCHEMAS, flow_control.flow_schemas(), flow_control.PRODUCER),
        )
        services = Keeper(self._store, (crds.COLLECTION, API_SERVICES.key), self._tend_services)
        schemas = Keeper(self._store, (FLOW_SCHEMAS.key, PRIORITY_LEVELS.key), self._tend_schemas)
        self._keepers += [services, schemas]
        self.look_again()

    def look_again(self) -> None:
        """After a change of what the server has that no write tells of."""
        for keeper in self._keepers:
            keeper.wake()

    async def close(self) -> None:
        for keeper in self._keepers:
            await keeper.close()

    async def _tend_services(self) -> None:
        wanted = {service["metadata"]["name"]: service for service in of_server(self._registry)}
        await self._put_missing(API_SERVICES, wanted.values(), MANAGER)
        for name, service in self._held(API_SERVICES).items():
            if name not in wanted and follows_definitions(service):
                with contextlib.suppress(ApiError):
                    await self._verbs.delete(Target(self._info(API_SERVICES), None, name), DeleteOptions())

    async def _tend_schemas(self) -> None:
        levels = self._store.collection(PRIORITY_LEVELS.key).records
        for name, schema in self._held(FLOW_SCHEMAS).items():
            level = schema["spec"]["priorityLevelConfiguration"]["name"]
            told = flow_control.dangling(schema, exists=level in levels, now=to_time(self._clock.now()))
            if told is not None:
                await self._tell(name, told)

    async def _tell(self, name: str, condition: Object) -> None:
        info = self._info(FLOW_SCHEMAS)
        applied = {
            "apiVersion": FLOW_SCHEMAS.api_version,
            "kind": FLOW_SCHEMAS.kind,
            "metadata": {"name": name},
            "status": {"conditions": [condition]},
        }
        options = WriteOptions(manager=flow_control.CONSUMER, applies=True, force=True)
        with contextlib.suppress(ApiError):
            await self._verbs.apply(Target(info, None, name, "status"), applied, options)

    async def _put_missing(self, resource: Resource, wanted: Iterable[Object], manager: str) -> None:
        """In one group commit, and unjudged: there is nothing wrong with them, and a start must not take long."""
        info, now = self._info(resource), to_time(self._clock.now())
        absent = [obj for obj in wanted if self._store.latest(info.collection, obj["metadata"]["name"]) is None]
        made = (self._whole(info, with_first_owners(resource.api_version, obj, now, manager), now) for obj in absent)
        with contextlib.suppress(ServiceUnavailable):
            await asyncio.gather(*(self._store.put(info.collection, obj["metadata"]["name"], obj) for obj in made))

    def _whole(self, info: ResourceInfo, obj: Object, now: str) -> Object:
        """With what creating it through the verbs would give it."""
        numbered = info.strategy.generation != "none"
        meta = metadata.for_create(obj["metadata"], namespace="", uid=self._ids.uid(), now=now, generation=numbered)
        made = {"kind": info.kind, "apiVersion": info.resource.api_version, **obj, "metadata": metadata.ordered(meta)}
        made["status"] = {}
        if info.strategy.on_create is not None:
            info.strategy.on_create(made)
        return made

    def _held(self, resource: Resource) -> dict[str, Object]:
        records = self._store.collection(resource.key).records
        return {name: self._store.view(record) for name, record in records.items()}

    def _info(self, resource: Resource) -> ResourceInfo:
        info = self._registry.find(resource.group, resource.version, resource.plural)
        assert info is not None, "built-in kinds are registered"
        return info
