"""``when`` of steps, DAG tasks and CronWorkflows.

In steps and tasks every bare word is a string (``{{item}} == foo`` needs no quotes), which the original does by
reading the expression, renaming its tokens and reading them again; the order of errors follows from that. A
CronWorkflow's ``when`` is plain govaluate without parameters.
"""

from __future__ import annotations

from functools import lru_cache

from tiphys.lang.gofmt import sprint
from tiphys.lang.govaluate import lexer
from tiphys.lang.govaluate.errors import GovaluateError
from tiphys.lang.govaluate.lexer import Token
from tiphys.lang.govaluate.program import Program, evaluate

_CACHED_CONDITIONS = 2_048
_CACHED_LENGTH_MAX = 4_096
_SHOWN_MAX = 10_000


def should_execute(when: str) -> bool:
    """Whether a step or task with this ``when`` runs; "" means yes. Raises GovaluateError, also for other results."""
    if not when:
        return True
    program = _cached(when) if len(when) <= _CACHED_LENGTH_MAX else condition(when)
    try:
        result = program.run()
    except GovaluateError as err:
        raise GovaluateError(f"Failed to evaluate 'when' expresion '{_shown(when)}': {err}") from err
    return _as_bool(when, result)


def should_schedule(when: str) -> bool:
    """Whether a CronWorkflow with this ``when`` (tags already substituted) starts a workflow. Raises GovaluateError."""
    return True if not when else _as_bool(when, evaluate(when))


def _as_bool(when: str, result: object) -> bool:
    if not isinstance(result, bool):
        raise GovaluateError(f"Expected boolean evaluation for '{_shown(when)}'. Got {sprint(result)}")
    return result


def condition(when: str) -> Program:
    """The program of a step's ``when``, read anew. Raises GovaluateError."""
    try:
        program = Program(lexer.tokenize(when))
    except GovaluateError as err:
        hint = ' (hint: try wrapping the affected expression in quotes ("))' if "Invalid token" in str(err) else ""
        raise GovaluateError(f"Invalid 'when' expression '{_shown(when)}': {err}{hint}") from err
    tokens = [Token(lexer.STRING, t.value) if t.kind == lexer.VARIABLE else t for t in program.tokens]
    try:
        lexer.check_order(tokens)
        return Program(tokens)
    except GovaluateError as err:
        raise GovaluateError(f"Failed to parse 'when' expression '{_shown(when)}': {err}") from err


_cached = lru_cache(maxsize=_CACHED_CONDITIONS)(condition)


def _shown(when: str) -> str:
    return when if len(when) <= _SHOWN_MAX else when[:_SHOWN_MAX] + "…"
