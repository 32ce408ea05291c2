"""What a driver carries out: without pods that are about to end, one change at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tiphys.cluster.node.network.attachments import NetworkError
from tiphys.cluster.node.network.forwarding import Forwarding
from tiphys.cluster.node.network.routes import Endpoint, Forward

A, B = "10.1.0.1", "10.1.0.2"


def to(*addresses: str) -> Forward:
    return Forward("10.96.0.1", 80, "TCP", tuple(Endpoint(address, 8080) for address in addresses))


class Kernel:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.refuses = False
        self.at_once = 0
        self.forwarding = Forwarding(self.carry_out)

    async def carry_out(self, forwards: Sequence[Forward]) -> None:
        self.at_once += 1
        assert self.at_once == 1, "two changes at once"
        await asyncio.sleep(0)  # gives others their turn
        self.at_once -= 1
        if self.refuses:
            raise NetworkError("busy")
        self.told.append([end.address for one in forwards for end in one.endpoints])


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


async def test_a_pod_that_ends_is_left_out_while_there_are_others(kernel: Kernel) -> None:
    await kernel.forwarding.want([to(A, B)])
    await kernel.forwarding.leave_out(A)
    await kernel.forwarding.leave_out(B)
    assert kernel.told == [[A, B], [B], [A, B]]


async def test_old_news_of_a_service_does_not_bring_it_back(kernel: Kernel) -> None:
    await kernel.forwarding.want([to(A, B)])
    await kernel.forwarding.leave_out(A)
    await kernel.forwarding.want([to(A, B)])
    assert kernel.told[-1] == [B]
    kernel.forwarding.welcome(A)
    await kernel.forwarding.want([to(A, B)])
    assert kernel.told[-1] == [A, B]


async def test_nothing_is_done_for_a_pod_behind_no_service(kernel: Kernel) -> None:
    await kernel.forwarding.want([to(B)])
    await kernel.forwarding.leave_out(A)
    assert kernel.told == [[B]]


async def test_many_that_end_together_are_few_changes(kernel: Kernel) -> None:
    addresses = [f"10.1.0.{number}" for number in range(10)]
    await kernel.forwarding.want([to(*addresses)])
    await asyncio.gather(*(kernel.forwarding.leave_out(address) for address in addresses[1:]))
    assert kernel.told[-1] == addresses[:1]
    assert len(kernel.told) <= 3


async def test_what_was_refused_is_carried_out_with_the_next_change(kernel: Kernel) -> None:
    await kernel.forwarding.want([to(A, B)])
    kernel.refuses = True
    with pytest.raises(NetworkError):
        await kernel.forwarding.leave_out(A)
    kernel.refuses = False
    await kernel.forwarding.leave_out(A)
    assert kernel.told[-1] == [B]
