"""Carries out a plan: stages in order, the actions of a stage (so many) at the same time.

The generic other half of every controller: plans say what should change, this file is the only one that asks the API
for it. It hides what does not matter (a thing already created by us, already gone) and raises what does:
``Conflict`` means that the plan was made from an old object: decide again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tiphys.client.client import Client
from tiphys.machinery.actions import Action, Create, Delete, Emit, Patch, Plan
from tiphys.machinery.errors import AlreadyExists, ApiError, Conflict, NotFound
from tiphys.machinery.resources import key_of

Object = Mapping[str, Any]

_AT_ONCE = 512
"""Requests on their way: enough to share a commit, few enough that caches keep up with what comes of them."""


class EventSink(Protocol):
    def emit(self, event: Emit) -> None: ...


@dataclass(frozen=True, slots=True)
class Done:
    """An action with what came of it: the object after it (None after a delete and an emit) or the API's refusal."""

    action: Action
    object: Object | None = None
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    client: Client
    events: EventSink

    async def carry_out(self, plan: Plan) -> list[Done]:
        """Every action's outcome, in plan order, up to and including the first stage in which one was refused."""
        outcomes: list[Done] = []
        for stage in plan.stages:
            outcomes += await self._carry_out_stage(stage)
            if any(outcome.error is not None for outcome in outcomes):
                break
        return outcomes

    async def _carry_out_stage(self, stage: Sequence[Action]) -> list[Done]:
        calls = [action for action in stage if not self._emitted(action)]
        if len(calls) == 1:
            return [await self._try(calls[0])]
        outcomes: list[Done] = []
        for start in range(0, len(calls), _AT_ONCE):
            outcomes += await asyncio.gather(*map(self._try, calls[start : start + _AT_ONCE]))
        return outcomes

    def _emitted(self, action: Action) -> bool:
        if isinstance(action, Emit):
            self.events.emit(action)
            return True
        return False

    async def _try(self, action: Action) -> Done:
        try:
            return Done(action, await self._do(action))
        except ApiError as err:
            return Done(action, error=err)

    async def _do(self, action: Action) -> Object | None:
        match action:
            case Create(resource, obj):
                try:
                    return await self.client.create(resource, obj)
                except AlreadyExists:
                    return await self._ours(action)
            case Patch(resource, key, patch, kind, subresource):
                return await self.client.patch(resource, key, patch, kind, subresource)
            case Delete():
                await self._delete(action)
        return None

    async def _ours(self, action: Create) -> Object:
        """The object that is in the way, if it is the one that we wanted to make (same controller owner)."""
        there = await self.client.get(action.resource, key_of(action.obj))
        if controller_uid(there) != controller_uid(action.obj):
            raise AlreadyExists(f"{action.resource.key} {key_of(action.obj)} exists and belongs to somebody else")
        return there

    async def _delete(self, action: Delete) -> None:
        options: dict[str, Any] = {}
        if action.uid is not None:
            options["preconditions"] = {"uid": action.uid}
        if action.grace_seconds is not None:
            options["gracePeriodSeconds"] = action.grace_seconds
        if action.propagation is not None:
            options["propagationPolicy"] = action.propagation
        try:
            await self.client.delete(action.resource, action.key, options or None)
        except NotFound:
            return
        except Conflict:
            if action.uid is None:
                raise
            return  # another object has the name now: ours is gone


def controller_uid(obj: Object) -> str | None:
    """The uid of the owner that manages ``obj``, if it has one."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def refusals(outcomes: Sequence[Done]) -> list[Done]:
    return [outcome for outcome in outcomes if outcome.error is not None]
