"""When a Job gives up early, and when it has done enough."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import Fields, duplicate, label_key, not_negative, too_long, too_many

_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES: Final = ("False", "True", "Unknown")
_OPERATORS: Final = ("In", "NotIn")
RULES_MAX: Final = 20
CODES_MAX: Final = 255
INDEXES_MAX: Final = 64 * 1024


def failure_policy(spec: Fields, at: str) -> Iterator[Complaint]:
    rules = (spec.get("podFailurePolicy") or {}).get("rules") or []
    if len(rules) > RULES_MAX:
        yield too_many(f"{at}.rules", len(rules), RULES_MAX)
    inner = (spec.get("template") or {}).get("spec") or {}
    names = {c.get("name") for field in ("containers", "initContainers") for c in inner.get(field) or ()}
    for number, rule in enumerate(rules):
        yield from _failure_rule(spec, rule, f"{at}.rules[{number}]", names)


def _failure_rule(spec: Fields, rule: Fields, at: str, names: Collection[Any]) -> Iterator[Complaint]:
    action, codes, conditions = rule.get("action") or "", rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if not action:
        yield required(f"{at}.action", f"valid values: {_listed(_ACTIONS)}")
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            yield invalid_value(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
    elif action not in _ACTIONS:
        yield unsupported(f"{at}.action", action, _ACTIONS)
    if codes is not None:
        yield from _exit_codes(codes, f"{at}.onExitCodes", names)
    yield from _conditions(conditions, f"{at}.onPodConditions")
    if codes is not None and conditions:
        yield _without_value(at, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        yield _without_value(at, "specifying one of OnExitCodes and OnPodConditions is required")


def _without_value(at: str, text: str) -> Complaint:
    return Complaint(at, "FieldValueInvalid", f"Invalid value: {text}")


def _listed(choices: Sequence[str]) -> str:
    return f"[{' '.join(f'{chr(34)}{choice}{chr(34)}' for choice in choices)}]"


def _conditions(patterns: Sequence[Fields], at: str) -> Iterator[Complaint]:
    if len(patterns) > RULES_MAX:
        yield too_many(at, len(patterns), RULES_MAX)
    for number, pattern in enumerate(patterns):
        yield from label_key(pattern.get("type") or "", f"{at}[{number}].type")
        status = pattern.get("status") or ""
        if not status:
            yield required(f"{at}[{number}].status", f"valid values: {_listed(_STATUSES)}")
        elif status not in _STATUSES:
            yield unsupported(f"{at}[{number}].status", status, _STATUSES)


def _exit_codes(wanted: Fields, at: str, names: Collection[Any]) -> Iterator[Complaint]:
    operator, name, codes = wanted.get("operator") or "", wanted.get("containerName"), wanted.get("values") or []
    if not operator:
        yield required(f"{at}.operator", f"valid values: {_listed(_OPERATORS)}")
    elif operator not in _OPERATORS:
        yield unsupported(f"{at}.operator", operator, _OPERATORS)
    if name is not None and name not in names:
        text = "must be one of the container or initContainer names in the pod template"
        yield invalid_value(f"{at}.containerName", name, text)
    if not codes:
        yield invalid_value(f"{at}.values", wanted.get("values"), "at least one value is required")
    elif len(codes) > CODES_MAX:
        yield too_many(f"{at}.values", len(codes), CODES_MAX)
    for number, code in enumerate(codes):
        if operator == "In" and code == 0:
            yield invalid_value(f"{at}.values[{number}]", code, "must not be 0 for the In operator")
        if code in codes[:number]:
            yield duplicate(f"{at}.values[{number}]", code)
    if any(before > after for before, after in itertools.pairwise(codes)):
        yield invalid_value(f"{at}.values", codes, "must be ordered")


def success_policy(spec: Fields, at: str) -> Iterator[Complaint]:
    rules = (spec.get("successPolicy") or {}).get("rules") or []
    if not rules:
        yield required(f"{at}.rules", "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > RULES_MAX:
        yield too_many(f"{at}.rules", len(rules), RULES_MAX)
    for number, rule in enumerate(rules):
        yield from _success_rule(spec.get("completions") or 0, rule, f"{at}.rules[{number}]")


def _success_rule(completions: int, rule: Fields, at: str) -> Iterator[Complaint]:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and indexes is None:
        yield required(at, "at least one of succeededCount or succeededIndexes must be specified")
    total = 0
    if indexes is not None:
        if len(indexes.encode()) > INDEXES_MAX:
            yield too_long(f"{at}.succeededIndexes", INDEXES_MAX)
        try:
            total = number_of_indexes(indexes, completions)
        except ValueError as err:
            yield invalid_value(f"{at}.succeededIndexes", indexes, f"error parsing succeededIndexes: {err}")
    if count is None:
        return
    yield from not_negative(rule, at, "succeededCount")
    if count > completions:
        text = f"must be less than or equal to {completions} (the number of specified completions)"
        yield invalid_value(f"{at}.succeededCount", count, text)
    if indexes is not None and count > total:
        rest = "(the number of indexes in the specified succeededIndexes field)"
        yield invalid_value(f"{at}.succeededCount", count, f"must be less than or equal to {total} {rest}")


def number_of_indexes(text: str, completions: int) -> int:
    """How many indexes ``0,2-4`` names; raises ValueError."""
    total, last = 0, -1
    for interval in text.split(",") if text else ():
        first, end = _interval(interval, completions)
        if last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total, last = total + end - first + 1, end
    return total


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        rest = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{text}" {rest}')
    limits = []
    for part in parts:
        if not re.fullmatch(r"[+-]?[0-9]+", part):
            raise ValueError(f'cannot convert string to integer for index: "{part}"')
        if int(part) >= completions:
            raise ValueError(f'too large index: "{part}"')
        limits.append(int(part))
    if len(limits) > 1 and limits[0] >= limits[1]:
        raise ValueError(f"non-increasing order, previous: {limits[0]}, current: {limits[1]}")
    return limits[0], limits[-1]
