"""successCondition and failureCondition of resource templates: label selectors over the fields of an object.

A condition is written as a label selector (``status.succeeded > 0, status.phase in (Done)``), and each of its keys is a
gjson path into the object's JSON. So everything that label selectors refuse is refused here: quotes, ``>=``, ``#``
and escapes cannot be written, and ``>`` and ``<`` need integers; a missing field satisfies ``!=`` and ``notin``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tiphys.lang import gjson, gojson
from tiphys.lang.gofmt import quote
from tiphys.machinery.selectors import Requirement, SelectorError, parse_labels


class ConditionError(ValueError):
    """A condition cannot be read; ``is_syntax`` is false when instead the object's JSON is no JSON."""

    def __init__(self, message: str, *, is_syntax: bool) -> None:
        super().__init__(message)
        self.is_syntax = is_syntax


@dataclass(frozen=True)
class Conditions:
    """Both conditions of a template, read. No success condition means: succeeded as soon as nothing failed."""

    success: tuple[Requirement, ...] = ()
    failure: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """``waiting`` is asked again later; the message is the original's."""

    result: Literal["success", "failure", "waiting"]
    message: str = ""


def parse(success: str = "", failure: str = "") -> Conditions:
    """Reads the two texts. Raises `ConditionError` naming the condition."""
    return Conditions(_requirements("success", success), _requirements("fail", failure))


def evaluate(conditions: Conditions, object_json: str) -> Outcome:
    """What an object's state means: any failure requirement that holds fails, all success ones together succeed."""
    if not gojson.is_valid(object_json):
        raise ConditionError(
            "Encountered invalid JSON response when checking resource status. "
            f"Will not be retried: {quote(object_json)}",
            is_syntax=False,
        )
    fields = _Fields(object_json)
    for requirement in conditions.failure:
        if requirement.matches(fields):
            return Outcome("failure", f"failure condition '{_shown(requirement)}' evaluated true")
    if all(requirement.matches(fields) for requirement in conditions.success):
        return Outcome("success")
    return Outcome("waiting", "Neither success condition nor the failure condition has been matched. Retrying...")


class _Fields(Mapping[str, str]):
    """An object's JSON as labels: the key is a gjson path, the value what gjson prints."""

    def __init__(self, json: str) -> None:
        self._json = json

    def __getitem__(self, path: str) -> str:
        try:
            found = gjson.get(self._json, path)
        except gjson.GjsonError:
            raise KeyError(path) from None
        if not found.exists:
            raise KeyError(path)
        return str(found)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _requirements(name: str, text: str) -> tuple[Requirement, ...]:
    try:
        return parse_labels(text).requirements
    except SelectorError as err:
        raise ConditionError(f"{name} condition '{text}' failed to parse: {err}", is_syntax=True) from err


def _shown(requirement: Requirement) -> str:
    """A requirement as Go prints the struct."""
    return f"{{{requirement.key} {requirement.operator} [{' '.join(requirement.values)}]}}"
