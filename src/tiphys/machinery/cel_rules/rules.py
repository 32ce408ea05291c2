"""Rules compiled, and values judged by them.

A schema's rules are compiled once (`rules_of`) into a tree that holds only the parts that have rules; judging walks
value and old value along it. All evaluations of one write share a budget of cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tiphys.lang.cel import (
    CelError,
    CompileError,
    CostExceeded,
    Environment,
    Expression,
    ProgramError,
    compile_expression,
    types,
)
from tiphys.lang.cel.values import NONE, Failure, Optional
from tiphys.lang.gojson import dumps
from tiphys.machinery.cel_library import environment
from tiphys.machinery.cel_rules.declared import Declared, Schema, declare
from tiphys.machinery.cel_rules.records import to_value
from tiphys.machinery.equality import same
from tiphys.machinery.structural.extensions import RULES, has_rules
from tiphys.machinery.structural.validation import Fault

CALL_COST_MAX = 1_000_000
WRITE_COST_MAX = 10_000_000
MESSAGE_LENGTH_MAX = 5 * 1024
_OUT_OF_BUDGET = "failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True)
class Rule:
    """One rule of a schema. ``error`` and ``message_error`` say why a text does not compile."""

    source: Mapping[str, Any]
    expression: Expression | None = None
    error: str = ""
    message: Expression | None = None
    message_error: str = ""
    path: str = ""

    @property
    def uses_old(self) -> bool:
        return self.expression is not None and self.expression.uses("oldSelf")

    @property
    def is_old_optional(self) -> bool:
        return bool(self.source.get("optionalOldSelf"))

    @property
    def shown(self) -> str:
        """What failures of the rule say it is."""
        return str(self.source.get("message") or self.source.get("rule") or "").strip()

    @property
    def default_message(self) -> str:
        return self.shown if self.source.get("message") else f"failed rule: {self.shown}"


@dataclass
class Rules:
    """The rules of a schema and of what is inside of it."""

    schema: Schema
    is_resource: bool
    own: tuple[Rule, ...]
    properties: dict[str, Rules] = field(default_factory=dict)
    others: Rules | None = None
    items: Rules | None = None
    all_of: tuple[Rules, ...] = ()

    def faults(self, value: Any, path: str, old: Any = None) -> list[Fault]:
        """What the rules say of a value. ``old`` is the value before a change: transition rules compare with it, and
        what other rules say of an unchanged part is not held against the change."""
        budget = Budget(WRITE_COST_MAX)
        found: list[Fault] = []
        self.judge(value, old, path, budget, found, is_same=old is not None and same(value, old))
        return found

    def judge(
        self, value: Any, old: Any, path: str, budget: Budget, found: list[Fault], *, is_same: bool = False
    ) -> None:
        """Adds to ``found``; stops when the budget is used up."""
        if value is None:
            return
        self._judge_own(value, old, path, budget, found, is_same)
        for rules in self.all_of:
            if budget.is_spent:
                return
            rules.judge(value, old, path, budget, found, is_same=is_same)
        for rules, member, before, where in self._members(value, old, path):
            if budget.is_spent:
                return
            is_kept = is_same or (before is not None and same(member, before))
            rules.judge(member, before, where, budget, found, is_same=is_kept)

    def _members(self, value: Any, old: Any, path: str) -> Iterator[tuple[Rules, Any, Any, str]]:
        if isinstance(value, Mapping):
            before = old if isinstance(old, Mapping) else {}
            for key, member in value.items():
                if self.others is not None:
                    yield self.others, member, before.get(key), f"{path}[{key}]"
                if key in self.properties:
                    yield self.properties[key], member, before.get(key), f"{path}.{key}" if path else key
        elif isinstance(value, list) and self.items is not None:
            earlier = self._earlier(old)
            for at, item in enumerate(value):
                yield self.items, item, earlier.get(self._identity(item)), f"{path}[{at}]"

    def _earlier(self, old: Any) -> dict[str, Any]:
        """Old items by their keys; only keyed lists tell items apart."""
        if not isinstance(old, list) or self.schema.get("x-kubernetes-list-type") != "map":
            return {}
        return {self._identity(item): item for item in old}

    def _identity(self, item: Any) -> str:
        keys = self.schema.get("x-kubernetes-list-map-keys") or ()
        return dumps([item.get(key) for key in keys]) if isinstance(item, Mapping) else ""

    def _judge_own(self, value: Any, old: Any, path: str, budget: Budget, found: list[Fault], is_same: bool) -> None:
        if not self.own:
            return
        kind = self.schema.get("type") or ""
        if budget.left <= 0:
            found.append(_invalid(path, kind, f"validation {_OUT_OF_BUDGET}"))
            budget.is_spent = True
            return
        activation = _Activation(self, value, old)
        for rule in self.own:
            if budget.is_spent:
                return
            fault = self._judge_one(rule, activation, path, kind, budget)
            if fault is not None and (rule.uses_old or not is_same or budget.is_spent):
                found.append(fault)

    def _judge_one(self, rule: Rule, activation: _Activation, path: str, kind: str, budget: Budget) -> Fault | None:
        if rule.error:
            return _invalid(path, kind, f"rule compile error: {rule.error}")
        if rule.expression is None or (rule.uses_old and activation.old is None and not rule.is_old_optional):
            return None
        try:
            result = budget.evaluate(rule.expression, activation.variables(rule))
        except CostExceeded as err:
            return _invalid(path, kind, _too_expensive(err, rule, budget))
        if isinstance(result, Failure):
            return _invalid(path, kind, _failure_text(result, rule))
        if result is True:
            return None
        where = path if not rule.path else f"{path}.{rule.path}" if path else rule.path
        text = rule.default_message
        if rule.message is not None:
            try:
                text = _message(rule.message, activation.variables(rule), budget) or text
            except CostExceeded as err:
                return _invalid(where, kind, str(err.__cause__ or err))
        shown = dumps(kind) if budget.names_types else _shown(activation.value, kind)
        return _for_reason(rule.source.get("reason"), where, shown, text)


class Budget:
    """Cost that the rules of one write may still use.

    ``names_types``: what breaks a rule is shown by its type, as servers did up to 1.34, not by its value.
    """

    def __init__(self, total: int, *, names_types: bool = False) -> None:
        self.left, self.total, self.is_spent = total, total, False
        self.names_types = names_types

    @property
    def used(self) -> int:
        return self.total - self.left

    def evaluate(self, expression: Expression, variables: Mapping[str, Any]) -> Any:
        """Raises `CostExceeded` when the expression or all of them together cost too much; nothing runs after that."""
        try:
            found = expression.program.evaluate(variables, CALL_COST_MAX)
        except CostExceeded:
            self.is_spent = True
            raise
        if found.cost > self.left:
            self.is_spent = True
            raise CostExceeded(found.cost)
        self.left -= found.cost
        return found.value


class _Activation:
    """``self`` and ``oldSelf``, made when the first rule needs them."""

    def __init__(self, rules: Rules, value: Any, old: Any) -> None:
        self._rules, self.value, self.old = rules, value, old

    @cached_property
    def _plain(self) -> dict[str, Any]:
        found = {"self": to_value(self.value, self._rules.schema, is_resource=self._rules.is_resource)}
        if self.old is not None:
            found["oldSelf"] = to_value(self.old, self._rules.schema, is_resource=self._rules.is_resource)
        return found

    def variables(self, rule: Rule) -> Mapping[str, Any]:
        if not rule.is_old_optional:
            return self._plain
        old = Optional(self._plain["oldSelf"]) if "oldSelf" in self._plain else NONE
        return {"self": self._plain["self"], "oldSelf": old}


def _too_expensive(err: CostExceeded, rule: Rule, budget: Budget) -> str:
    if err.cost > budget.left:
        return f"validation {_OUT_OF_BUDGET}"
    text = "no further validation rules will be run due to call cost exceeds limit for rule"
    return f"'{err}': {text}: {rule.shown}"


def _failure_text(failure: Failure, rule: Rule) -> str:
    if failure.message.startswith("no such overload"):
        text = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{failure.message}': {text}: {rule.shown}"
    return f"{failure.message} evaluating rule: {rule.shown}"


def _message(expression: Expression, variables: Mapping[str, Any], budget: Budget) -> str | None:
    """The text of a messageExpression; None when it has none that can be shown."""
    try:
        found = budget.evaluate(expression, variables)
    except CostExceeded as err:
        raise CostExceeded(err.cost) from CelError(f"messageExpression evaluation {_OUT_OF_BUDGET}")
    text = found.strip() if isinstance(found, str) else ""
    return text if text and "\n" not in text and len(text.encode()) <= MESSAGE_LENGTH_MAX else None


def _invalid(path: str, kind: str, text: str) -> Fault:
    return Fault(path, "FieldValueInvalid", f"Invalid value: {dumps(kind)}: {text}")


def _shown(value: Any, kind: str) -> str:
    """A value in a fault; objects and lists are left out."""
    return "" if kind in ("object", "array") else dumps(value, escape_html=False)


def _for_reason(reason: str | None, path: str, shown: str, text: str) -> Fault:
    match reason:
        case "FieldValueForbidden":
            return Fault(path, reason, f"Forbidden: {text}")
        case "FieldValueRequired":
            return Fault(path, reason, f"Required value: {text}")
        case "FieldValueDuplicate":
            return Fault(path, reason, f"Duplicate value: {shown}" if shown else "Duplicate value")
    return Fault(path, "FieldValueInvalid", f"Invalid value: {shown}: {text}" if shown else f"Invalid value: {text}")


def rules_of(schema: Schema, *, is_resource: bool = False) -> Rules | None:
    """The compiled rules of a schema; None where there is none in it. Texts that do not compile fail every value."""
    return _rules(schema, schema, is_resource) if has_rules(schema) else None


def _rules(schema: Schema, node: Schema, is_resource: bool) -> Rules | None:
    """``schema`` has the rules, ``node`` the types (they differ below allOf)."""
    sources = schema.get(RULES) or ()
    own: tuple[Rule, ...] = ()
    if sources:
        declared = declare(node, is_resource=is_resource)
        own = tuple(compile_rule(source, declared, node) for source in sources) if declared is not None else ()
    found = Rules(node, is_resource, own)
    properties = node.get("properties") or {}
    for name, inner in (schema.get("properties") or {}).items():
        if name in properties and (rules := _inner(inner, properties[name])) is not None:
            found.properties[name] = rules
    found.items = _inner(schema.get("items"), node.get("items"))
    found.others = _inner(schema.get("additionalProperties"), node.get("additionalProperties"))
    parts = (_rules(part, node, is_resource) for part in schema.get("allOf") or ())
    found.all_of = tuple(part for part in parts if part is not None)
    is_empty = not (own or found.properties or found.items or found.others or found.all_of)
    return None if is_empty else found


def _inner(schema: Any, node: Any) -> Rules | None:
    if not isinstance(schema, Mapping) or not isinstance(node, Mapping):
        return None
    return _rules(schema, node, bool(node.get("x-kubernetes-embedded-resource")))


def compile_rule(source: Mapping[str, Any], declared: Declared, schema: Schema) -> Rule:
    """Compiles a rule for values of ``declared``; what is wrong is in the result."""
    text = str(source.get("rule") or "")
    if not text.strip():
        return Rule(source)
    scope = _scope(declared, bool(source.get("optionalOldSelf")))
    expression, error = _compiled(text, scope, types.BOOL)
    if expression is None:
        return Rule(source, error=error)
    message, message_error = None, ""
    if source.get("messageExpression"):
        message, message_error = _compiled(str(source["messageExpression"]), scope, types.STRING, "messageExpression ")
    path = field_path(str(source["fieldPath"]), schema) if source.get("fieldPath") else ""
    return Rule(source, expression, "", message, message_error, path or "")


def _scope(declared: Declared, is_optional: bool) -> Environment:
    old = types.optional_of(declared.type) if is_optional else declared.type
    return environment().with_variables({"self": declared.type, "oldSelf": old}, declared.structs())


def _compiled(text: str, scope: Environment, wanted: types.Type, what: str = "") -> tuple[Expression | None, str]:
    try:
        found = compile_expression(text, scope)
    except CompileError as err:
        return None, f"{what}compilation failed: {err}"
    if found.type != wanted:
        kind = "a bool" if wanted == types.BOOL else "a string"
        return None, f"{what.strip() or 'cel expression'} must evaluate to {kind}"
    try:
        _ = found.program
    except ProgramError as err:
        return None, f"{what or 'program '}instantiation failed: {err}"
    return found, ""


_PATH_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]']+")
_PATH_ESCAPE = re.compile(r"\\(.)")
_PATH_CHARACTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


def field_path(text: str, schema: Schema) -> str | None:
    """A rule's fieldPath (``.a.b['c d']``) as a path of errors, None when it leads nowhere in the schema."""
    tokens = _PATH_TOKEN.findall(text)
    if "".join(tokens) != text or not tokens:
        return None
    found, at = "", 0
    while at < len(tokens):
        name, at = _path_step(tokens, at)
        if name is None:
            return None
        properties, others = schema.get("properties"), schema.get("additionalProperties")
        if properties:
            if name not in properties:
                return None
            schema = properties[name]
            found += f".{name}"
        elif isinstance(others, Mapping):
            schema = others
            found += f"[{name}]"
        else:
            return None
    return found.removeprefix(".")


def _path_step(tokens: list[str], at: int) -> tuple[str | None, int]:
    if tokens[at] == "." and at + 1 < len(tokens) and tokens[at + 1] not in ".[]":
        return tokens[at + 1], at + 2
    if tokens[at : at + 1] == ["["] and tokens[at + 2 : at + 3] == ["]"]:
        quoted = tokens[at + 1]
        escapes = _PATH_ESCAPE.findall(quoted)
        if len(quoted) >= 2 and quoted[0] == quoted[-1] == "'" and all(e in _PATH_CHARACTERS for e in escapes):
            return _PATH_ESCAPE.sub(lambda match: _PATH_CHARACTERS[match[1]], quoted[1:-1]), at + 3
    return None, at
