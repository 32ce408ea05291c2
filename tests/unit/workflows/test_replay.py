"""What was recorded is decided again, and a recording of other behaviour is noticed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tiphys.app.compose import World
from tiphys.app.follow import follow
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings
from tiphys.machinery.resources import CONFIG_MAPS, WORKFLOWS, key_of
from tiphys.testing.sim.generate import scene
from tiphys.testing.stage import run_on_stage, stage
from tiphys.workflows.replay import replay


def record(seed: int, path: Path) -> None:
    what = scene(seed)

    async def job(world: World) -> None:
        settings = Settings(flight_record=path)
        async with LocalCluster.start(settings, node=stage(what.script), world=world) as cluster:
            for obj in what.objects:
                await cluster.client.create(CONFIG_MAPS, obj)
            made = [await cluster.client.create(WORKFLOWS, workflow) for workflow in what.workflows]
            async for _ in follow(cluster.client, [key_of(workflow) for workflow in made]):
                pass

    run_on_stage(job)


@pytest.mark.parametrize("seed", [1, 3, 6, 9])
def test_recorded_decisions_are_made_again(seed: int, tmp_path: Path) -> None:
    recording = tmp_path / "flight.jsonl"
    record(seed, recording)
    replayed = list(replay(recording))
    assert replayed
    assert [decision.line for decision in replayed if not decision.is_same] == []


def test_another_decision_is_noticed_and_a_cut_line_is_not_read(tmp_path: Path) -> None:
    recording = tmp_path / "flight.jsonl"
    record(1, recording)
    lines = [orjson.loads(line) for line in recording.read_bytes().splitlines()]
    first = next(line for line in lines if line["what"] == "decide" and line["plan"]["stages"])
    first["plan"]["stages"] = []
    recording.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines) + b'{"what": "dec')
    assert [decision.line for decision in replay(recording) if not decision.is_same] == [lines.index(first) + 1]
