"""What every controller of the embedded cluster is made with, and the one shape that they share.

A controller is a class with a ``name`` and ``run``; the manager starts it when the first object that it is for exists
(``wakes.py``), so that a cluster pays only for the kinds it uses. ``Caches`` has one informer per kind for all of
them, started by the first who asks. All objects found there are read-only.

    Kit ── caches ──► Informer per kind ──handlers──► WorkQueue ──► reconcile: observe ► plan ► act
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from tiphys.client.client import Client
from tiphys.cluster.controllers.plan.owners import controller_of
from tiphys.machinery.actions import Action, Emit, Plan
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.runtime.act import Actor, Done, EventSink
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller as WorkLoop
from tiphys.runtime.controller import Outcome
from tiphys.runtime.events import EventRecorder
from tiphys.runtime.informer import Handler, Informer
from tiphys.runtime.queue import WorkQueue

if TYPE_CHECKING:
    from tiphys.cluster.controllers.certificates import Signer
    from tiphys.cluster.controllers.volumes import Places

Object = Mapping[str, Any]

# Who writes events of the newer form, and which action a reason stands for.
ACTIONS = {"default-scheduler": {"Scheduled": "Binding", "FailedScheduling": "Scheduling", "Preempted": "Preempting"}}
OWNED, ORPHANS, NAMESPACED = "owned", "orphans", "namespaced"


def by_owner(obj: Object) -> Iterable[str]:
    """The uid of the owner that controls an object."""
    owner = controller_of(obj)
    return (owner["uid"],) if owner else ()


def without_owner(obj: Object) -> Iterable[str]:
    """The namespace of an object that nobody controls."""
    return () if controller_of(obj) else (obj["metadata"].get("namespace") or "",)


def by_namespace(obj: Object) -> Iterable[str]:
    return (obj["metadata"].get("namespace") or "",)


class Sinks:
    """Where events go: a recorder per component (``replicaset-controller``), which begins with its first event."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorders: dict[str, EventRecorder] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Recorders asked for from now on run in ``tasks``."""
        self._tasks = tasks

    def of(self, component: str) -> EventSink:
        found = self._recorders.get(component)
        if found is None:
            found = self._recorders[component] = EventRecorder(
                self._client, self._clock, component, ACTIONS.get(component)
            )
            assert self._tasks is not None, "begin() comes first"
            self._tasks.create_task(found.run(), name=f"events of {component}")
        return found


class Caches:
    """The informers, one per kind."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._informers: dict[Resource, Informer] = {}
        self._started: set[Resource] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Informers asked for from now on run in ``tasks``."""
        self._tasks = tasks

    def informer(self, resource: Resource) -> Informer:
        """The informer of a kind; runs from the first call on."""
        found = self._informers.get(resource)
        if found is None:
            indexes = {OWNED: by_owner, ORPHANS: without_owner, NAMESPACED: by_namespace}
            found = Informer(self._client, resource, clock=self._clock, rng=self._rng, indexes=indexes)
            self._informers[resource] = found
            assert self._tasks is not None, "begin() comes first"
            self._tasks.create_task(found.run(), name=f"informer {resource.key}")
        return found

    async def synced(self, *resources: Resource) -> None:
        for resource in resources:
            await self.informer(resource).synced.wait()

    def learn(self, outcomes: Iterable[Done]) -> None:
        """Takes over what our writes answered (read your own writes)."""
        for outcome in outcomes:
            resource = getattr(outcome.action, "resource", None)
            informer = self._informers.get(resource) if resource is not None else None
            if informer is not None and outcome.object is not None and "metadata" in outcome.object:
                informer.learn(outcome.object)


@dataclass(frozen=True)
class Kit:
    """``writer(name)`` is a client whose writes are recorded as that manager's; ``kinds`` are the namespaced kinds that
    there are now; ``root_ca`` is the certificate by which pods know the API server ("" where nobody needs one);
    ``places`` is where volumes are made (None: nowhere)."""

    writer: Callable[[str], Client]
    clock: Clock
    rng: random.Random
    sinks: Sinks
    caches: Caches
    kinds: Callable[[], Iterable[Resource]] = tuple
    root_ca: Callable[[], str] = str
    places: Places | None = None
    signer: Signer | None = None
    resource_of: Callable[[str, str], Resource | None] = lambda _version, _kind: None


