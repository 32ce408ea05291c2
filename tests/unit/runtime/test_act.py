from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.actions import Action, Create, Delete, Emit, Patch, Plan
from tiphys.machinery.errors import AlreadyExists, Conflict
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey
from tiphys.runtime.act import Actor, Done
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
A = ObjectKey("default", "a")


class Heard:
    def __init__(self) -> None:
        self.events: list[Emit] = []

    def emit(self, event: Emit) -> None:
        self.events.append(event)


@asynccontextmanager
async def actor(clock: VirtualClock) -> AsyncIterator[tuple[Actor, Heard]]:
    server = await ApiServer.start(Store(), clock, SeededIds(random.Random(1)))
    heard = Heard()
    try:
        yield Actor(Client(server.transport()), heard), heard
    finally:
        await server.close()


def config_map(name: str, owner: str = "u1") -> dict[str, Any]:
    reference = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": owner, "controller": True}
    return {"metadata": {"namespace": "default", "name": name, "ownerReferences": [reference]}}


def carry_out(run: Run, clock: VirtualClock, *stages: tuple[Action, ...]) -> list[Done]:
    async def job() -> list[Done]:
        async with actor(clock) as (acting, _):
            return await acting.carry_out(Plan(stages))

    outcomes: list[Done] = run(job())
    return outcomes


def test_creating_what_we_created_before_is_done(run: Run, clock: VirtualClock) -> None:
    first, again = carry_out(
        run, clock, (Create(CONFIG_MAPS, config_map("a")),), (Create(CONFIG_MAPS, config_map("a")),)
    )
    assert again.error is None
    assert again.object == first.object


def test_what_belongs_to_somebody_else_is_in_the_way(run: Run, clock: VirtualClock) -> None:
    _, again = carry_out(
        run, clock, (Create(CONFIG_MAPS, config_map("a")),), (Create(CONFIG_MAPS, config_map("a", owner="u2")),)
    )
    assert isinstance(again.error, AlreadyExists)


def test_deleting_what_is_gone_or_another_one_is_done(run: Run, clock: VirtualClock) -> None:
    _, *deletes = carry_out(
        run,
        clock,
        (Create(CONFIG_MAPS, config_map("a")),),
        (Delete(CONFIG_MAPS, A, uid="another"), Delete(CONFIG_MAPS, ObjectKey("default", "b"))),
    )
    assert [outcome.error for outcome in deletes] == [None, None]


def test_a_refusal_ends_the_plan_after_its_stage(run: Run, clock: VirtualClock) -> None:
    stale = Patch(CONFIG_MAPS, A, {"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}})
    outcomes = carry_out(
        run,
        clock,
        (Create(CONFIG_MAPS, config_map("a")),),
        (stale, Create(CONFIG_MAPS, config_map("b"))),
        (Create(CONFIG_MAPS, config_map("c")),),
    )
    assert len(outcomes) == 3
    assert isinstance(outcomes[1].error, Conflict)


def test_events_go_to_the_sink(run: Run, clock: VirtualClock) -> None:
    event = Emit({"kind": "X", "name": "x"}, "Normal", "Done", "it is done")

    async def job() -> list[Emit]:
        async with actor(clock) as (acting, heard):
            await acting.carry_out(Plan(((event,),)))
            return heard.events

    assert run(job()) == [event]
