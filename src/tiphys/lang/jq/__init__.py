"""jq filters, as gojq 0.12.19 (which Argo embeds) understands them.

    evaluate(filter, value) → iterator of values      the language itself
    argo_filter(filter, json) → text                  valueFrom.jqFilter: results joined by lines
    delete_matching(path, value) → value              jqPathExpressions of Argo CD's ignoreDifferences

The language is implemented here, rather than bound to libjq, for three reasons: gojq's answers and messages differ from
libjq's, a filter of a user must be stoppable (libjq cannot be interrupted), and filters must not read the environment.

    lexing → parsing → syntax     the language
    compiling → machine           running it without recursion, within a budget of steps
    values, functions, times      builtins of values
    library                       builtins written in jq

Refused: modules (import, include), input and inputs, debug, stderr; ``env`` and ``$ENV`` are empty. The Bessel
functions are missing, and ``localtime`` is UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from tiphys.lang import gojson
from tiphys.lang.jq.compiling import compile_filter
from tiphys.lang.jq.errors import JqError, JqLimitError, JqSyntaxError
from tiphys.lang.jq.machine import STEPS_MAX, Machine

__all__ = ["JqError", "JqLimitError", "JqSyntaxError", "argo_filter", "delete_matching", "evaluate"]


def evaluate(source: str, value: Any, *, now: float | None = None, steps_max: int = STEPS_MAX) -> Iterator[Any]:
    """The values that a filter makes of a JSON value, one by one.

    Raises `JqSyntaxError` before the first one, and `JqError` in place of a value when the filter ends in an error;
    ``now`` is the time in seconds that the filter may ask for. The value is not changed.
    """
    node = compile_filter(source)
    return Machine(steps_max, now).run(node, value)


def argo_filter(source: str, json: str | bytes, *, now: float | None = None) -> str:
    """What a workflow's jqFilter makes of a JSON text: strings as they are, other values as JSON, a line each."""
    document = _document(json)
    results = evaluate(source, document, now=now, steps_max=STEPS_MAX + 2 * len(json))
    try:
        lines = [result if isinstance(result, str) else gojson.dumps(result) for result in results]
    except gojson.GoJsonError as err:
        raise JqError(str(err)) from err
    return "\n".join(lines).strip(_GO_SPACE)


def delete_matching(path: str, value: Any) -> Any:
    """The value without what the path expression selects. Raises `JqError`; a filter that is no path is one."""
    try:
        results = list(evaluate(f"del({path})", value))
    except JqSyntaxError:
        raise
    except JqError as err:
        raise JqError(f"JQ patch returned error: {err}") from err
    if not results:
        raise JqError("JQ patch did not return any data")
    if len(results) > 1:
        raise JqError("JQ patch returned multiple objects")
    return results[0]


_GO_SPACE = "\t\n\v\f\r \x85\xa0"


def _document(json: str | bytes) -> Any:
    """encoding/json reads every number as a float64."""
    try:
        return _floats(orjson.loads(json))
    except orjson.JSONDecodeError as err:
        text = json if isinstance(json, str) else json.decode("utf-8", "replace")
        shown = f"invalid character '{text[err.pos]}'" if err.pos < len(text) else "unexpected end of JSON input"
        place = " looking for beginning of value" if err.pos < len(text) else ""
        raise JqError(shown + place) from err


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
