"""Label and field selectors: the texts of ``-l`` and ``--field-selector``, and the structured LabelSelector.

    labels       = [requirement ("," requirement)*]
    requirement  = "!" key | key | key ("=" | "==" | "!=" | ">" | "<") [value] | key ("in" | "notin") "(" values ")"
    values       = [value] ("," [value])*
    fields       = [term ("," term)*]          empty terms are skipped
    term         = field ("=" | "==" | "!=") value          "\\", "," and "=" in a value are escaped by "\\"

Rules and messages are apimachinery's (pkg/labels, pkg/fields). A parsed selector is immutable, cheap to evaluate
(a match against plain equalities is one set comparison) and cached by its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import orjson

from tiphys.lang import name_rules
from tiphys.lang.gofmt import quote

SELECTOR_LENGTH_MAX: Final = 1 << 20
"""Longest selector text that is read, in characters."""

Labels = Mapping[str, str]


class SelectorError(ValueError):
    """The selector cannot be understood; the message names the offending part."""


@dataclass(frozen=True)
class Requirement:
    """One condition on one label. ``operator`` is in, notin, =, ==, !=, gt, lt, exists or "!"."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether labels satisfy it; a missing label satisfies only the negative operators."""
        return _TESTS[self.operator](labels.get(self.key), self.values)

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        return f"{self.key}{ {'gt': '>', 'lt': '<'}.get(self.operator, self.operator) }{self.values[0]}"


@dataclass(frozen=True)
class LabelSelector:
    """All requirements must hold. ``nothing`` marks the selector that an absent structured selector stands for."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Labels | None) -> bool:
        """Whether an object with these labels is selected."""
        if self.nothing:
            return False
        labels = labels or {}
        return self._equalities <= labels.items() and all(r.matches(labels) for r in self._others)

    @property
    def is_empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements and not self.nothing

    def exact_value(self, key: str) -> str | None:
        """The one value that ``key`` must have, if the selector demands one: for lookups by index."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator in ("=", "==", "in") and len(requirement.values) == 1:
                return requirement.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    @cached_property
    def _equalities(self) -> frozenset[tuple[str, str]]:
        return frozenset((r.key, r.values[0]) for r in self.requirements if r.operator in ("=", "=="))

    @cached_property
    def _others(self) -> tuple[Requirement, ...]:
        return tuple(r for r in self.requirements if r.operator not in ("=", "=="))


EVERYTHING: Final = LabelSelector()
NOTHING: Final = LabelSelector(nothing=True)


def parse_labels(text: str) -> LabelSelector:
    """Reads ``app=web,tier in (a,b),!canary``; requirements come out sorted by key. Raises `SelectorError`."""
    if len(text) > SELECTOR_LENGTH_MAX:
        raise SelectorError(f"label selector of {len(text)} characters is longer than {SELECTOR_LENGTH_MAX}")
    return _parse_labels(text)


def from_labels(labels: Labels) -> LabelSelector:
    """Selects exactly these pairs, unchecked (as SelectorFromSet)."""
    return LabelSelector(tuple(Requirement(key, "=", (labels[key],)) for key in sorted(labels)))


