"""The script of a stage: which pods end how, and when. Data, in YAML.

    rules:                          # the first rule that matches decides; none: it succeeds at once
    - match:                        # all given must match; names are shell patterns (*, ?, [a-z])
        workflow: build-*           #   the workflow's name
        template: flip-coin         #   the template's name
        node: "*.flip(0:*)"         #   the full node name
        pod: build-*                #   the pod's name (for pods of no workflow)
        attempt: 0                  #   of a retried node: its number; a list of numbers
      phase: Failed                 # Succeeded (the default), Failed, Pending (never starts), Running (never ends)
      exitCode: 3                   # of the container main; default 0, for Failed 1
      reason: Evicted               # of the pod's status; with phase Pending of its waiting container
      message: "disk is full"       # of the pod's status; with phase Pending of its waiting container
      startAfter: 1s                # Go durations
      duration: 2m
      result: heads                 # standard output, as outputs.result
      parameters: {name: value}     # outputs.parameters
      outputsLost: true             # the task result never comes

Wrong rules raise ``SpecError`` with the field path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from tiphys.lang import durations
from tiphys.machinery.errors import SpecError

Phase = Literal["Succeeded", "Failed", "Pending", "Running"]


@dataclass(frozen=True, slots=True)
class Role:
    """Who a pod plays: what rules match on. ``attempt`` is None for a node that is not retried."""

    pod: str
    workflow: str = ""
    template: str = ""
    node: str = ""
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a pod does."""

    phase: Phase = "Succeeded"
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    start_after: timedelta = timedelta()
    duration: timedelta = timedelta()
    result: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs_lost: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    patterns: Mapping[str, str] = field(default_factory=dict)
    attempts: frozenset[int] | None = None
    part: Part = field(default_factory=Part)

    def matches(self, role: Role) -> bool:
        if self.attempts is not None and role.attempt not in self.attempts:
            return False
        return all(fnmatchcase(getattr(role, name), pattern) for name, pattern in self.patterns.items())


@dataclass(frozen=True, slots=True)
class Script:
    rules: tuple[Rule, ...] = ()

    def part(self, role: Role) -> Part:
        return next((rule.part for rule in self.rules if rule.matches(role)), Part())

    @classmethod
    def parse(cls, text: str) -> Script:
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as err:
            raise SpecError("", f"not YAML: {err}") from err
        return cls.of(document or {})

    @classmethod
    def load(cls, path: Path) -> Script:
        try:
            return cls.parse(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as err:
            raise SpecError(str(path), str(err)) from err
        except SpecError as err:
            raise SpecError(f"{path}: {err.path}", err.message) from err

    @classmethod
    def of(cls, document: Any) -> Script:
        """From plain values."""
        top = _mapping(document, "", {"rules"})
        rules = top.get("rules", [])
        if not isinstance(rules, list):
            raise SpecError("rules", "must be a list")
        return cls(tuple(_rule(rule, f"rules[{number}]") for number, rule in enumerate(rules)))


_NAMES = frozenset(("workflow", "template", "node", "pod"))
_FIELDS = frozenset(
    ("match", "phase", "exitCode", "reason", "message", "startAfter", "duration", "result", "parameters", "outputsLost")
)


def _rule(document: Any, path: str) -> Rule:
    given = _mapping(document, path, _FIELDS)
    match = _mapping(given.get("match") or {}, f"{path}.match", _NAMES | {"attempt"})
    patterns = {name: _text(match[name], f"{path}.match.{name}") for name in _NAMES & match.keys()}
    return Rule(patterns, _attempts(match.get("attempt"), f"{path}.match.attempt"), _part(given, path))


def _part(given: Mapping[str, Any], path: str) -> Part:
    phase = given.get("phase", "Failed" if given.get("exitCode") else "Succeeded")
    if phase not in get_args(Phase):
        raise SpecError(f"{path}.phase", f"must be one of {', '.join(get_args(Phase))}, got {phase!r}")
    parameters = _mapping(given.get("parameters") or {}, f"{path}.parameters", None)
    return Part(
        phase=phase,
        exit_code=_number(given.get("exitCode", 1 if phase == "Failed" else 0), f"{path}.exitCode"),
        reason=_text(given.get("reason", ""), f"{path}.reason"),
        message=_text(given.get("message", ""), f"{path}.message"),
        start_after=_duration(given.get("startAfter", "0s"), f"{path}.startAfter"),
        duration=_duration(given.get("duration", "0s"), f"{path}.duration"),
        result=None if given.get("result") is None else _text(given["result"], f"{path}.result"),
        parameters={name: _text(value, f"{path}.parameters.{name}") for name, value in parameters.items()},
        outputs_lost=bool(given.get("outputsLost", False)),
    )


def _mapping(value: Any, path: str, allowed: frozenset[str] | set[str] | None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(path, "must be a mapping")
    for key in value:
        if not isinstance(key, str) or (allowed is not None and key not in allowed):
            hint = f"; known: {', '.join(sorted(allowed))}" if allowed else ""
            raise SpecError(f"{path}.{key}".lstrip("."), f"unknown field{hint}")
    return value


def _text(value: Any, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SpecError(path, f"must be text, got {value!r}")
    return str(value)


def _number(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise SpecError(path, f"must be an exit code from 0 to 255, got {value!r}")
    return value


def _attempts(value: Any, path: str) -> frozenset[int] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise SpecError(path, f"must be a number or a list of numbers, got {value!r}")
    return frozenset(numbers)


def _duration(value: Any, path: str) -> timedelta:
    try:
        return timedelta(microseconds=durations.parse(_text(value, path)) / 1000)
    except ValueError as err:
        raise SpecError(path, str(err)) from err
