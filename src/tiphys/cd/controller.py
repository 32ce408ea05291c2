"""The Application controller: what wakes an application, and what is done for it then.

    Application ────────────────────────────────┐
    its live objects ──index by tracking────────┤
    AppProject, argocd-cm, cluster secrets ─────┼─► queue ─► being deleted? ─► deleting.py
    applications that it waits for ─────────────┤            operation?     ─► syncing.py
    time (refresh period, self-heal, retry) ────┘            else           ─► refresh: compare, status, auto-sync

A refresh that finds something to sync stores status, ``operation`` and its state in one write and goes on at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cd.caches import Caches
from tiphys.cd.clusters import ClusterSet
from tiphys.cd.comparing import Compared, Comparer, Sources
from tiphys.cd.deleting import HOOK_FINALIZERS, Deleter, cleanup_of
from tiphys.cd.hydrating import Hydrator
from tiphys.cd.kinds import KindTable
from tiphys.cd.plan.autosync import AutoSync, auto_sync
from tiphys.cd.plan.hydration import HYDRATE, HYDRATE_TIMESTAMP
from tiphys.cd.plan.objects import Object, annotations_of, finalizers_of, metadata_of
from tiphys.cd.plan.operation import begun, is_in_progress, stamped
from tiphys.cd.plan.spec import normalized, parse_instance
from tiphys.cd.plan.status import (
    REFRESH,
    Refresh,
    compared_status,
    invalid_status,
    is_skipped,
    refresh_wanted,
    with_conditions,
)
from tiphys.cd.plan.windows import WindowError, Windows
from tiphys.cd.rendering import Renderer
from tiphys.cd.settings import ControllerSettings
from tiphys.cd.syncing import Syncer
from tiphys.cd.writing import Application, Applications, furnish
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.client.kubeconfig import Cluster as Connection
from tiphys.client.transport import Transport
from tiphys.lang import globs
from tiphys.machinery.errors import ApiError
from tiphys.machinery.patches import merge
from tiphys.machinery.resources import ObjectKey
from tiphys.runtime.act import EventSink
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.queue import Backoff, WorkQueue

logger = logging.getLogger(__name__)

_CHANGED: Final = Refresh("something changed")
_HYDRATE: Final = Refresh("hydration is asked for", resolve=True)
_AGAIN: Final = Refresh("the last look failed", resolve=True)
_RETRY: Final = Backoff(first_seconds=1.0, cap_seconds=60.0)


class ApplicationController:
    def __init__(
        self,
        client: Client,
        kinds: KindTable,
        renderer: Renderer,
        settings: ControllerSettings,
        *,
        clock: Clock,
        rng: random.Random,
        events: EventSink,
        connect: Callable[[Connection], Transport] = HttpTransport,
    ) -> None:
        """``kinds`` are those of the cluster that ``client`` speaks to; ``connect`` reaches the others."""
        namespace = settings.namespace
        self.caches = Caches(client, namespace, clock=clock, rng=rng)
        self.clusters = ClusterSet(
            client, kinds, lambda: self.caches.settings, self._on_live, clock=clock, rng=rng, connect=connect
        )
        self._client = client
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._applications = Applications(client, self.caches, events)
        self._comparer = Comparer(self.caches, self.clusters, renderer, settings, clock)
        self._syncer = Syncer(self._comparer, self._applications, settings, clock, self._on_wait)
        self._hydrator = Hydrator(self._comparer, self._applications, renderer, clock)
        self._deleter = Deleter(self._comparer, self._applications, clock)
        self._queue = WorkQueue[ObjectKey](clock, rng)
        self._controller = Controller("applications", self._queue, self._reconcile, settings.workers)
        self._changed: set[ObjectKey] = set()
        self._looked: dict[ObjectKey, datetime] = {}
        self._failed: dict[ObjectKey, _Failed] = {}
        """Those whose last look did not show their sources or their live objects."""
        self._waits: dict[ObjectKey, frozenset[ObjectKey]] = {}
        """By application: those that it waits for."""
        self._waiting: dict[ObjectKey, set[ObjectKey]] = {}
        """By application: those that wait for it."""
        self._subscribe()

    async def run(self) -> None:
        """Works until cancelled; no decision is made before every cache is complete."""
        await self._furnish()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.caches.run(), name="cd-caches")
            await self.caches.synced()
            self.caches.read_settings()
            self.clusters.set_secrets(self.caches.cluster_secrets())
            group.create_task(self.clusters.run(), name="cd-clusters")
            group.create_task(self._controller.run(), name="cd-controller")

    async def _furnish(self) -> None:
        failures, backoff = 0, Backoff(first_seconds=0.05, cap_seconds=30.0)
        while True:
            try:
                await furnish(self._client, self._settings.namespace)
            except ApiError as err:
                failures += 1
                logger.debug("the API does not take the default project yet: %s", err)
                await self._clock.sleep_until(self._clock.monotonic() + backoff.seconds(failures, self._rng))
            else:
                return

    @property
    def bugs(self) -> int:
        return self._controller.bugs

    @property
    def waiting(self) -> Mapping[ObjectKey, Set[ObjectKey]]:
        """By application: those whose sync waits for it."""
        return self._waiting

    @property
    def idle(self) -> bool:
        """Nothing is being done, and nothing waits to be done at once."""
        return self._queue.idle

    # What wakes whom

    def _subscribe(self) -> None:
        self.caches.applications.subscribe(self._on_application)
        self.caches.projects.subscribe(self._on_project)
        self.caches.config.subscribe(self._on_settings)
        self.caches.secrets.subscribe(self._on_clusters)

    def _on_application(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        for waiting in self._waiting.get(key, ()):
            self._queue.add(waiting)
        own = self._applications.written.get(key)
        if after is None or metadata_of(after).get("resourceVersion") != own:
            self._queue.add(key)

    def _on_live(self, instance: str) -> None:
        name, namespace = parse_instance(instance, self._settings.namespace)
        key = ObjectKey(namespace, name)
        if self.caches.applications.get(key) is not None:
            self._look_at(key)

    def _on_project(self, key: ObjectKey, _before: Object | None, _after: Object | None) -> None:
        for app in self.caches.applications.objects():
            if ((app.get("spec") or {}).get("project") or "default") == key.name:
                self._look_at(_key(app))

    def _on_settings(self, _key: ObjectKey, _before: Object | None, _after: Object | None) -> None:
        if self.caches.config.synced.is_set() and self.caches.read_settings():
            self.clusters.drop_all()
            self.look_at_all()

    def _on_clusters(self, _key: ObjectKey, _before: Object | None, _after: Object | None) -> None:
        if self.caches.secrets.synced.is_set():
            self.clusters.set_secrets(self.caches.cluster_secrets())
            self.look_at_all()

    def _on_wait(self, key: ObjectKey, others: Iterable[ObjectKey]) -> None:
        """From now on ``key`` waits for these, and for no other."""
        before, now = self._waits.pop(key, frozenset()), frozenset(others)
        for other in before - now:
            self._waiting[other].discard(key)
            if not self._waiting[other]:
                del self._waiting[other]
        for other in now:
            self._waiting.setdefault(other, set()).add(key)
        if now:
            self._waits[key] = now

    def _look_at(self, key: ObjectKey) -> None:
        self._changed.add(key)
        self._queue.add(key)

    def look_at_all(self) -> None:
        """Has every application compared."""
        for app in self.caches.applications.objects():
            self._look_at(_key(app))

    # observe → decide → act

    async def _reconcile(self, key: ObjectKey) -> Outcome:
        app = self.caches.applications.get(key)
        if app is None:
            self._forget(key)
            return None
        if not self._is_ours(key) or is_skipped(app) or self._comparer.is_paused(app):
            return None
        if app.get("operation") is not None:
            return await self._operate(key, app)
        if metadata_of(app).get("deletionTimestamp"):
            return await self._deleter.delete(app)
        return await self._refresh(key, app)

    def _is_ours(self, key: ObjectKey) -> bool:
        patterns = self.caches.settings.application_namespaces
        return key.namespace == self._settings.namespace or any(globs.fits(each, key.namespace) for each in patterns)

    def _forget(self, key: ObjectKey) -> None:
        self._changed.discard(key)
        self._looked.pop(key, None)
        self._failed.pop(key, None)
        self._applications.written.pop(key, None)
        self._on_wait(key, ())
        instance = self._comparer.instance_of({"metadata": {"name": key.name, "namespace": key.namespace}})
        self._comparer.forget(instance)
        self.clusters.forget(instance)

    async def _operate(self, key: ObjectKey, app: Application, ready: Compared | None = None) -> Outcome:
        operated = await self._syncer.operate(app, ready)
        if operated.is_over:
            self._on_wait(key, ())
            status = operated.app.get("status") or {}
            if (status.get("sync") or {}).get("status") == "OutOfSync" or metadata_of(app).get("deletionTimestamp"):
                self._look_at(key)  # for auto-sync, which may heal it, or say why not
            return self._next(key, operated.app)
        if key in self._changed or annotations_of(operated.app).get(REFRESH) is not None:
            await self._refresh(key, operated.app)
        return operated.wake_at

    async def _refresh(self, key: ObjectKey, app: Application) -> Outcome:
        now = self._clock.now()
        refresh = self._wanted(key, app, now)
        if refresh is None:
            return self._next(key, app)
        self._changed.discard(key)
        self._looked[key] = now
        fields = _tidied(app)
        problems = self._comparer.problems(app)
        if problems:
            status = invalid_status(app, problems, self._settings.namespace, now)
            return self._next(key, await self._applications.write(app, status, **fields))
        if refresh.resolve:
            app = await self._hydrator.hydrate(app)
        compared = await self._comparer.compare(app, Sources.of_spec(app), resolve=refresh.resolve, hard=refresh.hard)
        again = self._again(key, compared, now)
        if again is not None and compared.unrendered and self._is_graced(key, app, refresh, now):
            return again
        comparison = compared.comparison
        status = compared_status(app, comparison, self._settings.namespace, self._clock.now())
        auto = self._auto_sync(app, compared)
        if auto is not None:
            found = [] if auto.condition is None else [auto.condition]
            evaluated = frozenset(("SyncError",))
            status["conditions"] = with_conditions(status.get("conditions") or (), found, evaluated, now)
        if auto is not None and auto.operation is not None:
            fields["operation"] = auto.operation
            status["operationState"] = begun(auto.operation, self._clock.now())
        _merge(fields, _finalizers(app, before=comparison.has_pre_delete_hooks, after=comparison.has_post_delete_hooks))
        app = await self._applications.write(app, status, **fields)
        if "operation" in fields:
            revision = comparison.sync.get("revision") or ", ".join(comparison.sync.get("revisions") or ())
            self._applications.tell(app, "Normal", "OperationStarted", f"Initiated automated sync to '{revision}'")
            return await self._operate(key, app, compared)
        wake_at = self._next(key, app)
        if auto is not None and auto.wake_at is not None:
            self._changed.add(key)
            return min(auto.wake_at, wake_at or auto.wake_at)
        return again if again is not None and (wake_at is None or again < wake_at) else wake_at

    def _again(self, key: ObjectKey, compared: Compared, now: datetime) -> datetime | None:
        """When a look is repeated that failed through no change of ours: soon, then less and less often."""
        if not compared.unrendered and not compared.unseen:
            self._failed.pop(key, None)
            return None
        before = self._failed.get(key)
        since, times = (now, 1) if before is None else (before.since, before.times + 1)
        until = now + timedelta(seconds=_RETRY.seconds(times, self._rng))
        self._failed[key] = _Failed(since, times, until)
        return until

    def _is_graced(self, key: ObjectKey, app: Application, refresh: Refresh, now: datetime) -> bool:
        """Whether a source that does not render is kept quiet for now: what was seen last still stands."""
        if refresh.told or any(each.get("type") == "ComparisonError" for each in _conditions(app)):
            return False
        return now < self._failed[key].since + self._settings.repository_grace

    def _wanted(self, key: ObjectKey, app: Application, now: datetime) -> Refresh | None:
        """Why to compare: what the object says; a look that changed nothing is not stored and so only known here."""
        period = self._settings.refresh_period
        looked = self._looked.get(key)
        is_fresh = looked is not None and period is not None and now < looked + period
        wanted = refresh_wanted(app, now, None if is_fresh else period)
        failed = self._failed.get(key)
        if wanted is None and HYDRATE in annotations_of(app):
            return _HYDRATE
        if wanted is None and failed is not None and failed.until <= now:
            return _AGAIN
        if key not in self._changed:
            return wanted
        return wanted or _CHANGED

    def _auto_sync(self, app: Application, compared: Compared) -> AutoSync | None:
        """None where a sync window, or an operation that is going on, does not let it."""
        if is_in_progress(app) and app.get("operation") is not None:
            return None
        now = self._clock.now()
        windows = Windows.of(compared.project.spec.get("syncWindows"))
        concerning = windows.concerning(metadata_of(app)["name"], self._comparer.destination_of(app))
        try:
            if not concerning.can_sync(now, manual=False, started_at=None):
                return None
        except WindowError as err:
            logger.warning("%s: sync windows: %s", metadata_of(app)["name"], err)
            return None
        comparison = compared.comparison
        if any(each.type == "ComparisonError" for each in comparison.conditions):
            return None
        return auto_sync(app, comparison.sync, comparison.resources, now, self._settings.self_heal)

    def _next(self, key: ObjectKey, app: Application) -> datetime | None:
        """When the period is over; spread out, so that not all come at once."""
        period = self._settings.refresh_period
        if period is None:
            return None
        at = (app.get("status") or {}).get("reconciledAt")
        last = max(filter(None, (stamped(at) if at else None, self._looked.get(key))), default=self._clock.now())
        return last + period + self._settings.refresh_jitter * self._rng.random()


@dataclass(frozen=True)
class _Failed:
    """Looks that failed in a row, and when there will be another."""

    since: datetime
    times: int
    until: datetime


def _conditions(app: Application) -> Iterable[Mapping[str, Any]]:
    return (app.get("status") or {}).get("conditions") or ()


def _key(app: Application) -> ObjectKey:
    metadata = metadata_of(app)
    return ObjectKey(metadata.get("namespace") or "", metadata["name"])


def _tidied(app: Application) -> dict[str, Any]:
    """The patch that takes a refresh request away and brings the spec into its normal form."""
    fields: dict[str, Any] = {}
    done = [name for name in (REFRESH, HYDRATE, HYDRATE_TIMESTAMP) if name in annotations_of(app)]
    if done:
        fields["metadata"] = {"annotations": dict.fromkeys(done)}
    spec = app.get("spec") or {}
    changed = merge.create(spec, dict(normalized(spec)))
    if changed:
        fields["spec"] = changed
    return fields


def _finalizers(app: Application, *, before: bool, after: bool) -> dict[str, Any]:
    """The patch that gives the application finalizers for the hooks of its deletion, or takes them away."""
    known = finalizers_of(app)
    wanted = [each for each in known if not each.startswith(tuple(HOOK_FINALIZERS.values()))]
    if before:
        wanted += [HOOK_FINALIZERS["PreDelete"], cleanup_of("PreDelete")]
    if after:
        wanted += [HOOK_FINALIZERS["PostDelete"], cleanup_of("PostDelete")]
    if sorted(wanted) == sorted(known) or metadata_of(app).get("deletionTimestamp"):
        return {}
    return {"metadata": {"finalizers": wanted}}


def _merge(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        fields[name] = {**(fields.get(name) or {}), **value}