def from_structured(selector: Mapping[str, Any] | None) -> LabelSelector:
    """From ``{matchLabels, matchExpressions}``: absent selects nothing, empty selects everything."""
    if selector is None:
        return NOTHING
    found = [requirement(key, "=", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _STRUCTURED.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f"{quote(expression.get('operator', ''))} is not a valid label selector operator")
        found.append(requirement(expression.get("key", ""), operator, expression.get("values") or ()))
    return LabelSelector(tuple(sorted(found, key=lambda r: r.key)))


def problems_of(selector: Mapping[str, Any], path: str) -> list[str]:
    """What validation of an object finds wrong with its structured selector at ``path``, a text for each problem."""
    found: list[str] = []
    for key, value in sorted((selector.get("matchLabels") or {}).items()):
        found += _invalid(f"{path}.matchLabels", key, name_rules.qualified_name(key))
        found += _invalid(f"{path}.matchLabels", value, name_rules.label_value(value))
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        place = f"{path}.matchExpressions[{index}]"
        operator, key, values = (
            expression.get("operator", ""),
            expression.get("key", ""),
            expression.get("values") or (),
        )
        if operator in ("In", "NotIn") and not values:
            found.append(f"{place}.values: Required value: must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(f"{place}.values: Forbidden: {text}")
        elif operator not in _STRUCTURED:
            found += _invalid(f"{place}.operator", operator, ["not a valid selector operator"])
        found += _invalid(f"{place}.key", key, name_rules.qualified_name(key))
        for position, value in enumerate(values):
            found += _invalid(f"{place}.values[{position}]", value, name_rules.label_value(value))
    return found


def to_structured(selector: LabelSelector) -> dict[str, Any]:
    """The ``{matchLabels, matchExpressions}`` form; ``gt`` and ``lt`` have none and are refused."""
    labels: dict[str, str] = {}
    expressions: list[dict[str, Any]] = []
    for each in selector.requirements:
        if each.operator in ("=", "=="):
            labels[each.key] = each.values[0]
            continue
        name = _STRUCTURED_NAMES.get(each.operator)
        if name is None:
            raise SelectorError(f"{quote(each.operator)} is not a valid label selector operator")
        expressions.append({"key": each.key, "operator": name} | ({"values": list(each.values)} if each.values else {}))
    return ({"matchLabels": labels} if labels else {}) | ({"matchExpressions": expressions} if expressions else {})


def requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """A checked requirement; values keep their order. Raises `SelectorError` naming key or value."""
    problems = [f"key: {_invalid_key(key)}"] if name_rules.qualified_name(key) else []
    if (wrong := _wrong_values(operator, values)) is not None:
        problems.append(f"values: Invalid value: {orjson.dumps(list(values) or None).decode()}: {wrong}")
    if operator in ("gt", "lt"):
        problems += [
            f"values[{index}]: Invalid value: {quote(value)}: for 'Gt', 'Lt' operators, the value must be an integer"
            for index, value in enumerate(values)
            if _int64(value) is None
        ]
    for index, value in enumerate(values):
        if complaints := name_rules.label_value(value):
            problems.append(f"values[{index}][{key}]: Invalid value: {quote(value)}: {'; '.join(complaints)}")
    if problems:
        raise SelectorError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
    return Requirement(key, operator, tuple(values))


@dataclass(frozen=True)
class FieldTerm:
    """``field=value`` or, negated, ``field!=value``."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{escape_value(self.value)}"


@dataclass(frozen=True)
class FieldSelector:
    """All terms must hold; a missing field counts as the empty string."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these fields is selected."""
        return all((fields.get(term.field, "") == term.value) is not term.negated for term in self.terms)

    @property
    def is_empty(self) -> bool:
        """Whether it selects everything."""
        return not self.terms

    def exact_value(self, field: str) -> str | None:
        """The one value that ``field`` must have, if there is one."""
        return next((term.value for term in self.terms if term.field == field and not term.negated), None)

    def transform(self, change: Callable[[str, str], tuple[str, str]]) -> FieldSelector:
        """With every field and value changed; a term of which both become empty is dropped."""
        changed = (FieldTerm(*change(term.field, term.value), term.negated) for term in self.terms)
        return FieldSelector(tuple(term for term in changed if term.field or term.value))

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def parse_fields(text: str) -> FieldSelector:
    """Reads ``metadata.name=a,status.phase!=Running``; terms come out sorted. Raises `SelectorError`."""
    if len(text) > SELECTOR_LENGTH_MAX:
        raise SelectorError(f"field selector of {len(text)} characters is longer than {SELECTOR_LENGTH_MAX}")
    return _parse_fields(text)


def escape_value(value: str) -> str:
    """A field's value with ``\\``, ``,`` and ``=`` escaped."""
    return re.sub(r"[\\,=]", r"\\\g<0>", value)


def unescape_value(text: str) -> str:
    """Undoes `escape_value`; the three characters must not stand alone."""
    return _ESCAPE.sub(_unescape, text)


# Labels


def _in(actual: str | None, values: tuple[str, ...]) -> bool:
    return actual is not None and actual in values


def _compared(actual: str | None, values: tuple[str, ...]) -> int | None:
    """Label minus demanded number; None when either is no int64."""
    number, bound = None if actual is None else _int64(actual), _int64(values[0])
    return None if number is None or bound is None else number - bound


_TESTS: dict[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    "in": _in,
    "=": _in,
    "==": _in,
    "notin": lambda actual, values: not _in(actual, values),
    "!=": lambda actual, values: not _in(actual, values),
    "exists": lambda actual, values: actual is not None,
    "!": lambda actual, values: actual is None,
    "gt": lambda actual, values: (_compared(actual, values) or 0) > 0,
    "lt": lambda actual, values: (_compared(actual, values) or 0) < 0,
}
_STRUCTURED = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_STRUCTURED_NAMES = {text: name for name, text in _STRUCTURED.items()} | {"!=": "NotIn"}
_BINARY = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}


def _wrong_values(operator: str, values: Sequence[str]) -> str | None:
    if operator in ("in", "notin"):
        return None if values else "for 'in', 'notin' operators, values set can't be empty"
    if operator in ("=", "==", "!="):
        return None if len(values) == 1 else "exact-match compatibility requires one single value"
    if operator in ("gt", "lt"):
        return None if len(values) == 1 else "for 'Gt', 'Lt' operators, exactly one value is required"
    return "values set must be empty for exists and does not exist" if values else None


def _invalid_key(key: str) -> str:
    return f"Invalid value: {quote(key)}: {'; '.join(name_rules.qualified_name(key))}"


def _invalid(path: str, value: str, complaints: Iterable[str]) -> list[str]:
    return [f"{path}: Invalid value: {quote(value)}: {complaint}" for complaint in complaints]


def _int64(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    number = int(_ZEROS.sub("", text))
    return number if -(2**63) <= number < 2**63 else None


_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
_INTEGER = re.compile(r"[+-]?0*[0-9]{1,19}")
# A NUL byte ends the text, or the token right before it: the original's lexer uses it as its end mark.
_LABEL_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<word>[^ \t\r\n=!(),<>\0]+)\0?|(?P<symbol>!=|==|[=!(),<>])\0?)")


