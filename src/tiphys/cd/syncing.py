"""Carries an operation to its end: every pass of the sync, each stored before the next one.

    operation ─► Running stored ─► may it run now? ─► compare ─► one pass ─► stored ─┬─► again while something is done
                                   (window, others)                                  ├─► wait for the cluster
                                                                                     └─► ended: history, fresh status

Nothing of an operation is only in memory: whoever comes after a crash goes on from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cd.act import SyncActor
from tiphys.cd.comparing import Compared, Comparer, ImpersonationError, ProjectError, Sources
from tiphys.cd.plan import operation as operations
from tiphys.cd.plan.dependencies import CircleError, waits_for
from tiphys.cd.plan.diff.ignoring import IgnoreError
from tiphys.cd.plan.operation import Around, OperationState
from tiphys.cd.plan.status import compared_status
from tiphys.cd.plan.sync.run import sync, terminate
from tiphys.cd.plan.sync.tasks import COMPLETED
from tiphys.cd.plan.validation import DestinationError
from tiphys.cd.settings import ControllerSettings
from tiphys.cd.writing import Application, Applications
from tiphys.machinery.equality import same
from tiphys.machinery.resources import ObjectKey
from tiphys.runtime.clock import Clock

_LOOK_AGAIN: Final = timedelta(seconds=30)
"""While a sync waits: what it waits for is watched, this is for what nobody tells of."""


@dataclass(frozen=True)
class Operated:
    """Where an operation stands: the application after it, when to look again, whether it is over."""

    app: Application
    wake_at: datetime | None = None
    is_over: bool = False


class Syncer:
    def __init__(
        self, comparer: Comparer, applications: Applications, settings: ControllerSettings, clock: Clock,
        on_wait: Callable[[ObjectKey, Iterable[ObjectKey]], None],
    ) -> None:  # fmt: skip
        """``on_wait`` is told which applications one waits for."""
        self._comparer = comparer
        self._applications = applications
        self._settings = settings
        self._clock = clock
        self._on_wait = on_wait

    async def operate(self, app: Application, ready: Compared | None = None) -> Operated:
        """Begins the operation of the application, or goes on with it. ``ready`` is a comparison that was just made
        of what it syncs."""
        cause = ""
        if not operations.is_in_progress(app):
            app = await self._store(app, operations.begun(app["operation"], self._clock.now()))
        elif ready is None and _state(app)["phase"] != "Terminating":
            waiting = operations.awaited(_state(app), self._clock.now())
            if waiting is not None and waiting.until is not None:
                return Operated(app, waiting.until)
            if self._is_too_late(_state(app)):
                cause = "controller sync timeout"
                late = {"phase": "Terminating", "message": "operation is terminating due to timeout"}
                app = await self._store(app, {**_state(app), **late})
            elif waiting is not None and waiting.state is not None:
                if waiting.state["phase"] in COMPLETED:
                    return await self._end(app, waiting.state, None, is_final=True)
                app = await self._store(app, waiting.state)
        if _state(app)["phase"] != "Terminating":
            held = await self._held(app)
            if held is not None:
                return held
        return await self._passes(app, ready, cause)

    def _is_too_late(self, state: OperationState) -> bool:
        limit = self._settings.sync_timeout
        return limit is not None and operations.stamped(state["startedAt"]) + limit < self._clock.now()

    # Before it runs

    async def _held(self, app: Application) -> Operated | None:
        """What keeps the operation from running now: an error, a window, other applications."""
        state = _state(app)
        try:
            project = self._comparer.project_of(app)
        except ProjectError as err:
            failure = f"Failed to load application project: {err}"
            return await self._end(app, {**state, "phase": "Error", "message": failure}, None)
        now = self._clock.now()
        blocked = operations.blocked_by_window(app, project, self._comparer.destination_of(app), state, now)
        if blocked is None and not state.get("syncResult"):
            try:
                blocked = self._waits(app)
            except CircleError as err:
                return await self._end(app, {**state, "phase": "Error", "message": str(err)}, None, is_final=True)
        if blocked is None:
            return None
        app = await self._store(app, {**state, "message": blocked})
        return Operated(app, now + _LOOK_AGAIN)

    def _waits(self, app: Application) -> str | None:
        lacking = waits_for(app, self._applications.caches.applications.get)
        self._on_wait(_key(app), [key for key, _lack in lacking])
        if not lacking:
            return None
        return "waiting for " + "; ".join(f"application {key.name}: {lack}" for key, lack in lacking)

    # The passes

    async def _passes(self, app: Application, ready: Compared | None, cause: str) -> Operated:
        while True:
            state = _state(app)
            is_ending = state["phase"] == "Terminating"
            try:
                compared = ready or await self._compare(app, state)
            except (ProjectError, DestinationError) as err:
                return await self._end(app, {**state, "phase": "Error", "message": str(err)}, None)
            ready = None
            refused = None if is_ending else operations.refusal(state, compared.comparison.conditions)
            if refused is not None:
                phase, message = refused
                result = operations.pinned(app, state, compared.comparison)
                failed = {**state, "phase": phase, "message": message, "syncResult": result}
                return await self._end(app, failed, compared)
            try:
                after = await self._pass(app, state, compared, is_ending=is_ending)
            except IgnoreError as err:
                after = {**state, "phase": "Error", "message": f"Failed to normalize resources: {err}"}
            except ImpersonationError as err:
                after = {**state, "phase": "Error", "message": str(err)}
            if after["phase"] in COMPLETED:
                return await self._end(app, after, compared, is_final=is_ending, cause=cause)
            if same(after, state):
                return Operated(app, self._clock.now() + _LOOK_AGAIN)
            app = await self._store(app, after)

    async def _compare(self, app: Application, state: OperationState) -> Compared:
        sources, revisions, _several = operations.chosen(app, state)
        chosen = Sources(sources, revisions)
        is_known = bool(chosen.revisions) and all(chosen.revisions)
        return await self._comparer.compare(app, chosen, resolve=not is_known, keep=False)

    async def _pass(
        self, app: Application, state: OperationState, compared: Compared, *, is_ending: bool
    ) -> dict[str, Any]:
        around = Around(compared.project, compared.cluster, compared.kinds, compared.check)
        seen = operations.seen_by_sync(app, state, compared.comparison, around)
        client = self._comparer.client_for(app, compared.project, compared.cluster)
        actor = SyncActor(compared.live, self._clock, client, self._comparer.instance_of(app))
        engine = await actor.hold((terminate if is_ending else sync)(seen, operations.engine_state(state)))

        def preferred(group: str, kind: str) -> str | None:
            found = compared.live.kinds.any_version(group, kind)
            return None if found is None else found.version

        return operations.after_pass(app, state, compared.comparison, engine, preferred)

    # What is stored

    async def _store(self, app: Application, state: OperationState) -> Application:
        return await self._applications.write(app, {**(app.get("status") or {}), "operationState": state})

    async def _end(
        self,
        app: Application,
        state: OperationState,
        compared: Compared | None,
        *,
        is_final: bool = False,
        cause: str = "",
    ) -> Operated:
        """Stores the end, or that it is tried again, with the status as it is now, all in one write."""
        now = self._clock.now()
        state = operations.settled(state, now, was_terminating=is_final, cause=cause)
        status: dict[str, Any] = {**(app.get("status") or {}), "operationState": state}
        fields: dict[str, Any] = {}
        is_over = state["phase"] in COMPLETED
        if is_over:
            fields["operation"] = None
            history = None if compared is None else operations.recorded(app, state, compared.comparison, now)
            if history is not None:
                status["history"] = history
        if compared is not None and not ((state.get("operation") or {}).get("sync") or {}).get("dryRun"):
            status = await self._refreshed({**app, "status": status}, state)
        app = await self._applications.write(app, status, **fields)
        if not is_over:
            waiting = operations.awaited(state, now)
            return Operated(app, (waiting.until if waiting is not None else None) or now)
        kind, message = operations.summary_of(state)
        self._applications.tell(app, kind, "OperationCompleted", message)
        return Operated(app, is_over=True)

    async def _refreshed(self, app: Application, state: OperationState) -> dict[str, Any]:
        """The status after a comparison with what the spec wants, which may be more than the operation was about."""
        automated = ((state.get("operation") or {}).get("initiatedBy") or {}).get("automated")
        compared = await self._comparer.compare(app, Sources.of_spec(app), resolve=not automated)
        namespace = self._comparer.control_namespace
        return compared_status(app, compared.comparison, namespace, self._clock.now())


def _state(app: Application) -> OperationState:
    state: Mapping[str, Any] = (app.get("status") or {}).get("operationState") or {}
    return state


def _key(app: Application) -> ObjectKey:
    metadata = app["metadata"]
    return ObjectKey(metadata.get("namespace") or "", metadata["name"])
