"""Simple tags: a name, replaced by the text that the scope has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.lang.gofmt import quote, quote_inner
from tiphys.lang.gotext import TRIMMED
from tiphys.lang.tags.errors import TagError
from tiphys.lang.tags.output import Output

_MISSING = object()


def insert(
    out: Output,
    tag: str,
    scope: Mapping[str, Any],
    strict: Callable[[str], bool] | None,
    artifacts_may_wait: bool,
) -> None:
    """Writes what replaces ``{{tag}}``: the value with Go's escapes, or the tag itself when it may wait.

    Raises TagError for an absent optional (None), for a value that is not text, and for a missing name that must be
    there.
    """
    name = tag.strip(TRIMMED)
    value = scope.get(name, _MISSING)
    if isinstance(value, str):
        out.insert(quote_inner(value))
    elif value is None:
        absent = "output is an absent optional (skipped/omitted node with no default)"
        raise TagError(f"unable to substitute {{{{{tag}}}}}: {absent}")
    elif value is not _MISSING:
        raise TagError(f"failed to resolve {{{{{tag}}}}} to string")
    elif not _insert_nested(out, tag, scope):
        if strict is not None and strict(name) and not (artifacts_may_wait and ".outputs.artifacts." in name):
            raise TagError(f"failed to resolve {{{{{tag}}}}}")
        out.keep(f"{{{{{tag}}}}}")


def _insert_nested(out: Output, tag: str, scope: Mapping[str, Any]) -> bool:
    """``{{a-{{b}}}}`` ends at the first braces: the tag is ``a-{{b``, and b can be replaced already."""
    start = tag.rfind("{{")
    if start <= 0:
        return False
    inner = tag[start + 2 :]
    value = scope.get(inner, _MISSING)
    if value is None:
        absent = f"{quote(inner)} is an absent optional"
        raise TagError(f"unable to substitute nested tag {{{{{tag}}}}}: {absent}")
    if not isinstance(value, str):
        return False
    out.keep("{{" + tag[:start])
    out.insert(quote_inner(value))
    return True
