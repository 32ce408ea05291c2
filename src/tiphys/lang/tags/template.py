"""Texts with tags: splitting them once, replacing many times.

Checking that a document is JSON costs more than replacing its tags. So a template remembers whether it is JSON and
which of its tags stand inside strings; while only harmless text goes there, the result needs no second check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tiphys.lang.expr import ExprError
from tiphys.lang.expr import compile as compile_expression
from tiphys.lang.gofmt import quote
from tiphys.lang.gojson_read import is_valid
from tiphys.lang.gotext import TRIMMED
from tiphys.lang.sprig import Sources
from tiphys.lang.tags import expressions, simple
from tiphys.lang.tags.errors import TagError
from tiphys.lang.tags.output import Output

START, END = "{{", "}}"
EXPRESSION = "="

TAGS_MAX = 100_000
"""Tags of one text."""

_CACHED_TEMPLATES = 1_024
_CACHED_LENGTH_MAX = 65_536

Scope = Mapping[str, Any]
IsStrict = Callable[[str], bool]


class Template:
    """A text split at its tags. Raises TagError for a ``{{`` that is never closed."""

    __slots__ = ("_enclosed", "_literals", "_tags", "_valid", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._literals, self._tags = _split(text)
        self._valid: bool | None = None
        self._enclosed: bool | None = None

    @property
    def has_tags(self) -> bool:
        """False means that replacing gives the text itself."""
        return bool(self._tags)

    @property
    def tags(self) -> Sequence[str]:
        """What stands between the braces, as written."""
        return self._tags

    def is_json(self) -> bool:
        """Whether the text is a JSON document."""
        if self._valid is None:
            self._valid = is_valid(self.text)
        return self._valid

    def replace(self, scope: Scope, *, allow_unresolved: bool, sources: Sources | None = None) -> str:
        """Every tag replaced; names that the scope lacks stay, or fail with TagError. The result is not checked."""
        names = expressions.Names(scope, sources)
        return self.render(names, None if allow_unresolved else _everything, allow_unresolved).text()

    def render(self, names: expressions.Names, strict: IsStrict | None, artifacts_may_wait: bool) -> Output:
        """The pieces of the result, and whether they are sure to be as good JSON as the text was."""
        out = Output()
        for literal, tag in zip(self._literals, self._tags, strict=False):
            out.keep(literal)
            if tag.startswith(EXPRESSION):
                expressions.insert(out, tag[1:], names, strict)
            else:
                simple.insert(out, tag, names.scope, strict, artifacts_may_wait)
        out.keep(self._literals[-1])
        return out

    def encloses_tags(self) -> bool:
        """Whether every tag stands inside one JSON string."""
        if self._enclosed is None:
            self._enclosed = _are_enclosed(self._literals, self._tags)
        return self._enclosed


def compile(text: str) -> Template:
    """The template of ``text``; texts of ordinary size come from a cache. Raises TagError."""
    return _cached(text) if len(text) <= _CACHED_LENGTH_MAX else Template(text)


_cached = lru_cache(maxsize=_CACHED_TEMPLATES)(Template)


def replace(text: str, scope: Scope, *, allow_unresolved: bool, sources: Sources | None = None) -> str:
    """Replaces the tags of a JSON text.

    Raises TagError when the text, or what it becomes, is not JSON; when a name is missing and may not be; and when an
    expression fails, unless it may stay unresolved. ``sources`` are the time and chance of expressions; without them
    ``now()`` and its like fail.
    """
    return _replaced(text, scope, None if allow_unresolved else _everything, allow_unresolved, sources)


def replace_strict(text: str, scope: Scope, prefixes: Sequence[str], *, sources: Sources | None = None) -> str:
    """Like :func:`replace`, leaving unresolved what does not start with one of the prefixes (whole dotted segments).

    Outputs that are artifacts may always wait, since those can be optional.
    """
    return _replaced(text, scope, _strictness(tuple(prefixes)), True, sources)


def replace_raw(text: str, scope: Scope, *, allow_unresolved: bool, sources: Sources | None = None) -> str:
    """Replaces the tags of any text (a CronWorkflow's ``when``); inserted values still get JSON's escapes."""
    return compile(text).replace(scope, allow_unresolved=allow_unresolved, sources=sources)


def tags(text: str) -> list[str]:
    """The simple tags of ``text`` as written, blanks included; expressions are not validated. Raises TagError."""
    if START not in text:  # nothing to split, nor to keep in the cache
        return []
    return [tag for tag in compile(text).tags if not tag.startswith(EXPRESSION)]


def resolve_var(text: str, scope: Scope) -> tuple[str, Any]:
    """``(tag, value)`` of one tag, braces optional: the value as it is, not as text. Raises TagError."""
    tag = text.removeprefix(START).removesuffix(END).strip(TRIMMED)
    if not tag.startswith(EXPRESSION):
        if tag not in scope:
            raise TagError(f"Unable to resolve: {quote(tag)}")
        return tag, scope[tag]
    expression = expressions.unescape_html(tag[1:])
    try:
        value = compile_expression(expression).run(scope)
    except ExprError as err:
        what = "Unable to compile" if err.kind == "compile" else "Invalid expression"
        raise TagError(f"{what}: {quote(expression)}") from err
    if value is None:
        raise TagError(f"Unable to resolve: {quote(tag)}")
    return tag, value


def _replaced(
    text: str, scope: Scope, strict: IsStrict | None, artifacts_may_wait: bool, sources: Sources | None
) -> str:
    if START not in text:
        if not is_valid(text):
            raise TagError("cannot do template replacements with invalid JSON")
        return text
    template = _split_json(text)
    out = template.render(expressions.Names(scope, sources), strict, artifacts_may_wait)
    result = out.text()
    if not (out.harmless and template.encloses_tags()) and not is_valid(result):
        raise TagError("cannot finish template replacement because the result was invalid JSON")
    return result


def _split_json(text: str) -> Template:
    # The original looks for JSON first and for open braces second.
    try:
        template = compile(text)
    except TagError:
        if not is_valid(text):
            raise TagError("cannot do template replacements with invalid JSON") from None
        raise
    if not template.is_json():
        raise TagError("cannot do template replacements with invalid JSON")
    return template


def _split(text: str) -> tuple[list[str], list[str]]:
    literals: list[str] = []
    found: list[str] = []
    at = 0
    while (start := text.find(START, at)) >= 0:
        literals.append(text[at:start])
        end = text.find(END, start + 2)
        if end < 0:
            shown = f"in the template={quote(text)} starting from {quote(text[start + 2 :])}"
            raise TagError(f'Cannot find end tag="}}}}" {shown}')
        found.append(text[start + 2 : end])
        if len(found) > TAGS_MAX:
            raise TagError(f"more than {TAGS_MAX} tags in one text")
        at = end + 2
    literals.append(text[at:])
    return literals, found


_QUOTE = re.compile(r'\\.|"', re.DOTALL)


def _are_enclosed(literals: Sequence[str], found: Sequence[str]) -> bool:
    inside = False
    for literal, tag in zip(literals, found, strict=False):
        for quoted in _QUOTE.findall(literal):
            inside ^= quoted == '"'
        if not inside or '"' in _QUOTE.findall(tag):
            return False
    return True


def _everything(name: str) -> bool:
    return True


@lru_cache(maxsize=256)
def _strictness(prefixes: tuple[str, ...]) -> IsStrict | None:
    """Whether a name must be there. Without prefixes nothing must."""
    if not prefixes:
        return None
    starts = tuple(prefix + "." for prefix in prefixes)
    return lambda name: name in prefixes or name.startswith(starts)
