"""What a session does with its descriptors once they are no longer its own."""

from __future__ import annotations

import asyncio
import os

from tiphys.cluster.node.runtimes.sessions import Outlet


async def test_a_closed_outlet_leaves_the_next_owner_of_its_number_alone() -> None:
    """Its process ends later, as that of a probe that took too long: what waited under the number was never woken."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    ours, theirs = os.pipe()
    outlet = Outlet(ours)
    outlet.close()
    number, writer = os.pipe()
    assert number == ours
    loop.add_reader(number, woken.set)
    outlet.over()
    os.write(writer, b"x")
    async with asyncio.timeout(30):
        await woken.wait()
    loop.remove_reader(number)
    for descriptor in (theirs, number, writer):
        os.close(descriptor)


async def test_who_reads_is_told_that_it_was_closed() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    outlet = Outlet(ours)
    reading = asyncio.create_task(outlet.read())
    await asyncio.sleep(0)
    outlet.close()
    async with asyncio.timeout(30):
        assert await reading == b""
    os.close(theirs)