class Component(ABC):
    """Base of all: a queue of keys, an actor under the name of the component, and ``run``.

    A subclass names itself and the kinds it ``reads``, and subscribes its handlers in ``subscribe``.
    """

    name: ClassVar[str]
    reads: ClassVar[Sequence[Resource]] = ()
    manager: ClassVar[str] = "kube-controller-manager"

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.client = kit.writer(self.manager)
        self.clock = kit.clock
        self.events = kit.sinks.of(self.name)
        self.actor = Actor(self.client, self.events)
        self.queue: WorkQueue[ObjectKey] = WorkQueue(kit.clock, kit.rng)

    async def run(self) -> None:
        """Works until cancelled; decides nothing before it knows all that it reads."""
        for resource in self.reads:
            self.cache(resource)
        await self.kit.caches.synced(*self.reads)
        self.subscribe()
        await self.work()

    @abstractmethod
    def subscribe(self) -> None:
        """Subscribes to the informers: handlers put keys into the queue."""

    @abstractmethod
    async def work(self) -> None:
        """Takes keys from the queue, until cancelled."""

    # What subclasses use.

    def cache(self, resource: Resource) -> Informer:
        return self.kit.caches.informer(resource)

    def on(self, resource: Resource, handler: Handler) -> None:
        self.cache(resource).subscribe(handler)

    def on_own(self, resource: Resource) -> None:
        """Every change of an object of this kind wants a look at it."""

        def handler(key: ObjectKey, _before: Object | None, _after: Object | None) -> None:
            self.queue.add(key)

        self.on(resource, handler)

    def on_owned(self, resource: Resource, owner_kind: str, orphaned: Callable[[Object], None] | None = None) -> None:
        """A change of an object wants a look at its controller; ``orphaned`` hears of one that nobody controls."""

        def handler(key: ObjectKey, before: Object | None, after: Object | None) -> None:
            for owner in owners_of(before, after, owner_kind):
                self.queue.add(ObjectKey(key.namespace, owner))
            if orphaned is not None and after is not None and _is_free(after):
                orphaned(after)

        self.on(resource, handler)

    async def carry_out(self, *stages: Sequence[Action]) -> list[Done]:
        """Does it, remembers the answers, and raises the first refusal."""
        outcomes = await self.attempt(*stages)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return outcomes

    async def attempt(self, *stages: Sequence[Action]) -> list[Done]:
        """As ``carry_out``, with refusals among the outcomes."""
        # What was done is told after it is done.
        calls = [tuple(action for action in stage if not isinstance(action, Emit)) for stage in stages]
        news = [tuple(action for action in stage if isinstance(action, Emit)) for stage in stages]
        wanted = tuple(part for pair in zip(calls, news, strict=True) for part in pair if part)
        if not wanted:
            return []
        outcomes = await self.actor.carry_out(Plan(wanted))
        self.kit.caches.learn(outcomes)
        return outcomes

    async def follow(self, plan: Plan) -> datetime | None:
        """Carries a whole plan out; its wake-up time."""
        await self.carry_out(*plan.stages)
        return plan.wake_at


class Controller(Component):
    """A component that decides about one key at a time, in ``reconcile``."""

    workers: ClassVar[int] = 8

    async def work(self) -> None:
        await WorkLoop(self.name, self.queue, self.reconcile, self.workers).run()

    @abstractmethod
    async def reconcile(self, key: ObjectKey) -> Outcome:
        """Observes, plans and acts; says when to look again."""


def _is_free(obj: Object) -> bool:
    return controller_of(obj) is None and not obj["metadata"].get("deletionTimestamp")


def owners_of(before: Object | None, after: Object | None, kind: str) -> Iterator[str]:
    """The names of the controllers of this kind, before and after a change."""
    names = set()
    for obj in (before, after):
        owner = controller_of(obj) if obj is not None else None
        if owner is not None and owner["kind"] == kind:
            names.add(owner["name"])
    return iter(sorted(names))
