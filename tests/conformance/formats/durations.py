"""Durations: readers, printers and the retry arithmetic built on them (one call per row).

``backoff`` rows replay a node with 1…n attempts that have just failed with message "boom", one microsecond ago;
``phase`` of the answer is the retry node's (Running while it goes on). Texts are compared whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, answer, apis, judge_by
from tests.conformance.golden import Format
from tiphys.lang import backoff, durations, expr
from tiphys.lang.durations import SECOND

Row = Mapping[str, Any]


def parsed(ns: int) -> dict[str, Any]:
    return {"ns": ns, "string": durations.format(ns)}


def printed(ns: int) -> dict[str, Any]:
    return {
        "round": durations.format(durations.round_to(ns, SECOND)),
        "seconds": durations.seconds(ns),
        "string": durations.format(ns),
        "truncate": durations.format(durations.truncate(ns, SECOND)),
    }


def humanized(ns: int) -> dict[str, str]:
    text = durations.humanize(ns)
    return {
        "duration": text,
        "relative": text,
        "short": durations.humanize_short(ns),
        "truncated": durations.humanize_truncated(ns),
    }


def steps(retry_strategy: Mapping[str, Any] | None) -> dict[str, Any]:
    wait = backoff.container_set_steps(retry_strategy)
    pause = durations.format(wait.duration_ns)
    return {"cap": "0s", "duration": pause, "factor": 0, "jitter": 0, "steps": wait.steps}


def retry(strategy: Mapping[str, Any], attempts: int) -> dict[str, Any]:
    scope = {
        "retries": str(attempts - 1),
        "lastRetry.exitCode": "-1",
        "lastRetry.status": "Failed",
        "lastRetry.duration": "0",
        "lastRetry.message": "boom",
    }
    seen = backoff.Attempts(attempts, "Failed", "boom", since_first_start_ns=1000, since_last_finish_ns=1000)
    decision = backoff.decide(strategy, seen, lambda text: expr.eval_bool(text, expr.environment(scope)))
    said: dict[str, Any] = {"children": attempts}
    if decision.verdict == "wait":
        said |= {"wait": durations.format(decision.wait_ns), "waitNs": decision.wait_ns}
    if decision.message:
        said["message"] = decision.message
    phase = "Failed" if decision.verdict == "give up" else "Running"
    return said | {"phase": phase, "retry": decision.verdict == "retry"}


CALLS: dict[str, Callable[[Row], Any]] = {
    "ParseDuration": lambda row: parsed(durations.parse(row["in"])),
    "ParseStringToDuration": lambda row: parsed(durations.parse_argo(row["in"])),
    "since": lambda row: parsed(durations.parse_since(row["in"])),
    "String": lambda row: printed(row["in"]),
    "metav1": lambda row: f'"{durations.format(durations.parse_metav1(row["in"]))}"',
    "humanize": lambda row: humanized(durations.parse(row["in"])),
    # a template without a container set has no retries of this kind, whatever its own retryStrategy says
    "templateRetry": lambda row: steps((row["in"].get("containerSet") or {}).get("retryStrategy")),
    "containerSetRetry": lambda row: steps(row["in"].get("retryStrategy")),
    "backoff": lambda row: [retry(row["in"], n) for n in range(1, row["n"] + 1)],
}


def ask(row: Row) -> Answer:
    errors = (durations.DurationError, backoff.RetryStrategyError, expr.ExprError)
    return answer(lambda: CALLS[row["api"]](row), *errors)


FORMATS = (Format("durations", lambda s: bool(s.rows) and apis(s) <= set(CALLS), judge_by(ask)),)
