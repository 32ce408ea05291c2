"""What is wrong with the rules of a CustomResourceDefinition: texts, types, and the cost they may have.

A rule's bound on cost is multiplied by how often its place may occur in one object; a rule may cost 10 million, all
of them 100 million.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.lang.cel.estimate import UNBOUNDED
from tiphys.lang.gojson import dumps
from tiphys.machinery.cel_rules.declared import REQUEST_SIZE_MAX, Declared, Schema, declare
from tiphys.machinery.cel_rules.rules import Rule, compile_rule, field_path
from tiphys.machinery.structural.extensions import RULES, has_rules
from tiphys.machinery.structural.validation import Fault

RULE_COST_MAX = 10_000_000
TOTAL_COST_MAX = 100_000_000
_EXPENSIVE_SHOWN = 4
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LINE_BREAK = re.compile(r"[\n\r]")
_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


def definition_faults(schema: Schema, path: str) -> list[Fault]:
    """``schema`` is that of the whole resource, ``path`` where it stands (spec.validation.openAPIV3Schema)."""
    if not has_rules(schema):
        return []
    found = _Definition()
    faults = list(found.below(_Place(schema, path, declare(schema, is_resource=True), 1)))
    return [*faults, *found.total(path)]


@dataclass(frozen=True)
class _Place:
    """A schema in the definition. ``count``: how often it may occur, None without a bound; ``list_path``: the list
    around it whose items cannot be told apart."""

    schema: Schema
    path: str
    declared: Declared | None
    count: int | None
    list_path: str = ""

    def inner(self) -> Iterator[_Place]:
        for name, schema in sorted((self.schema.get("properties") or {}).items()):
            declared = declare(schema) if self.declared is not None else None
            yield self._child(schema, f".properties[{name}]", declared, 1)
        others, items = self.schema.get("additionalProperties"), self.schema.get("items")
        element = self.declared.element if self.declared is not None else None
        if isinstance(others, Mapping):
            yield self._child(others, ".additionalProperties", element, self.schema.get("maxProperties"))
        if isinstance(items, Mapping):
            is_keyed = self.schema.get("x-kubernetes-list-type") == "map"
            around = self.list_path or ("" if is_keyed else self.path)
            yield self._child(items, ".items", element, self.schema.get("maxItems"), around)

    def _child(
        self, schema: Schema, step: str, declared: Declared | None, times: int | None, around: str | None = None
    ) -> _Place:
        bounded = self.count is not None and times is not None
        count = min((self.count or 0) * max(int(times or 0), 0), UNBOUNDED) if bounded else None
        return _Place(schema, self.path + step, declared, count, self.list_path if around is None else around)


@dataclass
class _Definition:
    costs: list[tuple[str, int]] = field(default_factory=list)

    def below(self, place: _Place) -> Iterator[Fault]:
        """Faults of what is inside come first; a place with wrong texts inside is not compiled."""
        is_right = True
        for inner in place.inner():
            for fault in self.below(inner):
                is_right = is_right and not is_about_text(fault)
                yield fault
        sources = place.schema.get(RULES) or ()
        for at, source in enumerate(sources):
            for fault in text_faults(source, place.schema, f"{place.path}.{RULES}[{at}]"):
                is_right = False
                yield fault
        if is_right and place.declared is not None:
            for at, source in enumerate(sources):
                yield from self._compile_faults(source, place, place.declared, f"{place.path}.{RULES}[{at}]")

    def _compile_faults(
        self, source: Mapping[str, Any], place: _Place, declared: Declared, path: str
    ) -> Iterator[Fault]:
        rule = compile_rule(source, declared, place.schema)
        yield from self._cost_faults(rule, place, declared, path)
        if rule.error:
            yield Fault(f"{path}.rule", "FieldValueInvalid", f"Invalid value: {_shown(source)}: {rule.error}")
        if rule.message_error:
            text = f"Invalid value: {_shown(source)}: {rule.message_error}"
            yield Fault(f"{path}.messageExpression", "FieldValueInvalid", text)
        elif rule.message is not None:
            cost = rule.message.cost_max(_sizes(declared))
            yield from self._observed(cost, "messageExpression", f"{path}.messageExpression")
        if rule.uses_old and place.list_path:
            text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.list_path}"
            shown = dumps(source.get("rule"), escape_html=False)
            yield Fault(f"{path}.rule", "FieldValueInvalid", f"Invalid value: {shown}: {text}")
        elif not rule.uses_old and source.get("optionalOldSelf") is not None:
            shown = dumps(source["optionalOldSelf"])
            text = f"Invalid value: {shown}: may not be set if oldSelf is not used in rule"
            yield Fault(f"{path}.optionalOldSelf", "FieldValueInvalid", text)

    def _cost_faults(self, rule: Rule, place: _Place, declared: Declared, path: str) -> Iterator[Fault]:
        if rule.expression is None:
            return
        count = REQUEST_SIZE_MAX // (declared.json_min + 1) if place.count is None else place.count
        cost = min(rule.expression.cost_max(_sizes(declared)) * count, UNBOUNDED)
        yield from self._observed(cost, "rule", f"{path}.rule")

    def _observed(self, cost: int, what: str, path: str) -> Iterator[Fault]:
        self.costs.append((path, cost))
        if cost > RULE_COST_MAX:
            yield _forbidden(path, _exceeds(f"estimated {what} cost", cost, RULE_COST_MAX))

    def total(self, path: str) -> Iterator[Fault]:
        """What all rules together cost too much."""
        total = min(sum(cost for _, cost in self.costs), UNBOUNDED)
        if total <= TOTAL_COST_MAX:
            return
        notable = [(place, cost) for place, cost in self.costs if cost >= TOTAL_COST_MAX // 100]
        for place, _ in sorted(notable, key=lambda item: -item[1])[:_EXPENSIVE_SHOWN]:
            yield _forbidden(
                place, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            )
        name = f"{RULES} estimated rule cost total for entire OpenAPIv3 schema"
        yield _forbidden(path, _exceeds(name, total, TOTAL_COST_MAX))


def _sizes(declared: Declared) -> Any:
    def size_max(path: tuple[str, ...]) -> int | None:
        found = declared.at(path[1:])
        return None if found is None else found.size_max

    return size_max


def _exceeds(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100" if factor > 100 else f"{factor:.6f}" if factor < 1.5 else f"{factor:.1f}"
    return f"{name} exceeds budget by factor of {shown}x {_ADVICE}"


def _forbidden(path: str, text: str) -> Fault:
    return Fault(path, "FieldValueForbidden", f"Forbidden: {text}")


def _shown(source: Mapping[str, Any]) -> str:
    """A rule as Go prints its struct."""
    names = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
    empty: dict[str, Any] = {"reason": None, "optionalOldSelf": None}
    found = {name[0].upper() + name[1:]: source.get(name, empty.get(name, "")) for name in names}
    return dumps(found, keep_order=True)


_TEXT_ENDINGS = (
    "rule is not specified",
    "must be non-empty if specified",
    "must not contain line breaks",
    "message must be specified if rule contains line breaks",
    "must be a valid path",
)


def is_about_text(fault: Fault) -> bool:
    return fault.message.endswith(_TEXT_ENDINGS) or fault.message.startswith("Unsupported value")


def text_faults(source: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Fault]:
    rule, message = str(source.get("rule") or ""), str(source.get("message") or "")
    expression, place = str(source.get("messageExpression") or ""), str(source.get("fieldPath") or "")
    if not rule.strip():
        yield Fault(f"{path}.rule", "FieldValueRequired", "Required value: rule is not specified")
    elif message and not message.strip():
        yield _wrong(f"{path}.message", message, "must be non-empty if specified")
    elif _LINE_BREAK.search(message.strip()):
        yield _wrong(f"{path}.message", message, "must not contain line breaks")
    elif _LINE_BREAK.search(rule.strip()) and not message.strip():
        text = "Required value: message must be specified if rule contains line breaks"
        yield Fault(f"{path}.message", "FieldValueRequired", text)
    if expression and not expression.strip():
        text = "Required value: messageExpression must be non-empty if specified"
        yield Fault(f"{path}.messageExpression", "FieldValueRequired", text)
    reason = source.get("reason")
    if reason is not None and reason not in _REASONS:
        supported = ", ".join(f'"{name}"' for name in _REASONS)
        text = f"Unsupported value: {dumps(reason)}: supported values: {supported}"
        yield Fault(f"{path}.reason", "FieldValueNotSupported", text)
    if place and not place.strip():
        yield _wrong(f"{path}.fieldPath", place, "must be non-empty if specified")
    if _LINE_BREAK.search(place):
        yield _wrong(f"{path}.fieldPath", place, "must not contain line breaks")
    if place and field_path(place, schema) is None:
        yield _wrong(f"{path}.fieldPath", place, "must be a valid path")


def _wrong(path: str, value: str, text: str) -> Fault:
    return Fault(path, "FieldValueInvalid", f"Invalid value: {dumps(value, escape_html=False)}: {text}")
