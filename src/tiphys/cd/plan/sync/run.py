"""One pass over a sync: what is done next, as a conversation with the cluster.

    first pass     namespace made ─► client-side dry run of everything ─┐
    every pass     running tasks looked at ◄─────────────────────────────┘
                     │ hooks running, or several steps and anything running: wait
                     │ something completed badly: SyncFail hooks, then Failed
                     ▼
                   the first pending phase and wave: finalizers of old hooks off ─► prune ─► old hooks deleted ─► apply,
                   kind after kind ─► nothing left and no hooks: Succeeded at once, whatever the health

A pass is a generator: it yields stages of operations and is sent their answers, so that it does no I/O, and a recorded
conversation can be held again. Between passes nothing is kept but ``State``. Source: gitops-engine pkg/sync; judged by
golden/cd sync-order and sync-scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Literal, Protocol, TypeVar

from tiphys.cd.plan.health.verdict import Health, HealthError
from tiphys.cd.plan.markers import HOOK_FINALIZER, has_hook_finalizer, has_option, is_hook, option_value, phases_of
from tiphys.cd.plan.objects import (
    Gvk,
    Object,
    ResourceKey,
    annotations_of,
    defined_kind,
    finalizers_of,
    gvk_of,
    is_being_deleted,
    is_crd,
    key_of,
    metadata_of,
    name_of,
    namespace_of,
    with_metadata,
)
from tiphys.cd.plan.sync.operations import (
    Answer,
    Answers,
    ApiResource,
    Apply,
    Create,
    Get,
    MigrateFields,
    Operation,
    Remove,
    Replace,
    SetFinalizers,
    Stage,
    UnknownKind,
    Update,
)
from tiphys.cd.plan.sync.order import is_multi_step, ordered
from tiphys.cd.plan.sync.tasks import COMPLETED, OperationPhase, Outcomes, ResourceResult, ResultCode, Task
from tiphys.machinery.errors import Conflict, NotFound

T = TypeVar("T")
Talk = Generator[Stage, Answers, T]

RUN_ID: Final = "tiphys.argoproj.io/sync-run"
CLIENT_SIDE_MANAGER: Final = "kubectl-client-side-apply"
# client-go util/retry DefaultRetry: so often an update that meets a newer object is tried.
_CONFLICTS_MAX: Final = 5

RunState = Literal["successful", "pending", "failed"]
_STATE_OF: Final[dict[ResultCode, OperationPhase]] = {
    "Synced": "Running",
    "SyncFailed": "Failed",
    "Pruned": "Succeeded",
    "PruneSkipped": "Succeeded",
}


class Kinds(Protocol):
    """What the cluster says of kinds. Raises UnknownKind."""

    def find(self, gvk: Gvk) -> ApiResource: ...


def _all_permitted(_obj: Object, _resource: ApiResource) -> str | None:
    return None


def _all_included(_key: ResourceKey, _target: Object | None, _live: Object | None) -> bool:
    return True


def _no_health(_obj: Object) -> Health | None:
    return None


NamespaceChange = Callable[[Object, Object | None], Object | None]
"""Given the bare namespace and the live one (or None): the namespace to apply, None where nothing is to be done."""


@dataclass(frozen=True)
class Options:
    """What was asked of this sync; the application's options and the operation's, already merged.

    ``notes_first`` makes the pass in which a hook ended do nothing else, so that the end is stored first.
    ``modified`` says of compared objects whether they differ (for ``apply_out_of_sync_only``); ``permitted`` answers
    with the reason why an object may not be synced, or None.
    """

    prune: bool = False
    prune_option: str | None = None
    prune_confirmed: bool = False
    prune_last: bool = False
    propagation: str = "Foreground"
    dry_run: bool = False
    force: bool = False
    replace: bool = False
    validate: bool = True
    skip_hooks: bool = False
    skip_dry_run_on_missing: bool = False
    apply_out_of_sync_only: bool = False
    modified: Mapping[ResourceKey, bool] = field(default_factory=dict)
    server_side: bool = False
    manager: str = ""
    migrates_client_side: bool = True
    migrated_manager: str = CLIENT_SIDE_MANAGER
    namespace_change: NamespaceChange | None = None
    permitted: Callable[[Object, ApiResource], str | None] = _all_permitted
    included: Callable[[ResourceKey, Object | None, Object | None], bool] = _all_included
    notes_first: bool = False


@dataclass(frozen=True)
class Seen:
    """Everything that a pass decides from. ``pairs`` are targets with their live objects, either may be None."""

    pairs: Sequence[tuple[Object | None, Object | None]]
    hooks: Sequence[Object]
    namespace: str
    revision: str
    kinds: Kinds
    options: Options = field(default_factory=Options)
    health: Callable[[Object], Health | None] = _no_health


@dataclass(frozen=True)
class State:
    """The stored state of an operation."""

    started_at: datetime
    phase: OperationPhase = ""
    message: str = ""
    results: tuple[ResourceResult, ...] = ()
    attempt: int = 0
    """How many times the operation was tried before."""


def sync(seen: Seen, state: State) -> Talk[State]:
    """The next step of a sync; returns the state after it."""
    return (yield from _Pass(seen, state).sync())


def terminate(seen: Seen, state: State) -> Talk[State]:
    """Ends a sync: running hooks are deleted and the operation has failed."""
    return (yield from _Pass(seen, state).terminate())


@dataclass(frozen=True)
class Preview:
    """The tasks of a sync in order, before anything is done; ``problems`` are results of tasks that are not valid."""

    tasks: Sequence[Task]
    problems: Sequence[ResourceResult]

    @property
    def is_multi_step(self) -> bool:
        return is_multi_step(self.tasks)


def preview(seen: Seen, state: State) -> Talk[Preview]:
    """What a sync would consist of. Asks only for the live namespace."""
    run = _Pass(seen, state)
    tasks, _valid = yield from run.tasks()
    return Preview(tasks, [result for result in run.outcomes.in_order() if result.status == "SyncFailed"])


class _Pass:
    def __init__(self, seen: Seen, state: State) -> None:
        self._seen = seen
        self._options = seen.options
        self._state = state
        self._phase: OperationPhase = state.phase
        self._message = state.message
        self._tasks: Sequence[Task] = ()
        self.outcomes = Outcomes.of(state.results)
        self._resources = {
            key_of(live if live is not None else _one(target)): (target, live) for target, live in seen.pairs
        }

    # The two things that can be asked

    def sync(self) -> Talk[State]:
        tasks, valid = yield from self.tasks()
        if not valid:
            self._say_invalid()
        elif self.outcomes.by_key or (yield from self._begin(tasks)):
            yield from self._go_on(tasks)
        return self._end()

    def terminate(self) -> Talk[State]:
        tasks, _valid = yield from self.tasks()
        yield from self._finish_hooks(tasks)
        clean = yield from self._end_hooks([task for task in tasks if task.is_hook])
        if clean:
            self._set("Failed", "Operation terminated")
        else:
            self._set("Error", "Operation termination had errors")
        return self._end()

    def _end(self) -> State:
        return replace(self._state, phase=self._phase, message=self._message, results=self.outcomes.in_order())

    def _set(self, phase: OperationPhase, message: str) -> None:
        self._phase, self._message = phase, message

    def _say_invalid(self) -> None:
        texts = {r.message for r in self.outcomes.by_key.values() if r.status == "SyncFailed" and r.message}
        reason = ": " + "; ".join(sorted(texts)) if texts else ""
        self._set("Failed", f"one or more synchronization tasks are not valid{reason}")

    # Which tasks there are

    def tasks(self) -> Talk[tuple[list[Task], bool]]:
        """All tasks in order, and whether each may and can be done."""
        found = [*self._resource_tasks(), *self._hook_tasks()]
        for task in found:
            if task.target is not None and not namespace_of(task.target):
                # Also for kinds without namespaces: an apply can then never put the object into another one.
                task.target = with_metadata(task.target, namespace=self._seen.namespace)
        if self._options.namespace_change is not None and self._seen.namespace:
            found += yield from self._namespace_task(self._options.namespace_change)
        for task in found:
            if task.target is not None and task.live is None:
                task.live = self._live_of(task)
        valid = self._check(found)
        in_order = ordered(found, prunes_last=self._options.prune_last)
        for task in in_order:
            task.take_over(self.outcomes.by_key.get(task.result_key))
            self._adopt(task)
        self._tasks = in_order
        return in_order, valid

    def _resource_tasks(self) -> list[Task]:
        found: list[Task] = []
        for key, (target, live) in self._resources.items():
            obj = target if target is not None else _one(live)
            if self._options.included(key, target, live) and not is_hook(obj):
                found += [Task(phase, target, live) for phase in phases_of(obj)]
        return found

    def _hook_tasks(self) -> list[Task]:
        if self._options.skip_hooks:
            return []
        return [Task(phase, self._hook(obj, phase)) for obj in self._seen.hooks for phase in phases_of(obj)]

    def _hook(self, obj: Object, phase: str) -> Object:
        """The hook as it is applied: with its finalizer, and a name that is the same in every pass."""
        run_id = self._run_id(phase)
        fields: dict[str, Any] = {"annotations": {**(metadata_of(obj).get("annotations") or {}), RUN_ID: run_id}}
        if not name_of(obj):
            fields["name"] = f"{metadata_of(obj).get('generateName') or ''}{self._run_of(phase)}"
        if not has_hook_finalizer(obj):
            fields["finalizers"] = [*finalizers_of(obj), HOOK_FINALIZER]
        return with_metadata(obj, **fields)

    def _run_id(self, phase: str) -> str:
        """Names this run of a hook: the operation, the phase, the attempt."""
        return f"{self._run_of(phase)}.{self._state.attempt}"

    def _run_of(self, phase: str) -> str:
        revision = self._seen.revision[:7] if len(self._seen.revision) >= 8 else self._seen.revision
        return f"{revision}-{phase}-{int(self._state.started_at.timestamp())}".lower()

    def _adopt(self, task: Task) -> None:
        """A hook that this very operation made, though nothing was noted: we were stopped in between.

        Made again it would run twice; its result is noted now and it is waited for as any other.
        """
        if not task.is_hook or not task.is_pending or task.live is None or is_being_deleted(task.live):
            return
        if annotations_of(task.live).get(RUN_ID) == self._run_id(task.phase):
            task.conclude(self.outcomes, "Synced", "Running", f"{task.gvk.kind.lower()}/{task.name} created")

    def _namespace_task(self, change: NamespaceChange) -> Talk[list[Task]]:
        name = self._seen.namespace
        if any(_is_namespace(target, name) for target, _live in self._seen.pairs):
            return []
        bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        (answer,) = yield (Get("v1", key_of(bare)),)
        if answer.error is not None and not isinstance(answer.error, NotFound):
            task = Task("PreSync", bare)
            task.conclude(self.outcomes, "SyncFailed", "Error", f"namespace auto creation failed: {answer.error}")
            return [task]
        wanted = change(bare, answer.object)
        return [] if wanted is None else [Task("PreSync", wanted, answer.object)]

    def _live_of(self, task: Task) -> Object | None:
        # A target of a kind without namespaces carries one all the same.
        for key in (task.key, task.key._replace(namespace="")):
            if key in self._resources:
                return self._resources[key][1]
        return None

    def _check(self, tasks: Iterable[Task]) -> bool:
        valid = True
        defined = {defined_kind(obj) for obj in self._targets()}
        for task in tasks:
            try:
                resource = self._seen.kinds.find(task.gvk)
            except UnknownKind as unknown:
                if unknown.is_absent and self._may_be_missing(task, defined):
                    task.skips_dry_run = True
                    continue
                problem: str | None = str(unknown)
            else:
                problem = self._options.permitted(task.obj, resource)
            if problem is not None:
                task.conclude(self.outcomes, "SyncFailed", "", problem)
                valid = False
        return valid

    def _may_be_missing(self, task: Task, defined: set[tuple[str, str] | None]) -> bool:
        """Whether the kind may come to be during this sync."""
        return (
            self._options.skip_dry_run_on_missing
            or has_option(task.target, "SkipDryRunOnMissingResource=true")
            or (task.gvk.group, task.gvk.kind) in defined
        )

    def _targets(self) -> Iterable[Object]:
        yield from self._seen.hooks
        yield from (target for target, _live in self._seen.pairs if target is not None)

    # The first pass

    def _begin(self, tasks: Sequence[Task]) -> Talk[bool]:
        """Makes the namespace and tries everything without effect; false ends the pass."""
        new_namespace = next(
            (t for t in tasks if t.live is None and _is_namespace(t.target, self._seen.namespace)), None
        )
        if new_namespace is not None:
            # Most dry runs fail without the namespace; its own would add nothing, a failure ends the sync anyway.
            if (yield from self._run([new_namespace], dry_run=False)) == "failed":
                yield from self._fail([], [new_namespace], "the namespace failed to apply")
                return False
            tasks = [task for task in tasks if task is not new_namespace]
        if (yield from self._run(self._out_of_sync(tasks), dry_run=True)) == "failed":
            self._set("Failed", "one or more objects failed to apply (dry run)")
            return False
        return True

    def _out_of_sync(self, tasks: Sequence[Task]) -> Sequence[Task]:
        if not self._options.apply_out_of_sync_only:
            return tasks
        modified = self._options.modified
        return [
            task
            for task in tasks
            if task.is_hook or task.target is None or task.live is None or modified.get(task.live_key, True)
        ]

    # Every pass

    def _go_on(self, tasks: Sequence[Task]) -> Talk[None]:
        for task in tasks:
            if task.is_running and task.live is not None:
                self._look_at(task, task.live)
        if (yield from self._wait(tasks)):
            return
        if self._options.notes_first and self._has_unnoted_ends(tasks):
            return
        yield from self._finish_hooks(tasks)
        over = [task for task in tasks if task.is_hook and not task.is_running]
        after_success = [task for task in over if task.is_deleted_on_success]
        after_failure = [task for task in over if task.is_deleted_on_failure]
        on_failure = [task for task in tasks if task.phase == "SyncFail"]
        tasks = [task for task in tasks if task.phase != "SyncFail"]
        if any(task.is_unsuccessful for task in tasks):
            yield from self._delete_hooks(after_failure)
            refused = [task for task in tasks if task.status == "SyncFailed"]
            yield from self._fail(on_failure, refused, "one or more synchronization tasks completed unsuccessfully")
            return
        pending = self._out_of_sync([task for task in tasks if task.is_pending])
        if not pending:
            yield from self._delete_hooks(after_success)
            self._set("Succeeded", "successfully synced (no more tasks)")
            return
        yield from self._step(pending, on_failure, after_success, after_failure)

    def _has_unnoted_ends(self, tasks: Iterable[Task]) -> bool:
        """Whether a hook ended since the state was stored: deleted before that is noted, it would run again."""
        noted = {(r.key, r.sync_phase) for r in self._state.results if r.hook_phase in COMPLETED}
        ends = [self.outcomes.by_key.get(task.result_key) for task in tasks if task.is_hook and task.is_completed]
        return any(end is not None and (end.key, end.sync_phase) not in noted for end in ends)

    def _step(
        self,
        pending: Sequence[Task],
        on_failure: list[Task],
        after_success: list[Task],
        after_failure: list[Task],
    ) -> Talk[None]:
        """Runs the tasks of the first phase and wave."""
        first = (pending[0].phase, pending[0].wave)
        tasks = [task for task in pending if (task.phase, task.wave) == first]
        self._set("Running", "one or more tasks are running")
        match (yield from self._run(tasks, dry_run=False)):
            case "failed":
                yield from self._step_failed(tasks, on_failure, after_failure)
            case "successful" if len(tasks) == len(pending) and not any(task.is_hook for task in tasks):
                # Without hooks and waves a sync is nothing but an apply, whatever becomes of the objects then.
                yield from self._delete_hooks(after_success)
                self._set("Succeeded", "successfully synced (all tasks run)")
            case "successful":
                self._set_running(tasks)
            case "pending":
                waited_for = [t for t in tasks if t.is_deleted_before_creation or (t.is_prune and t.is_pending)]
                self._set_running(waited_for, is_deletion=True)

    def _step_failed(self, tasks: list[Task], on_failure: list[Task], after_failure: list[Task]) -> Talk[None]:
        refused = [task for task in tasks if task.status == "SyncFailed"]
        running = [task for task in tasks if task.is_running]
        message = "one or more objects failed to apply"
        if running:
            if on_failure and not (yield from self._fail(on_failure, refused, message)):
                running += on_failure
            self._set_running(running)
        elif (yield from self._fail(on_failure, refused, message)):
            yield from self._delete_hooks(after_failure)

    def _look_at(self, task: Task, live: Object) -> None:
        """Brings a running task up to date with its live object's health."""
        if task.is_hook:
            try:
                state, message = self._hook_state(live)
            except HealthError as err:
                state, message = "Error", f"failed to get resource health: {err}"
            task.conclude(self.outcomes, task.status, state, message)
            return
        try:
            health = self._seen.health(live)
        except HealthError:
            return
        if health is None:
            task.conclude(self.outcomes, task.status, "Succeeded", task.message)
        elif health.status == "Healthy":
            task.conclude(self.outcomes, task.status, "Succeeded", health.message)
        elif health.status == "Degraded":
            task.conclude(self.outcomes, task.status, "Failed", health.message)

    def _hook_state(self, live: Object) -> tuple[OperationPhase, str]:
        try:
            health = self._seen.health(live)
        except HealthError as err:
            raise HealthError(f"failed to get resource health: {err}") from err
        if health is None or health.status == "Missing":
            return "Succeeded", f"{name_of(live)} created"
        match health.status:
            case "Unknown" | "Degraded":
                return "Failed", health.message
            case "Progressing" | "Suspended":
                return "Running", health.message
            case _:
                return "Succeeded", health.message

    def _wait(self, tasks: Sequence[Task]) -> Talk[bool]:
        """Whether the pass ends here: something runs, or is still being deleted."""
        several = is_multi_step(tasks)
        running = [task for task in tasks if task.is_running and (several or task.is_hook)]
        if running:
            yield from self._find_vanished([task for task in running if task.live is None])
            self._set_running(running)
            return True
        going = [t for t in tasks if t.status == "Pruned" and t.live is not None and is_being_deleted(t.live)]
        if going:
            self._set_running(going, is_deletion=True)
        return bool(going)

    def _find_vanished(self, tasks: Sequence[Task]) -> Talk[None]:
        """A task whose object is gone would be waited for for ever."""
        if not tasks:
            return
        answers = yield tuple(self._get(task) for task in tasks)
        for task, answer in zip(tasks, answers, strict=True):
            if isinstance(answer.error, NotFound):
                where = f"{task.gvk.group}/{task.gvk.kind}/{task.name}"
                gone = f"Resource {where} is missing, it might have been deleted"
                task.conclude(self.outcomes, "SyncFailed", "Error", gone)
            elif answer.error is not None:
                task.conclude(
                    self.outcomes,
                    task.status,
                    "Error",
                    f"Failed to get live resource failed to get resource: {answer.error}",
                )

    def _set_running(self, tasks: Sequence[Task], *, is_deletion: bool = False) -> None:
        if not tasks:
            self._set("Running", "")
            return
        hooks = [task for task in tasks if task.is_hook]
        reason = "completion of hook" if hooks else "healthy state of"
        what = "hooks" if len(hooks) == len(tasks) else "resources"
        if is_deletion:
            reason = "deletion of hook" if hooks else "deletion of"
        first, others = (hooks or tasks)[0], len(tasks) - 1
        unconfirmed = [task for task in tasks if self._wants_confirmation(task)]
        if unconfirmed:
            reason, first, others = "pruning confirmation of", unconfirmed[0], len(unconfirmed) - 1
        message = f"waiting for {reason} {first.gvk.group}/{first.gvk.kind}/{first.name}"
        self._set("Running", f"{message} and {others} more {what}" if others else message)

    def _fail(self, on_failure: Sequence[Task], refused: Sequence[Task], message: str) -> Talk[bool]:
        """Runs the SyncFail hooks; true once they are all over and the operation has failed."""
        message = _with_reasons(refused, message)
        if all(task.is_completed for task in on_failure):
            refused_too = [task for task in on_failure if task.status == "SyncFailed"]
            if refused_too:
                message += "\n" + _with_reasons(refused_too, "one or more SyncFail hooks failed")
            self._set("Failed", message)
            return True
        pending = [task for task in on_failure if not task.is_completed and not task.is_running]
        yield from self._run(pending, dry_run=False)
        self._set_running(pending)
        return False

    # Hooks

    def _finish_hooks(self, tasks: Sequence[Task]) -> Talk[None]:
        for task, error in (yield from self._remove_finalizers([t for t in tasks if t.is_hook and t.is_completed])):
            task.conclude(self.outcomes, task.status, "Error", f"Failed to remove hook finalizer: {error}")

    def _remove_finalizers(self, tasks: Sequence[Task]) -> Talk[list[tuple[Task, str]]]:
        """Takes our finalizer off the hooks' live objects; those that could not be written, with the reason."""
        failed: list[tuple[Task, str]] = []
        left = [task for task in tasks if task.live is not None]
        for _attempt in range(_CONFLICTS_MAX):
            # A hook of several phases has a task in each, and one live object.
            by_key = {task.live_key: task for task in left if has_hook_finalizer(_one(task.live))}
            left = list(by_key.values())
            if not left:
                break
            for task in left:
                kept = [each for each in finalizers_of(_one(task.live)) if each != HOOK_FINALIZER]
                self._set_live(task, with_metadata(_one(task.live), finalizers=kept))
            answers = yield tuple(SetFinalizers(_one(task.live)) for task in left)
            lost: list[Task] = []
            for task, answer in zip(left, answers, strict=True):
                if isinstance(answer.error, Conflict):
                    lost.append(task)
                elif answer.error is not None and not isinstance(answer.error, NotFound):
                    error = f"failed to update resource: failed to update resource: {answer.error}"
                    failed.append((task, error))
            left = yield from self._read_again(lost)
        return failed + [(task, "it was changed by others over and over") for task in left]

    def _read_again(self, tasks: Sequence[Task]) -> Talk[list[Task]]:
        if not tasks:
            return []
        answers = yield tuple(self._get(task) for task in tasks)
        for task, answer in zip(tasks, answers, strict=True):
            if answer.object is not None:
                self._set_live(task, answer.object)
        return [task for task, answer in zip(tasks, answers, strict=True) if answer.object is not None]

    def _set_live(self, task: Task, live: Object) -> None:
        old = task.live
        for each in self._tasks:
            if each.live is old:
                each.live = live

    def _end_hooks(self, tasks: Sequence[Task]) -> Talk[bool]:
        """Deletes hooks that run; whether all of it went well."""
        clean = True
        for task in tasks:
            if task.is_running:
                clean = (yield from self._end_hook(task)) and clean
        return clean

    def _end_hook(self, task: Task) -> Talk[bool]:
        def conclude(state: OperationPhase, message: str) -> None:
            task.conclude(self.outcomes, task.status, state, message)

        if task.live is None:
            (answer,) = yield (self._get(task),)
            if answer.error is not None and not isinstance(answer.error, NotFound):
                conclude("Error", f"Failed to get live resource: failed to get resource: {answer.error}")
                return False
            task.live = answer.object
        if task.live is None:
            conclude("Succeeded", "Terminated")
            return True
        state: OperationPhase = ""
        message = ""
        try:
            state, message = self._hook_state(task.live)
        except HealthError as err:
            conclude("Error", f"Failed to get hook health: {err}")
        for _task, error in (yield from self._remove_finalizers([task])):
            conclude("Error", f"Failed to remove hook finalizer: {error}")
            return False
        if state in ("", "Running") or task.is_deleted_on_failure:
            (answer,) = yield (self._remove(task, "hook"),)
            if answer.error is not None and not isinstance(answer.error, NotFound):
                conclude("Failed", f"Failed to delete: failed to delete resource: {answer.error}")
                return False
        if state in ("Succeeded", "Failed"):
            conclude(state, message)
        elif task.state != "Error":
            conclude("Failed", "Terminated")
        return True

    def _delete_hooks(self, tasks: Sequence[Task]) -> Talk[None]:
        for task, error in (yield from self._delete(tasks)):
            text = f"failed to delete resource: failed to delete resource: {error}"
            task.conclude(self.outcomes, task.status, "Error", text)

    def _delete(self, tasks: Sequence[Task]) -> Talk[list[tuple[Task, str]]]:
        if not tasks:
            return []
        answers = yield tuple(self._remove(task, "hook") for task in tasks)
        return [
            (task, str(answer.error))
            for task, answer in zip(tasks, answers, strict=True)
            if answer.error is not None and not isinstance(answer.error, NotFound)
        ]

    # Running tasks

    def _run(self, tasks: Sequence[Task], *, dry_run: bool) -> Talk[RunState]:
        dry_run = dry_run or self._options.dry_run
        old_hooks = [task for task in tasks if task.is_hook and task.is_pending and task.live is not None]
        if old_hooks and not dry_run:
            failures = yield from self._remove_finalizers(old_hooks)
            for task, error in failures:
                task.conclude(self.outcomes, task.status, "Error", f"failed to remove hook finalizer: {error}")
            if failures:
                return "failed"
        prunes = [task for task in tasks if task.is_prune]
        if any(self._wants_confirmation(task) for task in prunes):
            return "pending"
        if not (yield from self._prune(prunes, dry_run=dry_run)):
            return "failed"
        creates = [task for task in tasks if not task.is_prune]
        if not dry_run:
            state = yield from self._delete_before_creation(creates)
            if state != "successful":
                return state
        return (yield from self._create(creates, dry_run=dry_run))

    def _wants_confirmation(self, task: Task) -> bool:
        return task.is_prune and not self._options.prune_confirmed and self._prune_option(task) == "confirm"

    def _prune_option(self, task: Task) -> str | None:
        own = option_value(_one(task.live), "Prune") if task.live is not None else None
        return own if own is not None else self._options.prune_option

    def _prune(self, tasks: Sequence[Task], *, dry_run: bool) -> Talk[bool]:
        """Deletes what is not wanted any more; whether nothing was refused."""
        deleted: list[Task] = []
        for task in tasks:
            if not self._options.prune:
                self._note(task, "PruneSkipped", "ignored (requires pruning)", dry_run=dry_run)
            elif self._prune_option(task) == "false":
                self._note(task, "PruneSkipped", "ignored (no prune)", dry_run=dry_run)
            elif dry_run:
                self._note(task, "Pruned", "pruned (dry run)", dry_run=dry_run)
            elif is_being_deleted(_one(task.live)):
                self._note(task, "Pruned", "pruned", dry_run=dry_run)
            else:
                deleted.append(task)
        if not deleted:
            return True
        answers = yield tuple(self._remove(task, "prune") for task in deleted)
        for task, answer in zip(deleted, answers, strict=True):
            if answer.error is not None:
                self._note(task, "SyncFailed", str(answer.error), dry_run=dry_run)
            else:
                self._note(task, "Pruned", "pruned", dry_run=dry_run)
        return all(answer.error is None for answer in answers)

    def _delete_before_creation(self, tasks: Sequence[Task]) -> Talk[RunState]:
        """Deletes earlier instances of hooks; the next pass makes them anew."""
        old = [task for task in tasks if task.is_deleted_before_creation]
        if not old:
            return "successful"
        answers = yield tuple(self._remove(task, "hook") for task in old)
        state: RunState = "successful"
        for task, answer in zip(old, answers, strict=True):
            if isinstance(answer.error, NotFound):
                task.live = None
            elif answer.error is not None:
                text = f"failed to delete resource: failed to delete resource: {answer.error}"
                task.conclude(self.outcomes, task.status, "Error", text)
                state = "failed"
            elif state == "successful":
                state = "pending"
        return state

    def _create(self, tasks: Sequence[Task], *, dry_run: bool) -> Talk[RunState]:
        """Applies kind after kind; a failure does not keep the next kinds back."""
        state: RunState = "successful"
        for _kind, group in groupby(tasks, key=lambda task: task.gvk.kind):
            applied = [task for task in group if not (dry_run and task.skips_dry_run)]
            if applied and not (yield from self._apply(applied, dry_run=dry_run)):
                state = "failed"
        return state

    def _apply(self, tasks: Sequence[Task], *, dry_run: bool) -> Talk[bool]:
        tasks, clean = yield from self._migrate(tasks, dry_run=dry_run)
        if not tasks:
            return clean
        operations = tuple(self._operation(task, dry_run=dry_run) for task in tasks)
        answers = yield operations
        for task, operation, answer in zip(tasks, operations, answers, strict=True):
            if answer.error is not None:
                clean = False
                self._note(task, "SyncFailed", str(answer.error), dry_run=dry_run)
            else:
                self._note(task, "Synced", _applied(task, operation, answer), dry_run=dry_run)
        return clean

    def _migrate(self, tasks: Sequence[Task], *, dry_run: bool) -> Talk[tuple[Sequence[Task], bool]]:
        """Fields of client-side apply change hands before a first server-side apply, or they could never be removed."""
        old = self._options.migrated_manager
        if dry_run or not self._options.migrates_client_side or not old:
            return tasks, True
        moved = [t for t in tasks if self._is_server_side(t, dry_run=dry_run) and _manages(t.live, old)]
        if not moved:
            return tasks, True
        answers = yield tuple(MigrateFields(_one(t.live), old, self._options.manager) for t in moved)
        refused = {task: answer.error for task, answer in zip(moved, answers, strict=True) if answer.error is not None}
        for task, error in refused.items():
            key = key_of(_one(task.live))
            where = f"{{{key.group} {key.kind} {key.namespace} {key.name}}}"
            text = f"Failed to perform client-side apply migration for {where}: {error}"
            self._note(task, "SyncFailed", text, dry_run=dry_run)
        return [task for task in tasks if task not in refused], not refused

    def _operation(self, task: Task, *, dry_run: bool) -> Operation:
        target = _one(task.target)
        force = self._options.force or _either(task, "Force=true")
        validate = self._options.validate and not has_option(target, "Validate=false")
        if not (self._options.replace or _either(task, "Replace=true")):
            server_side = self._is_server_side(task, dry_run=dry_run)
            return Apply(target, dry_run, force, validate, server_side, self._options.manager)
        if task.live is None:
            return Create(target, dry_run, validate)
        if is_crd(target) or target.get("kind") == "Namespace":
            # A replace may delete and make again, and with these everything in them.
            version = metadata_of(task.live).get("resourceVersion")
            return Update(with_metadata(target, resourceVersion=version), dry_run)
        return Replace(target, dry_run, force)

    def _is_server_side(self, task: Task, *, dry_run: bool) -> bool:
        # Never in a dry run: on the server it would need the namespace that is yet to be made.
        if dry_run or has_option(task.target, "ServerSideApply=false"):
            return False
        return self._options.server_side or has_option(task.target, "ServerSideApply=true")

    def _note(self, task: Task, code: ResultCode, message: str, *, dry_run: bool) -> None:
        """Notes a result; of the dry run at the beginning only what failed."""
        if dry_run and not self._options.dry_run and code != "SyncFailed":
            return
        state = _STATE_OF[code]
        if self._options.dry_run and code == "Synced":
            state = "Succeeded"  # nothing was made that could run
        task.conclude(self.outcomes, code, state, message)

    def _get(self, task: Task) -> Get:
        return Get(task.gvk.api_version, task.key)

    def _remove(self, task: Task, what: Literal["prune", "hook"]) -> Remove:
        uid = str(metadata_of(task.live).get("uid") or "") if task.live is not None else ""
        return Remove(task.gvk.api_version, task.key, what, self._options.propagation, uid)


def _one(obj: Object | None) -> Object:
    """``obj``, of which the caller knows that it is there."""
    assert obj is not None
    return obj


def _is_namespace(obj: Object | None, name: str) -> bool:
    if obj is None or name_of(obj) != name:
        return False
    gvk = gvk_of(obj)
    return gvk.kind == "Namespace" and not gvk.group


def _either(task: Task, option: str) -> bool:
    return has_option(task.target, option) or has_option(task.live, option)


def _manages(live: Object | None, manager: str) -> bool:
    """Whether ``manager`` owns fields by client-side apply; those of an apply have been migrated before."""
    entries = metadata_of(live).get("managedFields") if live is not None else None
    return any(
        isinstance(entry, Mapping) and entry.get("manager") == manager and entry.get("operation") == "Update"
        for entry in entries or ()
    )


def _applied(task: Task, operation: Operation, answer: Answer) -> str:
    if isinstance(operation, Update):
        return f"{task.gvk.kind}/{task.name} updated"
    return answer.message


def _with_reasons(tasks: Sequence[Task], message: str) -> str:
    texts = list(dict.fromkeys(task.message for task in tasks))
    return f"{message}, reason: {','.join(texts)}" if texts else message
