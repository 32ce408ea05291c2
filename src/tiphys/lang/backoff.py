"""What a failed node's retryStrategy says: wait, try again now, or give up; pure arithmetic over manifest fields.

The wait before attempt n is ``duration * factor**(n-2)``, at most ``cap``; nothing is started that could only begin
after ``maxDuration``, counted from the first attempt's start. Known oddities of the original that users rely on are
kept: without a ``limit`` there is no waiting at all, and the policy is looked at only after the wait.

Expressions are another language: the caller passes an evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tiphys.lang import durations

Verdict = Literal["wait", "retry", "give up"]
Evaluate = Callable[[str], bool]


class RetryStrategyError(ValueError):
    """The strategy itself is wrong (a bad duration, number or policy): the node ends in Error with this text."""


@dataclass(frozen=True)
class Attempts:
    """What happened so far. ``phase`` and ``message`` are the last attempt's; times are in nanoseconds."""

    count: int
    phase: str
    message: str = ""
    since_first_start_ns: int = 0
    since_last_finish_ns: int = 0
    is_daemoned: bool = False
    is_transient: bool = False
    can_retry: bool = True


@dataclass(frozen=True)
class Decision:
    """``wait_ns`` is the whole back-off (for "wait"); ``message`` is what the retry node shows."""

    verdict: Verdict
    message: str = ""
    wait_ns: int = 0


def decide(strategy: Mapping[str, Any], seen: Attempts, evaluate: Evaluate) -> Decision:
    """The original's processNodeRetries for a node whose last attempt ended in Failed or Error.

    Raises `RetryStrategyError`, and whatever ``evaluate`` raises.
    """
    if (backoff := strategy.get("backoff")) is not None and (early := _back_off(strategy, backoff, seen)):
        return early
    if not _policy_allows(strategy, seen) or not seen.can_retry:
        return Decision("give up", seen.message)
    limit = _integer(strategy.get("limit"))
    if limit is not None and seen.count > limit:
        return Decision("give up", "No more retries left")
    if (expression := strategy.get("expression")) and not evaluate(expression):
        return Decision("give up", "retryStrategy.expression evaluated to false")
    return Decision("retry")


def wait_ns(backoff: Mapping[str, Any], attempts: int) -> int:
    """How long to wait after ``attempts`` failed ones; saturates at the largest int64."""
    if not backoff.get("duration"):
        raise RetryStrategyError("no base duration specified for retryStrategy")
    wait = _duration(backoff["duration"])
    factor = _integer(backoff.get("factor"))
    if factor is not None and factor > 0:
        wait = _times_power(wait, factor, attempts - 1)
    return min(wait, _duration(backoff["cap"])) if backoff.get("cap") else wait


@dataclass(frozen=True)
class Steps:
    """apimachinery's wait.Backoff as far as a container set uses it."""

    steps: int
    duration_ns: int = 0


def container_set_steps(retry_strategy: Mapping[str, Any] | None) -> Steps:
    """How often, and how far apart, the containers of a container set are tried (bare integers are no durations)."""
    if retry_strategy is None or retry_strategy.get("retries") is None:
        return Steps(1)
    steps = _lenient_integer(retry_strategy["retries"])
    if not (text := retry_strategy.get("duration")):
        return Steps(steps)
    pause = durations.parse(text)
    if pause < 0:
        raise RetryStrategyError(f"duration has to be positive, current duration: {durations.format(pause)} ")
    return Steps(steps, pause)


def _back_off(strategy: Mapping[str, Any], backoff: Mapping[str, Any], seen: Attempts) -> Decision | None:
    max_duration = _duration(backoff["maxDuration"]) if backoff.get("maxDuration") else None
    if max_duration is not None and seen.since_first_start_ns > max_duration:
        return Decision("give up", "Max duration limit exceeded")
    wait = wait_ns(backoff, seen.count)
    if max_duration is not None and seen.since_first_start_ns - seen.since_last_finish_ns + wait > max_duration:
        return Decision("give up", "Backoff would exceed max duration limit")
    limit = strategy.get("limit")
    if seen.since_last_finish_ns < wait and limit is not None and seen.count <= _lenient_integer(limit):
        return Decision("wait", f"Backoff for {durations.humanize(wait)}", wait)
    return None


def _policy_allows(strategy: Mapping[str, Any], seen: Attempts) -> bool:
    policy = strategy.get("retryPolicy") or ("Always" if strategy.get("expression") else "OnFailure")
    if policy not in _POLICIES:
        raise RetryStrategyError(f"{policy} is not a valid RetryPolicy")
    on_failed, on_error = (seen.is_transient,) * 2 if policy == "OnTransientError" else _POLICIES[policy]
    failed = seen.phase == "Failed" or (seen.is_daemoned and seen.phase == "Succeeded")
    return not (failed and not on_failed) and not (seen.phase == "Error" and not on_error)


_POLICIES = {  # retry on Failed, retry on Error
    "Always": (True, True),
    "OnError": (False, True),
    "OnFailure": (True, False),
    "OnTransientError": (False, False),
}


def _times_power(base: int, factor: int, exponent: int) -> int:
    """Through a float64, as the original: exact only up to 2**53."""
    try:
        power = float(factor) ** exponent
    except OverflowError:
        return durations.INT64_MAX
    if base and power > durations.INT64_MAX / float(base):
        return durations.INT64_MAX
    return min(base * int(power), durations.INT64_MAX)


def _duration(text: str) -> int:
    try:
        return durations.parse_argo(text)
    except durations.DurationError as err:
        raise RetryStrategyError(str(err)) from err


def _integer(value: int | str | None) -> int | None:
    """An IntOrString that must be a number, cut to 32 bits."""
    if value is None:
        return None
    if isinstance(value, str) and not _ATOI.fullmatch(value):
        raise RetryStrategyError(f"value '{value}' cannot be resolved to an int")
    return (int(value) + 2**31) % 2**32 - 2**31


def _lenient_integer(value: int | str) -> int:
    """IntOrString.IntValue: text that is no number counts as 0."""
    return 0 if isinstance(value, str) and not _ATOI.fullmatch(value) else int(value)


_ATOI = re.compile(r"[+-]?[0-9]{1,18}")
