"""ResourceQuota: no write takes a namespace beyond its quotas, however many come at once; and what is used is shown.

Usage is counted from the objects that the next write would find, not from the quota's status: between the count and the
store nothing waits, so two writers cannot both take the last place. ``QuotaKeeper`` writes the status afterwards, once
for all changes of a moment. Namespaces without quotas cost one look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from tiphys.cluster.apiserver.admission import amounts, usage
from tiphys.cluster.apiserver.admission.amounts import Amounts
from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.pods import refuse
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.equality import same
from tiphys.machinery.quantities import Quantity
from tiphys.machinery.resources import RESOURCE_QUOTAS
from tiphys.runtime.clock import Clock

QUOTAS: Final = RESOURCE_QUOTAS.key


class Quotas:
    """The quotas of a store, and what is used of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def charge(self, request: Attributes) -> None:
        """The last step of admission: raises Forbidden for what does not fit."""
        if request.obj is None or not request.namespace or not _is_charged(request):
            return
        collection, now = request.info.collection, self._clock.now()
        for quota in self.of_namespace(request.namespace):
            hard = (quota.get("spec") or {}).get("hard") or {}
            names = usage.names_of(collection, hard)
            if not names or not usage.in_scope(quota, collection, request.obj):
                continue
            self._check_complete(request, quota, names)
            asked = usage.of(collection, request.obj, now)
            if request.old is not None and usage.in_scope(quota, collection, request.old):
                asked = _more(asked, usage.of(collection, request.old, now))
            wanted = {name: asked[name] for name in names if name in asked and asked[name].sign > 0}
            if wanted:
                self._check(request, quota, wanted)

    def of_namespace(self, namespace: str) -> Iterator[Object]:
        """By name."""
        if self._store.collection(QUOTAS).records:
            found = self._store.latest_in(QUOTAS, namespace)
            yield from map(self._store.view, sorted(found, key=lambda record: record.key))

    def used(self, quota: Object) -> Amounts:
        """What the namespace's objects use of a quota's resources."""
        namespace, now = quota["metadata"]["namespace"], self._clock.now()
        hard = (quota.get("spec") or {}).get("hard") or {}
        total = dict.fromkeys(hard, usage.NONE)
        for collection in usage.collections_of(hard):
            for record in self._store.latest_in(collection, namespace):
                obj = self._store.view(record)
                if usage.in_scope(quota, collection, obj):
                    held = usage.of(collection, obj, now)
                    amounts.add(total, {name: amount for name, amount in held.items() if name in hard})
        return total

    def _check_complete(self, request: Attributes, quota: Object, names: list[str]) -> None:
        if request.info.collection == "pods" and request.obj is not None:
            lacking = usage.missing(request.obj, names)
            if lacking:
                raise refuse(request, f"failed quota: {quota['metadata']['name']}: must specify {lacking}")

    def _check(self, request: Attributes, quota: Object, wanted: Mapping[str, Quantity]) -> None:
        hard, used = amounts.parsed(quota["spec"]["hard"]), self.used(quota)
        over = [name for name, amount in sorted(wanted.items()) if (used[name] + amount).compare(hard[name]) > 0]
        if over:
            said = (f"{word}: {_shown(each, over)}" for word, each in (("used", used), ("limited", hard)))
            text = f"exceeded quota: {quota['metadata']['name']}, requested: {_shown(wanted, over)}"
            raise refuse(request, ", ".join([text, *said]))


def _only_rises(old: Object, new: Object) -> bool:
    if not old.get("used") or not same(old.get("hard"), new["hard"]):
        return False
    before, after = amounts.parsed(old["used"]), amounts.parsed(new["used"])
    return all(amount.compare(before.get(name, usage.NONE)) >= 0 for name, amount in after.items())


def _is_charged(request: Attributes) -> bool:
    """What can raise usage: new objects; changed Services, claims and pods (their scope, a resize)."""
    if request.operation == "CREATE":
        return not request.subresource
    if request.operation != "UPDATE":
        return False
    if request.info.collection == "pods":
        return request.subresource in ("", "resize")
    return not request.subresource and request.info.collection in ("services", "persistentvolumeclaims")


def _more(new: Amounts, old: Mapping[str, Quantity]) -> Amounts:
    return {name: amount - old[name] if name in old else amount for name, amount in new.items()}


def _shown(each: Mapping[str, Quantity], names: list[str]) -> str:
    return ",".join(f"{name}={each[name]}" for name in names)


Write = Callable[[Object, Object, bool], Awaitable[None]]
"""Writes a quota's status. The last one says that usage has only risen: that the original's admission writes itself."""


class QuotaKeeper:
    """Has ``status`` of quotas written after what they count has changed. Give it to the store as a listener."""

    def __init__(self, store: Store, quotas: Quotas, write: Write) -> None:
        self._store = store
        self._quotas = quotas
        self._write_status = write
        self._touched: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def heard(self, changes: list[Change]) -> None:
        if not self._store.collection(QUOTAS).records:
            return
        for change in changes:
            namespace = change.record.key.rpartition("/")[0]
            if namespace:
                self._touched.add(namespace)
        if self._touched and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        while self._touched:
            namespace = self._touched.pop()
            for quota in list(self._quotas.of_namespace(namespace)):
                hard = (quota.get("spec") or {}).get("hard") or {}
                used = {name: str(amount) for name, amount in self._quotas.used(quota).items()}
                status = {"hard": hard, "used": {name: used[name] for name in sorted(used)}}
                held = quota.get("status") or {}
                if not same(status, held):
                    await self._write_status(quota, status, _only_rises(held, status))
