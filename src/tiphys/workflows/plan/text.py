"""Substitution and expressions as decisions use them: the one door to ``tiphys.lang.tags`` and ``tiphys.lang.expr``.

Values are looked up by their dotted names in a mapping. A value of None is an absent optional: the output of a node
that was skipped and declared no default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tiphys.workflows.plan.problems import MissingVariable, Problem

Values = Mapping[str, Any]


class Layers(Mapping[str, Any]):
    """Mappings seen as one; the first that has a key wins. Nothing is copied."""

    __slots__ = ("maps",)

    def __init__(self, *maps: Values) -> None:
        self.maps = maps

    def __getitem__(self, key: str) -> Any:
        for values in self.maps:
            if key in values:
                return values[key]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return any(key in values for values in self.maps)

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for values in self.maps:
            for key in values:
                if key not in seen:
                    seen.add(key)
                    yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)


def replace(text: str, values: Values, *, allow_unresolved: bool = True) -> str:
    """Replaces the tags of a JSON text; unknown ones stay, or raise `Problem` where not allowed."""
    return _replace(text, values, None if allow_unresolved else ("",))


def replace_strict(text: str, values: Values, prefixes: tuple[str, ...]) -> str:
    """As `replace`, but tags under a prefix must resolve: `MissingVariable` when one does not (yet)."""
    return _replace(text, values, prefixes)


def _replace(text: str, values: Values, strict: tuple[str, ...] | None) -> str:
    if "{{" not in text:
        return text
    out: list[str] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            raise Problem(f'Cannot find end tag="}}}}" in the template starting from "{text[start:]}"')
        out.append(text[at:start])
        out.append(_tag(text[start + 2 : end], values, strict))
        at = end + 2
    out.append(text[at:])
    return "".join(out)


def _tag(tag: str, values: Values, strict: tuple[str, ...] | None) -> str:
    key = tag.strip()
    if key in values:
        value = values[key]
        if value is None:
            raise Problem(
                f"unable to substitute {{{{{tag}}}}}: output is an absent optional "
                "(skipped/omitted node with no default)"
            )
        if not isinstance(value, str):
            raise Problem(f"failed to resolve {{{{{tag}}}}} to string")
        return json.dumps(value, ensure_ascii=False)[1:-1]
    if (
        strict is not None
        and any(p == "" or key == p or key.startswith(p + ".") for p in strict)
        and ("" in strict or ".outputs.artifacts." not in key)
    ):
        raise MissingVariable(f"failed to resolve {{{{{tag}}}}}")
    return "{{" + tag + "}}"


def evaluate(expression: str, values: Values) -> Any:
    """The value of an expression over the variables. Raises `Problem`."""
    raise Problem(f"expressions are not available yet: {expression}")


def evaluate_bool(expression: str, values: Values) -> bool:
    """The value of a condition. Raises `Problem`, also where it is no boolean."""
    result = evaluate(expression, values)
    if not isinstance(result, bool):
        raise Problem(f"unable to cast expression result '{result}' to bool")
    return result


def should_execute(when: str) -> bool:
    """Whether a substituted ``when`` lets its step run. Raises `Problem`."""
    return True
