from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import backoff, durations
from tiphys.lang.backoff import Attempts, Decision
from tiphys.lang.durations import SECOND


def never(_expression: str) -> bool:
    raise AssertionError("no expression here")


def just_failed(count: int, **more: Any) -> Attempts:
    return Attempts(count, "Failed", "boom", **more)


def test_waits_grow_by_the_factor_up_to_the_cap() -> None:
    strategy = {"duration": "1s", "factor": 3, "cap": "20s"}
    assert [backoff.wait_ns(strategy, n) // SECOND for n in range(1, 6)] == [1, 3, 9, 20, 20]


def test_waits_then_retries_then_gives_up() -> None:
    strategy = {"limit": 1, "backoff": {"duration": "10s"}}
    assert backoff.decide(strategy, just_failed(1), never) == Decision("wait", "Backoff for 10 seconds", 10 * SECOND)
    waited = just_failed(1, since_first_start_ns=11 * SECOND, since_last_finish_ns=10 * SECOND)
    assert backoff.decide(strategy, waited, never) == Decision("retry")
    assert backoff.decide(strategy, just_failed(2), never) == Decision("give up", "No more retries left")


def test_nothing_is_started_after_max_duration() -> None:
    strategy = {"limit": 9, "backoff": {"duration": "10s", "maxDuration": "15s"}}
    seen = just_failed(1, since_first_start_ns=6 * SECOND, since_last_finish_ns=0)
    assert backoff.decide(strategy, seen, never) == Decision("give up", "Backoff would exceed max duration limit")
    late = just_failed(1, since_first_start_ns=16 * SECOND, since_last_finish_ns=16 * SECOND)
    assert backoff.decide(strategy, late, never) == Decision("give up", "Max duration limit exceeded")


@pytest.mark.parametrize(
    ("policy", "phase", "transient", "verdict"),
    [
        ("Always", "Error", False, "retry"),
        ("OnError", "Failed", False, "give up"),
        ("OnError", "Error", False, "retry"),
        ("OnFailure", "Error", False, "give up"),
        ("OnTransientError", "Failed", True, "retry"),
        ("OnTransientError", "Failed", False, "give up"),
        (None, "Error", False, "give up"),
    ],
)
def test_policies(policy: str | None, phase: str, transient: bool, verdict: str) -> None:
    seen = Attempts(1, phase, "boom", is_transient=transient)
    assert backoff.decide({"retryPolicy": policy}, seen, never).verdict == verdict


def test_an_expression_may_stop_the_retries_and_makes_errors_retriable() -> None:
    seen = Attempts(1, "Error", "boom")
    assert backoff.decide({"expression": "x"}, seen, lambda text: text == "x").verdict == "retry"
    assert backoff.decide({"expression": "x"}, seen, lambda _: False).verdict == "give up"


@pytest.mark.parametrize(
    "strategy",
    [
        {"backoff": {}},
        {"backoff": {"duration": "bad"}},
        {"backoff": {"duration": "1", "factor": "two"}},
        {"limit": "{{x}}"},
        {"retryPolicy": "Sometimes"},
    ],
)
def test_wrong_strategies_are_named(strategy: dict[str, Any]) -> None:
    with pytest.raises(backoff.RetryStrategyError):
        backoff.decide(strategy, just_failed(1), never)


@given(st.integers(1, 10_000), st.integers(-5, 10**9), st.integers(0, 10**6))
def test_waits_never_leave_64_bits(attempts: int, factor: int, base: int) -> None:
    wait = backoff.wait_ns({"duration": f"{base}ms", "factor": factor}, attempts)
    assert 0 <= wait <= durations.INT64_MAX
