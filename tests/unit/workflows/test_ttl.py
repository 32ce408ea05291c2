from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.actions import Delete, Emit, Plan
from tiphys.machinery.resources import WORKFLOWS
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.informer import Informer
from tiphys.runtime.virtual import EPOCH, VirtualClock, VirtualLoop
from tiphys.workflows.ttl import Retention, TtlController, expiry, plan, surplus


def workflow(name: str = "w", *, phase: str = "Succeeded", at: int = 0, **ttl: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "labels": {"workflows.argoproj.io/completed": "true"},
        },
        "spec": {"ttlStrategy": ttl} if ttl else {},
        "status": {"phase": phase, "finishedAt": f"2026-01-01T00:{at:02}:00Z"},
    }


@pytest.mark.parametrize(
    ("phase", "ttl", "seconds"),
    [
        ("Succeeded", {"secondsAfterCompletion": 10}, 11),
        ("Succeeded", {"secondsAfterCompletion": 10, "secondsAfterSuccess": 5}, 6),
        ("Failed", {"secondsAfterCompletion": 10, "secondsAfterSuccess": 5}, 11),
        ("Error", {"secondsAfterFailure": 0}, 1),
        ("Failed", {"secondsAfterSuccess": 5}, None),
        ("Succeeded", {}, None),
        ("Running", {"secondsAfterCompletion": 10}, None),
    ],
)
def test_when_a_workflow_dies(phase: str, ttl: dict[str, int], seconds: int | None) -> None:
    expected = None if seconds is None else EPOCH + timedelta(seconds=seconds)
    assert expiry(workflow(phase=phase, **ttl)) == expected


def test_a_workflow_that_was_retried_stays() -> None:
    retried = workflow(secondsAfterCompletion=1)
    retried["metadata"]["labels"] = {"workflows.argoproj.io/completed": "false"}
    assert plan(retried, EPOCH + timedelta(days=1)) == Plan()


def test_the_template_that_was_stored_counts_too() -> None:
    from_template = workflow()
    from_template["status"]["storedWorkflowTemplateSpec"] = {"ttlStrategy": {"secondsAfterSuccess": 1}}
    assert expiry(from_template) == EPOCH + timedelta(seconds=2)


def test_it_waits_and_then_deletes_this_very_object() -> None:
    mortal = workflow(secondsAfterCompletion=10)
    assert plan(mortal, EPOCH) == Plan(wake_at=EPOCH + timedelta(seconds=11))
    (action,) = plan(mortal, EPOCH + timedelta(seconds=11)).actions
    assert isinstance(action, Delete)
    assert (action.uid, action.propagation) == ("uid-w", "Background")


@pytest.mark.parametrize(("limit", "gone"), [(0, ["a", "b", "c"]), (1, ["a", "b"]), (3, []), (9, [])])
def test_the_oldest_are_surplus(limit: int, gone: list[str]) -> None:
    finished = [workflow("b", at=2), workflow("a", at=1), workflow("c", at=3)]
    assert [delete.key.name for delete in surplus(finished, limit)] == gone


class _Silent:
    def emit(self, event: Emit) -> None:
        raise AssertionError(f"unexpected event {event}")


def test_the_controller_deletes_when_the_time_has_come_and_keeps_the_newest() -> None:
    clock, rng = VirtualClock(), random.Random(1)

    async def names(client: Client) -> list[str]:
        return [item["metadata"]["name"] for item in (await client.list(WORKFLOWS))["items"]]

    async def job() -> list[list[str]]:
        server = await ApiServer.start(Store(), clock, SeededIds(rng))
        client = Client(server.transport())
        for made in (workflow("short", secondsAfterCompletion=60), workflow("long"), workflow("old", phase="Failed")):
            await client.create(WORKFLOWS, made)
        await client.create(WORKFLOWS, workflow("new", phase="Failed", at=1))
        informer = Informer(client, WORKFLOWS, clock=clock, rng=rng)
        retention = Retention(failed=1)
        ttl = TtlController(client, informer, clock=clock, rng=rng, events=_Silent(), retention=retention)
        running = asyncio.gather(informer.run(), ttl.run())
        await clock.sleep_until(30)
        seen = [await names(client)]
        await clock.sleep_until(90)
        seen.append(await names(client))
        running.cancel()
        await asyncio.wait([running])
        await server.close()
        return seen

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        assert runner.run(job()) == [["long", "new", "short"], ["long", "new"]]
