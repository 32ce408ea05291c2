"""Go's regular expressions: google-re2 (linear time, the same syntax) with the error texts of Go's regexp package.

Patterns come from users, so the standard library's backtracking engine is no choice: ``(a+)+$`` would hang it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

PATTERN_LENGTH_MAX = 100_000
"""Characters of a pattern; Go would try larger ones, at a cost in memory that no workflow needs."""

_CACHED_PATTERNS = 512

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False

# re2's wording → regexp/syntax's wording. Both then name the offending part.
_WORDING = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


class RegexpError(ValueError):
    """A pattern that does not compile; the text is Go's: ``error parsing regexp: missing closing ]: `[` ``."""


@lru_cache(maxsize=_CACHED_PATTERNS)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern (``search``, ``match``, ``sub`` … as in :mod:`re`). Raises :class:`RegexpError`."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise RegexpError(f"error parsing regexp: expression too large: more than {PATTERN_LENGTH_MAX} characters")
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as err:
        raise RegexpError(_go_message(_text_of(err), pattern)) from err
    except UnicodeEncodeError as err:
        raise RegexpError("error parsing regexp: invalid UTF-8") from err


def _text_of(err: Exception) -> str:
    text = err.args[0] if err.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _go_message(text: str, pattern: str) -> str:
    for theirs, ours in _WORDING.items():
        if text == theirs or text.startswith(theirs + ":"):
            text = ours + text[len(theirs) :]
            break
    what, _, part = text.partition(": ")
    if what == "missing closing )":
        part = pattern  # Go shows the whole pattern here
    return f"error parsing regexp: {what}: `{part}`"
