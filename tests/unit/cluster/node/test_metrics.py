"""Rates from readings, and readings from /proc and control groups."""

import asyncio
from datetime import timedelta
from pathlib import Path

from tiphys.cluster.node.cgroups import Group
from tiphys.cluster.node.metrics import Key, Reading, Sampler
from tiphys.cluster.node.usage import Figure, of_group, of_machine, of_trees, parse_stat, processes
from tiphys.runtime.virtual import VirtualClock, VirtualLoop

LIFE: Key = ("uid", "main", 0)


class Meter:
    """Half a processor, all the time; ``reads`` counts who looked."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.reads, self.born = clock, 0, clock.now()

    def read(self) -> Reading:
        self.reads += 1
        now = self.clock.monotonic()
        figures = {LIFE: Figure(now / 2, 4096)}
        return Reading(now, self.clock.now(), figures, {LIFE: self.born})


def in_virtual_time(scenario) -> None:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(scenario(clock))


def test_the_first_ask_waits_a_second_and_the_next_use_the_one_before() -> None:
    async def scenario(clock: VirtualClock) -> None:
        await clock.sleep_until(1000)
        meter = Meter(clock)
        sampler = Sampler(clock, meter.read)
        first, same = await asyncio.gather(sampler.rates(), sampler.rates())
        assert (clock.monotonic(), meter.reads) == (1001, 2)
        assert first is same
        assert (first[LIFE].usage.cpu, first[LIFE].usage.memory) == (500_000_000, 4096)
        assert first[LIFE].window == timedelta(seconds=1)
        await clock.sleep_until(1015)
        assert (await sampler.rates())[LIFE].window == timedelta(seconds=14)
        await clock.sleep_until(1018)  # not the newest reading, which is too near
        assert (await sampler.rates())[LIFE].window == timedelta(seconds=17)
        assert meter.reads == 4
        await clock.sleep_until(5000)
        assert meter.reads == 4, "nobody asks, nobody reads"
        assert (await sampler.rates())[LIFE].window == timedelta(seconds=1)

    in_virtual_time(scenario)


def test_a_life_that_began_in_the_window_counts_from_its_beginning() -> None:
    async def scenario(clock: VirtualClock) -> None:
        figures: dict[Key, Figure] = {}
        started = {}
        sampler = Sampler(clock, lambda: Reading(clock.monotonic(), clock.now(), dict(figures), dict(started)))
        assert await sampler.rates() == {}
        await clock.sleep_until(11)
        started[LIFE] = clock.now()
        await clock.sleep_until(15)
        figures[LIFE] = Figure(1.0, 0)
        rate = (await sampler.rates())[LIFE]
        assert (rate.usage.cpu, rate.window) == (250_000_000, timedelta(seconds=4))

    in_virtual_time(scenario)


def test_a_process_whose_name_looks_like_fields() -> None:
    text = "7 (a) R 1 (b) S 3 7 7 0 -1 0 0 0 0 0 100 50 30 20 20 0 1 0 5 1000 25 0"
    assert parse_stat(text).parent == 3
    assert parse_stat(text).cpu == 2.0


def test_a_tree_counts_its_ended_children_and_shares_pages(tmp_path: Path) -> None:
    for pid, parent, ticks in ((10, 1, 100), (11, 10, 50), (12, 11, 25), (13, 1, 1000)):
        (tmp_path / str(pid)).mkdir()
        stat = f"{pid} (x) S {parent} 0 0 0 -1 0 0 0 0 0 {ticks} 0 {ticks} 0 20 0 1 0 5 1000 2 0"
        (tmp_path / str(pid) / "stat").write_text(stat)
    (tmp_path / "11" / "smaps_rollup").write_text("00-ff ---p 0 0:0 0 [rollup]\nRss: 100 kB\nPss:  3 kB\n")
    found = of_trees({"a": 10, "gone": 99}, processes(tmp_path), tmp_path)
    assert found.keys() == {"a"}
    assert found["a"].cpu == 3.5
    assert found["a"].memory == 3 * 1024 + 2 * 2 * 4096


def test_groups_of_both_versions(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "memory.current").write_text("10000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 4000\ntotal_inactive_file 3000\n")
    (tmp_path / "cpuacct.usage").write_text("1500000000\n")
    (tmp_path / "memory.usage_in_bytes").write_text("9000\n")
    places = {"cpu": tmp_path, "memory": tmp_path}
    assert of_group(Group(places, unified=True)) == (2.5, 6000)
    assert of_group(Group(places)) == (1.5, 6000)
    assert of_group(Group({"pids": tmp_path})) == (None, None)


def test_this_machine_works() -> None:
    figure = of_machine()
    assert figure.cpu > 0
    assert figure.memory > 1 << 20
