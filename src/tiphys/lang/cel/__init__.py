"""CEL, the expression language of Kubernetes' validation rules.

    environment = Environment(functions, {"self": types.INT}, type_names=TYPE_NAMES)
    rule = compile_expression("self > 3", environment)         # CompileError, ProgramError
    rule.program.evaluate({"self": 5}, cost_max=1_000_000)     # Evaluation(value=True, cost=2), CostExceeded
    rule.cost_max(size_max)                                    # the most it may cost

    lexer → parser (+ macros) → checker (+ literals) → program (costs), estimate (estimates)

It is cel-go v0.26 in what it accepts, answers and counts, at the options Kubernetes 1.34 sets; protobuf messages are
not here. What only Kubernetes has (quantities, addresses …) is in ``tiphys.machinery.cel_library``. Pure: no I/O
beyond time zone data, no clock.
"""

from __future__ import annotations

from functools import cached_property

from tiphys.lang.cel.checker import Checked, check
from tiphys.lang.cel.collections import LISTS, SETS
from tiphys.lang.cel.declarations import TYPE_NAMES, Environment, Functions, merged
from tiphys.lang.cel.errors import CelError, CompileError, CostExceeded, ProgramError
from tiphys.lang.cel.estimate import SizeMax, cost_max
from tiphys.lang.cel.parser import parse
from tiphys.lang.cel.printer import to_text
from tiphys.lang.cel.program import Evaluation, Program
from tiphys.lang.cel.standard import STANDARD
from tiphys.lang.cel.text import TEXT
from tiphys.lang.cel.types import Type


class Expression:
    """A compiled expression: its type, the variables it uses, its program and its cost bound."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self.type: Type = checked.type(checked.root)

    @cached_property
    def program(self) -> Program:
        """Raises `ProgramError` when a constant part has no value."""
        return Program(self._checked)

    def uses(self, variable: str) -> bool:
        return self._checked.uses(variable)

    def cost_max(self, size_max: SizeMax) -> int:
        """The most that one evaluation may cost; see `estimate.cost_max`."""
        return cost_max(self._checked, size_max)


def compile_expression(source: str, environment: Environment) -> Expression:
    """Raises `CompileError`."""
    return Expression(check(source, parse(source), environment))


BASE: Functions = merged(STANDARD, TEXT, LISTS, SETS)
"""Every function of this package."""

__all__ = [
    "BASE",
    "TYPE_NAMES",
    "CelError",
    "CompileError",
    "CostExceeded",
    "Environment",
    "Evaluation",
    "Expression",
    "Program",
    "ProgramError",
    "compile_expression",
    "merged",
    "parse",
    "to_text",
]
