"""CEL over requests: the variables of admission policies and of webhooks' match conditions.

    object, oldObject, request, params, namespaceObject, variables.NAME

Objects are untyped here: what is absent is an error to read, unless ``has`` asked before. Expressions are compiled once
(bounded); all evaluations of one policy share a budget of cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from tiphys.lang.cel import CelError, CompileError, CostExceeded, Expression, ProgramError, compile_expression, types
from tiphys.lang.cel.values import Failure
from tiphys.machinery.cel_library import environment

CALL_COST_MAX: Final = 1_000_000
POLICY_COST_MAX: Final = 10_000_000
_VARIABLES: Final = ("object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer")


class Unusable(ValueError):
    """An expression does not compile, fails, or costs too much; the text is the original's."""


@lru_cache(maxsize=2048)
def _compiled(source: str) -> Expression | str:
    """The expression, or why it does not compile."""
    try:
        found = compile_expression(source, environment().with_variables(dict.fromkeys(_VARIABLES, types.DYN)))
        _ = found.program
    except (CompileError, ProgramError) as err:
        return str(err)
    return found


def problem_of(source: str) -> str:
    """Why an expression does not compile, "" where it does."""
    found = _compiled(source)
    return found if isinstance(found, str) else ""


class Scope:
    """One request's values; ``evaluate`` charges one budget."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = dict.fromkeys(_VARIABLES, None) | {"variables": {}} | dict(values)
        self._left = POLICY_COST_MAX

    def define(self, name: str, source: str) -> None:
        """A variable for what comes after it. One that fails is an error only to those who use it."""
        try:
            value = self.evaluate(source)
        except Unusable as err:
            value = Failure(str(err))
        self._values["variables"] = {**self._values["variables"], name: value}

    def evaluate(self, source: str) -> Any:
        """Raises Unusable."""
        expression = _compiled(source)
        if isinstance(expression, str):
            raise Unusable(f"compilation error: {expression}")
        try:
            found = expression.program.evaluate(self._values, cost_max=min(CALL_COST_MAX, self._left))
        except CostExceeded:
            raise Unusable(
                "validation failed due to running out of cost budget, no further validation rules will be run"
            ) from None
        except CelError as err:
            raise Unusable(str(err)) from None
        self._left -= found.cost
        if isinstance(found.value, Failure):
            raise Unusable(found.value.message)
        return found.value
