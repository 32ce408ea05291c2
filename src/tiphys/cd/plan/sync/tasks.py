"""A task: one object in one phase of a sync, with what is known of it so far; and the results that carry this over.

Between passes nothing is remembered but the results (``status.operationState.syncResult.resources``): a controller that
starts again goes on from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, cast

from tiphys.cd.plan.markers import SyncPhase, delete_policies, is_hook, wave_of
from tiphys.cd.plan.objects import Gvk, Object, ResourceKey, gvk_of, images_of, key_of, name_of, namespace_of

OperationPhase = Literal["", "Running", "Terminating", "Failed", "Error", "Succeeded"]
ResultCode = Literal["", "Synced", "SyncFailed", "Pruned", "PruneSkipped"]

COMPLETED: frozenset[str] = frozenset(("Failed", "Error", "Succeeded"))


class ResultKey(NamedTuple):
    """A result belongs to an object and a phase: a hook of two phases has two."""

    resource: ResourceKey
    phase: SyncPhase


@dataclass(frozen=True, slots=True)
class ResourceResult:
    """One entry of ``syncResult.resources``. ``order`` counts from 1, in the order in which results came to be."""

    key: ResourceKey
    version: str
    order: int
    status: ResultCode
    message: str
    hook_type: str
    hook_phase: OperationPhase
    sync_phase: SyncPhase
    images: tuple[str, ...] = ()

    @property
    def result_key(self) -> ResultKey:
        return ResultKey(self.key, self.sync_phase)


@dataclass(slots=True)
class Outcomes:
    """The results of an operation so far, by object and phase; it grows during a pass."""

    by_key: dict[ResultKey, ResourceResult] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Sequence[ResourceResult]) -> Outcomes:
        return cls({result.result_key: result for result in results})

    def in_order(self) -> tuple[ResourceResult, ...]:
        return tuple(sorted(self.by_key.values(), key=lambda result: result.order))


@dataclass(eq=False)
class Task:
    """``target`` None: the live object is to be pruned. ``live`` None: the object is to be made."""

    phase: SyncPhase
    target: Object | None
    live: Object | None = None
    skips_dry_run: bool = False
    status: ResultCode = ""
    state: OperationPhase = ""
    message: str = ""
    wave_override: int | None = None

    @property
    def obj(self) -> Object:
        return cast(Object, self.target if self.target is not None else self.live)

    @cached_property
    def gvk(self) -> Gvk:
        return gvk_of(self.obj)

    @cached_property
    def key(self) -> ResourceKey:
        return key_of(self.obj)

    @property
    def live_key(self) -> ResourceKey:
        """The key in the cluster: targets carry a namespace even where their kind has none."""
        return self.key if self.live is None else self.key._replace(namespace=namespace_of(self.live))

    @property
    def result_key(self) -> ResultKey:
        return ResultKey(self.key, self.phase)

    @property
    def name(self) -> str:
        return name_of(self.obj)

    @property
    def wave(self) -> int:
        return self.wave_override if self.wave_override is not None else self._own_wave

    @cached_property
    def _own_wave(self) -> int:
        return wave_of(self.obj)

    @cached_property
    def is_hook(self) -> bool:
        return is_hook(self.obj)

    @property
    def is_prune(self) -> bool:
        return self.target is None

    @property
    def is_pending(self) -> bool:
        return not self.state

    @property
    def is_running(self) -> bool:
        return self.state == "Running"

    @property
    def is_completed(self) -> bool:
        return self.state in COMPLETED

    @property
    def is_unsuccessful(self) -> bool:
        return self.state in ("Failed", "Error")

    def _deleted_at(self, policy: str) -> bool:
        return self.live is not None and self.is_hook and policy in delete_policies(self.obj)

    @property
    def is_deleted_before_creation(self) -> bool:
        return self.is_pending and self._deleted_at("BeforeHookCreation")

    @property
    def is_deleted_on_success(self) -> bool:
        return self._deleted_at("HookSucceeded")

    @property
    def is_deleted_on_failure(self) -> bool:
        return self._deleted_at("HookFailed")

    def take_over(self, result: ResourceResult | None) -> None:
        if result is not None:
            self.status, self.state, self.message = result.status, result.hook_phase, result.message

    def conclude(self, outcomes: Outcomes, status: ResultCode, state: OperationPhase, message: str) -> None:
        """Notes what became of the task; an empty message keeps the one before."""
        self.status, self.state = status, state
        self.message = message or self.message
        known = outcomes.by_key.get(self.result_key)
        # What the object is was noted the first time; later only what became of it changes.
        first = known or ResourceResult(
            key=self.key,
            version=self.gvk.version,
            order=len(outcomes.by_key) + 1,
            status="",
            message="",
            hook_type=self.phase if self.is_hook else "",
            hook_phase="",
            sync_phase=self.phase,
            images=tuple(images_of(self.obj) or ()),
        )
        outcomes.by_key[self.result_key] = ResourceResult(
            first.key,
            first.version,
            first.order,
            status,
            self.message,
            first.hook_type,
            state,
            first.sync_phase,
            first.images,
        )
