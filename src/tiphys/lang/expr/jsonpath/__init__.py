"""The ``jsonpath(json, path)`` of Argo's expressions.

This is the JSONPath of evilmonkeyinc/jsonpath v0.8.1, which is neither kubectl's (:mod:`tiphys.lang.jsonpath`) nor that
of RFC 9535:

    $  @                     the document, the current element
    .name  ['name']  ["n"]   a member; .length is the number of elements, members or bytes
    [3]  [-1]                an element
    .*  [*]                  all members or elements           ..     all descendants
    [1,2]  ['a','b']         several                           [1:5:2]  a range, bounds may be (expressions)
    [?(@.v > 1)]             those for which the expression holds; failures in it count as "no"
    [(@.length - 1)]         the member or element that the expression names

Missing members are errors, except behind anything that gives several values. Expressions are split at the first
operator found, loosest first, in plain text, so ``in`` is found inside names as well; this is kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tiphys.lang.expr.jsonpath.errors import JsonPathError
from tiphys.lang.expr.jsonpath.parsing import parse
from tiphys.lang.expr.jsonpath.steps import Run, Step

__all__ = ["JsonPathError", "query"]


def query(path: str, document: Any) -> Any:
    """What ``path`` finds in a decoded JSON document. Raises JsonPathError with the original's message."""
    steps = _compiled(path)
    return steps[0].apply(Run(document), document, steps[1:])


@lru_cache(maxsize=512)
def _compiled(path: str) -> tuple[Step, ...]:
    try:
        return parse(path)
    except JsonPathError as err:
        raise JsonPathError(f"invalid JSONPath selector '{path}' {err}") from None
