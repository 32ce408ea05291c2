"""The forwards that a driver carries out: what Services want, without the pods that are about to end.

A pod is left out before its containers are asked to stop, and not only when its Service has heard that it goes: so no
new connection meets a program that takes none any more. Where a Service has only such pods they stay, as long as they
live (kube-proxy's rule for endpoints that terminate).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tiphys.cluster.node.network.routes import Forward, without


class Forwarding:
    """One change at a time; ``carry_out`` makes the addresses of Services lead where the forwards say."""

    def __init__(self, carry_out: Callable[[Sequence[Forward]], Awaitable[None]]) -> None:
        self._carry_out = carry_out
        self._wanted: tuple[Forward, ...] = ()
        self._leaving: set[str] = set()
        self._carried: tuple[Forward, ...] | None = None
        """None where it is not known what leads where."""
        self._changing = asyncio.Lock()

    async def want(self, forwards: Sequence[Forward]) -> None:
        """Raises what ``carry_out`` does; it is tried again with the next call."""
        self._wanted = tuple(forwards)
        self._carried = None
        await self._bring_in_step()

    async def leave_out(self, address: str) -> None:
        """A pod with this address is about to end. Raises what ``carry_out`` does."""
        self._leaving.add(address)
        await self._bring_in_step()

    def welcome(self, address: str) -> None:
        """Another pod has the address now."""
        self._leaving.discard(address)

    async def _bring_in_step(self) -> None:
        async with self._changing:
            forwards = without(self._wanted, self._leaving)
            if forwards == self._carried:
                return
            self._carried = None
            await self._carry_out(forwards)
            self._carried = forwards
