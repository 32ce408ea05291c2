"""Leader election by Lease: of several processes with one name, one at a time runs the work.

    async with asyncio.TaskGroup() as group: group.create_task(Leader(...).run(work))

The holder renews every ``retry_seconds``; who has not renewed for ``lease_seconds`` (measured by *our* clock since we
last saw the record change, so that clocks may disagree) is replaced. A holder that cannot renew within
``renew_seconds`` stops its work before anybody else may begin. Semantics: client-go's tools/leaderelection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tiphys.client.client import Client, Object
from tiphys.machinery.errors import AlreadyExists, ApiError, Conflict, NotFound
from tiphys.machinery.resources import LEASES, ObjectKey
from tiphys.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    lease_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


class Leader:
    def __init__(
        self, client: Client, clock: Clock, key: ObjectKey, identity: str, times: LeaseTimes | None = None
    ) -> None:
        self._client = client
        self._clock = clock
        self._key = key
        self._identity = identity
        self._times = times or LeaseTimes()
        self._seen: Object | None = None
        self._seen_at = 0.0

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs ``work`` whenever we lead; cancels it when the lease is lost. Ends when ``work`` ends by itself."""
        while True:
            while not await self._try_hold():
                await self._pause()
            if await self._lead(work):
                return

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> bool:
        """True: the work ended by itself. False: the lease was lost."""
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._renew_until_lost())
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
                await self._release()
                return True
            return False
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)

    async def _renew_until_lost(self) -> None:
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < self._times.renew_seconds:
            await self._pause()
            if await self._try_hold():
                renewed = self._clock.monotonic()
            elif self._holder() != self._identity:
                return

    async def _try_hold(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self._key)
        except NotFound:
            return await self._write(None)
        except ApiError:
            return False
        self._notice(lease)
        if self._holder() not in ("", self._identity) and not self._expired():
            return False
        return await self._write(lease)

    async def _write(self, lease: Object | None) -> bool:
        try:
            if lease is None:
                self._notice(await self._client.create(LEASES, self._record(None)))
            else:
                self._notice(await self._client.replace(LEASES, self._record(lease)))
        except (AlreadyExists, Conflict, ApiError):
            return False
        return True

    async def _release(self) -> None:
        """Lets a successor begin at once instead of after ``lease_seconds``."""
        if self._seen is None:
            return
        record = dict(self._seen, spec=dict(self._seen["spec"], holderIdentity="", leaseDurationSeconds=1))
        try:
            await self._client.replace(LEASES, record)
        except ApiError:
            return

    def _record(self, lease: Object | None) -> dict[str, Any]:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease.get("spec") or {}) if lease is not None else {}
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if lease is not None else 0)
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._times.lease_seconds),
            "renewTime": now,
        }
        if lease is not None:
            return dict(lease, spec=spec)
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._key.namespace, "name": self._key.name},
            "spec": spec,
        }

    def _notice(self, lease: Object) -> None:
        if self._seen is None or lease["metadata"]["resourceVersion"] != self._seen["metadata"]["resourceVersion"]:
            self._seen, self._seen_at = lease, self._clock.monotonic()

    def _holder(self) -> str:
        return str((self._seen or {}).get("spec", {}).get("holderIdentity") or "")

    def _expired(self) -> bool:
        return self._clock.monotonic() - self._seen_at > self._times.lease_seconds

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + self._times.retry_seconds)
