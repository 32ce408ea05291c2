"""References of a step or task to what went before: its ``when`` first, then everything, then its artifacts.

Tags under ``steps`` and ``tasks`` must resolve: `MissingVariable` where the producer has not reported (yet), `Problem`
where it was skipped and nothing says what to use instead. A step whose ``when`` is false already is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import items
from tiphys.workflows.plan.canonical import dumps, has_tags
from tiphys.workflows.plan.problems import MissingVariable, Problem
from tiphys.workflows.plan.scope import Scope, resolve_artifact
from tiphys.workflows.plan.text import Values, replace, replace_strict, should_execute

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

STRICT = ("steps", "tasks")


def resolve_steps(state: State, scope: Scope, steps: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The steps of a group with their references resolved. Raises `Problem` or `MissingVariable`."""
    resolve_volumes(state, scope)
    return [resolve(state, scope, step, all_optional=True) for step in steps]


def resolve(state: State, scope: Scope, holder: Mapping[str, Any], *, all_optional: bool) -> dict[str, Any]:
    """One step or task resolved; hooks are left alone, they see more later."""
    own = {key: value for key, value in holder.items() if key != "hooks"}
    hooks = holder.get("hooks")
    if when := own.get("when"):
        resolved = _replaced(state, scope, when)
        try:
            proceed = should_execute(resolved)
        except Problem:
            if not items.loops(own):
                raise
            proceed = True
        if not proceed:
            return _with_hooks({**own, "when": resolved}, hooks)
    if own.get("arguments"):
        own["arguments"] = scope.mark_absent_arguments(own["arguments"])
    if has_tags(own):
        own = _replaced(state, scope, own)
    artifacts = (own.get("arguments") or {}).get("artifacts")
    if artifacts:
        resolved_artifacts = resolve_artifacts(scope, artifacts, all_optional=all_optional)
        own["arguments"] = {**own["arguments"], "artifacts": resolved_artifacts}
    return _with_hooks(own, hooks)


def _replaced(state: State, scope: Scope, value: Any) -> Any:
    return orjson.loads(replace_strict(dumps(value), state.values(Strings(scope)), STRICT))


def resolve_artifacts(scope: Scope, artifacts: list[Mapping[str, Any]], *, all_optional: bool) -> list[Any]:
    """Artifacts with ``from`` and ``fromExpression`` replaced by what they mean; optional ones may be missing."""
    found: list[Any] = []
    for artifact in artifacts:
        if not artifact.get("from") and not artifact.get("fromExpression"):
            found.append(artifact)
            continue
        try:
            resolved = resolve_artifact(scope, artifact)
        except Problem as err:
            if artifact.get("optional") and (all_optional or "Unable to resolve" in str(err)):
                continue
            raise Problem(f"unable to resolve references: {err}" if all_optional else str(err)) from err
        if resolved is not None:
            found.append({"name": artifact.get("name", ""), **{k: v for k, v in resolved.items() if k != "name"}})
    return found


def resolve_volumes(state: State, scope: Values) -> None:
    """Volumes of the workflow may refer to outputs; what is known now is filled in."""
    if not state.volumes:
        return
    text = dumps(state.volumes)
    if "{{" in text:
        state.volumes = orjson.loads(replace(text, Strings(scope)))


class Strings(Mapping[str, Any]):
    """The strings and absent optionals of a scope: what tags may see."""

    __slots__ = ("scope",)

    def __init__(self, scope: Values) -> None:
        self.scope = scope

    def __getitem__(self, key: str) -> Any:
        value = self.scope[key]
        if value is None or isinstance(value, str):
            return value
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if key not in self.scope:
            return False
        value = self.scope[key]  # type: ignore[index]
        return value is None or isinstance(value, str)

    def __iter__(self) -> Any:
        return (key for key, value in self.scope.items() if value is None or isinstance(value, str))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _with_hooks(holder: dict[str, Any], hooks: Any) -> dict[str, Any]:
    if hooks is not None:
        holder["hooks"] = hooks
    return holder


__all__ = ["MissingVariable", "Strings", "resolve", "resolve_artifacts", "resolve_steps", "resolve_volumes"]