class _Tokens:
    """A cursor over the words and symbols of a label selector; past the end there are only empty ones."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, bool]] = []
        self._next = 0
        position = 0
        while (match := _LABEL_TOKEN.match(text, position)) is not None:
            self._tokens.append((match["word"] or match["symbol"], match["word"] is not None))
            position = match.end()

    def peek(self) -> tuple[str, bool]:
        """The next token and whether it is a word."""
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", False)

    def take(self) -> tuple[str, bool]:
        token = self.peek()
        self._next += 1
        return token


@lru_cache(maxsize=1024)
def _parse_labels(text: str) -> LabelSelector:
    tokens = _Tokens(text)
    found: list[Requirement] = []
    while True:
        literal, is_word = tokens.peek()
        if not literal:
            return LabelSelector(tuple(sorted(found, key=lambda r: r.key)))
        if not is_word and literal != "!":
            raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
        try:
            found.append(_parse_requirement(tokens))
        except SelectorError as err:
            raise SelectorError(f"unable to parse requirement: {err}") from None
        literal, _ = tokens.take()
        if literal not in ("", ","):
            raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
        following, is_word = tokens.peek()
        if literal and not is_word and following != "!":
            raise SelectorError(f"found '{following}', expected: identifier after ','")


def _parse_requirement(tokens: _Tokens) -> Requirement:
    key, is_word = tokens.take()
    absent = key == "!" and not is_word
    if absent:
        key, is_word = tokens.take()
    if not is_word:
        raise SelectorError(f"found '{key}', expected: identifier")
    if name_rules.qualified_name(key):
        raise SelectorError(f"<nil>: {_invalid_key(key)}")
    if absent or tokens.peek() in (("", False), (",", False)):
        return requirement(key, "!" if absent else "exists", ())
    literal, _ = tokens.take()
    operator = _BINARY.get(literal)
    if operator is None:
        raise SelectorError(f"found '{literal}', expected: in, notin, =, ==, !=, gt, lt")
    values = _parse_values(tokens) if operator in ("in", "notin") else _parse_value(tokens)
    return requirement(key, operator, sorted(values))


def _parse_value(tokens: _Tokens) -> set[str]:
    if tokens.peek() in (("", False), (",", False)):
        return {""}
    literal, is_word = tokens.take()
    if not is_word:
        raise SelectorError(f"found '{literal}', expected: identifier")
    return {literal}


def _parse_values(tokens: _Tokens) -> set[str]:
    literal, is_word = tokens.take()
    if literal != "(":
        raise SelectorError(f"found '{literal}' expected: '('")
    literal, is_word = tokens.peek()
    if not is_word and literal not in (",", ")"):
        raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
    values: set[str] = set()
    expects_value = True
    while True:
        literal, is_word = tokens.take()
        if literal == ")" and not is_word:
            return values | {""} if expects_value else values
        if is_word and expects_value:
            values.add(literal)
        elif literal != "," or is_word:
            wanted = "',', or identifier" if expects_value else "',' or ')'"
            raise SelectorError(f"found '{literal}', expected: {wanted}")
        elif expects_value:
            values.add("")
        expects_value = not is_word


# Fields

_ESCAPE = re.compile(r"\\(.?)|[,=]", re.DOTALL)
_FIELD_TERM = re.compile(r"(?:[^\\,]|\\(?:.|\Z))+", re.DOTALL)
_FIELD_OPERATOR = re.compile("!=|==|=")


def _unescape(match: re.Match[str]) -> str:
    if match[1] is None:
        raise SelectorError(f"invalid field selector: unescaped character in value: {ord(match[0])}")
    if match[1] not in ("\\", ",", "="):
        raise SelectorError(f"invalid field selector: invalid escape sequence: {match[0]}")
    return match[1]


@lru_cache(maxsize=1024)
def _parse_fields(text: str) -> FieldSelector:
    return FieldSelector(tuple(_parse_terms(text, sorted(_FIELD_TERM.findall(text)))))


def _parse_terms(text: str, terms: Iterable[str]) -> Iterable[FieldTerm]:
    for term in terms:
        operator = _FIELD_OPERATOR.search(term)
        if operator is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = unescape_value(term[operator.end() :])
        if operator.start() or value:
            yield FieldTerm(term[: operator.start()], value, negated=operator[0] == "!=")
