"""The kinds that have actions out of the box."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tiphys.cd.plan.actions import argo, flux, numa, operators, workloads
from tiphys.cd.plan.actions.action import Action, ActionError, Call, Impact, Object

_ACTIONS: dict[tuple[str, str], tuple[Action, ...]] = {
    **workloads.ACTIONS,
    **argo.ACTIONS,
    **flux.ACTIONS,
    **numa.ACTIONS,
    **operators.ACTIONS,
}


def discover(obj: Object) -> list[dict[str, Any]]:
    """What may be done to an object, sorted by name, as the API lists it. Raises `ActionError`."""
    found = [action.described(obj) for action in _actions(obj) if action.shown(obj)]
    return sorted(found, key=lambda one: str(one["name"]))


def run(obj: Object, name: str, parameters: Mapping[str, str], now: datetime) -> list[Impact]:
    """What an action does. Raises `ActionError` where the kind has no such action or it cannot be run."""
    for action in _actions(obj):
        if action.name == name:
            done = action.run(Call(obj, parameters, now))
            return done if isinstance(done, list) else [Impact("patch", _without_nulls(done))]
    raise ActionError(f"{obj.get('kind', '')} has no action {name}")


def _actions(obj: Object) -> tuple[Action, ...]:
    group, _, version = str(obj.get("apiVersion", "")).partition("/")
    return _ACTIONS.get((group if version else "", str(obj.get("kind", ""))), ())


def _without_nulls(value: Any) -> Any:
    """Fields that are null are left out: the original's scripts cannot tell them from missing ones."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
