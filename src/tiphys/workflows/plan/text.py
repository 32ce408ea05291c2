"""Substitution and expressions as decisions use them: the one door to the languages of ``tiphys.lang``.

Values are looked up by their dotted names in a mapping. A value of None is an absent optional: the output of a node
that was skipped and declared no default. What goes wrong is a `Problem` (`MissingVariable` where it may come right).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tiphys.lang import govaluate, tags
from tiphys.lang.expr import ExprError, environment, eval_bool
from tiphys.lang.expr import compile as compile_expression
from tiphys.workflows.plan import chance
from tiphys.workflows.plan.problems import MissingVariable, Problem

Values = Mapping[str, Any]
_NONE = object()


class Layers(Mapping[str, Any]):
    """Mappings seen as one; the first that has a key wins. Nothing is copied."""

    __slots__ = ("maps",)

    def __init__(self, *maps: Values) -> None:
        self.maps = maps

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _NONE)
        if value is _NONE:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        for values in self.maps:
            value = values.get(key, _NONE)
            if value is not _NONE:
                return value
        return default

    def __contains__(self, key: object) -> bool:
        return any(key in values for values in self.maps)

    def __iter__(self) -> Iterator[str]:
        seen: dict[str, None] = {}
        for values in self.maps:
            seen.update(dict.fromkeys(values))
        return iter(seen)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def replace(text: str, values: Values, *, allow_unresolved: bool = True) -> str:
    """Replaces the tags of a JSON text; unknown ones stay, or raise `Problem` where not allowed."""
    if "{{" not in text:
        return text
    try:
        return tags.replace(text, values, allow_unresolved=allow_unresolved, sources=chance.sources())
    except tags.TagError as err:
        raise _problem(err) from err


def replace_raw(text: str, values: Values) -> str:
    """Replaces the tags of a text that is no JSON; unknown ones raise `Problem`."""
    if "{{" not in text:
        return text
    try:
        return tags.replace_raw(text, values, allow_unresolved=False, sources=chance.sources())
    except tags.TagError as err:
        raise _problem(err) from err


def replace_strict(text: str, values: Values, prefixes: tuple[str, ...]) -> str:
    """As `replace`, but tags under a prefix must resolve: `MissingVariable` when one does not (yet)."""
    if "{{" not in text:
        return text
    try:
        return tags.replace_strict(text, values, prefixes, sources=chance.sources())
    except tags.TagError as err:
        raise _problem(err) from err


def _problem(err: tags.TagError) -> Problem:
    return MissingVariable(str(err)) if err.missing_variable else Problem(str(err))


def resolve_reference(reference: str, values: Values) -> tuple[str, Any]:
    """What ``{{name}}`` or ``{{=expression}}`` means, and the name. Raises `Problem`."""
    try:
        return tags.resolve_var(reference, values)
    except tags.TagError as err:
        raise Problem(str(err)) from err


def evaluate(expression: str, values: Values) -> Any:
    """The value of an expression over the variables, with Argo's functions. Raises `Problem`."""
    try:
        return compile_expression(expression).run(_environment(expression, values), now=chance.now())
    except ExprError as err:
        raise Problem(str(err)) from err


def evaluate_bool(expression: str, values: Values) -> bool:
    """The value of a condition. Raises `Problem`, also where it is no boolean."""
    try:
        return eval_bool(expression, _environment(expression, values), now=chance.now())
    except ExprError as err:
        raise Problem(str(err)) from err


def _environment(expression: str, values: Values) -> dict[str, Any]:
    return environment(values, compile_expression(expression).roots, sources=chance.sources())


def should_execute(when: str) -> bool:
    """Whether a substituted ``when`` lets its step run. Raises `Problem`."""
    if not when:
        return True
    try:
        return govaluate.should_execute(when)
    except govaluate.GovaluateError as err:
        raise Problem(str(err)) from err
