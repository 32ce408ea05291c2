"""The node's live figures for the metrics API (``apiserver.usage.UsageSource``): rates, sampled when asked for.

A rate needs two readings. While somebody asks again and again (an autoscaler, every 15 s) the earlier ask is the first
of them; who comes out of the blue waits a second for it. Nobody asks: nothing is read, no timer is set. Those who ask
at the same time share a reading.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tiphys.cluster.apiserver.usage import Measured, Usage
from tiphys.cluster.node import usage
from tiphys.cluster.node.runtimes.shim import CLOCK, ShimContainer
from tiphys.cluster.node.usage import Figure
from tiphys.runtime.clock import Clock

if TYPE_CHECKING:
    from tiphys.cluster.node.agent import Agent

# A window is at least this long, and better that long; older readings say nothing of now.
WINDOW_SECONDS_MIN, WINDOW_SECONDS_GOOD, WINDOW_SECONDS_MAX = 1.0, 10.0, 60.0
_NODE = ("", "", 0)

Key = tuple[str, str, int]
"""A life: uid of the pod, name of the container, attempt."""


@dataclass(frozen=True, slots=True)
class Reading:
    """``taken`` is monotonic; ``started``: when lives that are there began."""

    taken: float
    at: datetime
    figures: Mapping[Key, Figure]
    started: Mapping[Key, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rate:
    usage: Usage
    at: datetime
    window: timedelta


class Sampler:
    """Rates from readings that ``read`` takes."""

    def __init__(self, clock: Clock, read: Callable[[], Reading]) -> None:
        self._clock = clock
        self._read = read
        self._readings: deque[Reading] = deque()
        self._one = asyncio.Lock()
        self._rates: Mapping[Key, Rate] = {}

    async def rates(self) -> Mapping[Key, Rate]:
        """Of all lives that are there and of the node."""
        async with self._one:
            now = self._clock.monotonic()
            if self._rates and self._readings and now - self._readings[-1].taken < WINDOW_SECONDS_MIN:
                return self._rates
            while self._readings and now - self._readings[0].taken > WINDOW_SECONDS_MAX:
                self._readings.popleft()
            if not self._readings:
                first = self._read()
                self._readings.append(first)
                await self._clock.sleep_until(first.taken + WINDOW_SECONDS_MIN)
            latest = self._read()
            self._rates = dict(_rates(self._before(latest), latest))
            self._readings.append(latest)
            return self._rates

    def _before(self, latest: Reading) -> Reading:
        """The newest one that is long enough ago, else the oldest."""
        good = (each for each in reversed(self._readings) if latest.taken - each.taken >= WINDOW_SECONDS_GOOD)
        return next(good, self._readings[0])


def _rates(before: Reading, now: Reading) -> Iterator[tuple[Key, Rate]]:
    for key, figure in now.figures.items():
        earlier = before.figures.get(key)
        if earlier is not None:
            spent, seconds = figure.cpu - earlier.cpu, now.taken - before.taken
        elif key in now.started:  # it began in between, with nothing
            spent, seconds = figure.cpu, (now.at - now.started[key]).total_seconds()
        else:
            continue
        seconds = max(seconds, 0.01)
        used = Usage(max(0, round(spent / seconds * 1e9)), figure.memory)
        yield key, Rate(used, now.at, timedelta(seconds=seconds))


class UsageOfNode:
    """The agent's containers, and the machine as its node."""

    def __init__(self, agent: Agent, clock: Clock = CLOCK) -> None:
        self._agent = agent
        self._sampler = Sampler(clock, self._read)
        self._clock = clock

    async def measure(self) -> tuple[Mapping[str, Measured], Mapping[str, Measured]]:
        rates = await self._sampler.rates()
        parts: dict[str, dict[str, Rate]] = {}
        for (uid, name, _), rate in rates.items():
            parts.setdefault(uid, {})[name] = rate
        node = parts.pop("", {})
        pods = {uid: _together(rates) for uid, rates in parts.items()}
        return pods, ({self._agent.node_name: _together(node)} if node else {})

    def _read(self) -> Reading:
        lives = {
            (uid, container.name, container.attempt): container
            for uid, container in self._agent.containers()
            if isinstance(container, ShimContainer) and container.pid
        }
        found = usage.processes()
        names = {str(number): key for number, key in enumerate(lives)}
        trees = usage.of_trees({name: lives[key].pid for name, key in names.items()}, found)
        figures = {names[name]: _counted(lives[names[name]], figure) for name, figure in trees.items()}
        figures[_NODE] = usage.of_machine()
        started = {key: container.started_at for key, container in lives.items()}
        return Reading(self._clock.monotonic(), self._clock.now(), figures, started)


def _counted(container: ShimContainer, tree: Figure) -> Figure:
    """What the container's groups say, where it has some, is better than what its processes do."""
    group = container.group()
    if group is None:
        return tree
    cpu, memory = usage.of_group(group)
    return Figure(tree.cpu if cpu is None else cpu, tree.memory if memory is None else memory)


def _together(rates: Mapping[str, Rate]) -> Measured:
    one = max(rates.values(), key=lambda rate: rate.window)
    return Measured(one.at, one.window, {name: rate.usage for name, rate in rates.items()})
