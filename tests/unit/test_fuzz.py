"""The fuzzer finds what is broken, and each language survives a moment of it."""

from __future__ import annotations

import random
import time

import pytest

from tests.fuzz.__main__ import failing, shortest
from tests.fuzz.mutate import LENGTH_MAX, mutated
from tests.fuzz.targets import Target, targets


def breaks(text: str) -> None:
    if "x" in text and "y" in text:
        raise KeyError("found")
    if "slow" in text:
        while True:
            time.perf_counter()
    raise ValueError("its own error")


TARGET = Target("t", breaks, (ValueError,), ("x", "y"), ("abc",))


def test_own_errors_are_no_findings_and_others_are_shortened() -> None:
    assert failing(TARGET, "abc") == ""
    failure = failing(TARGET, "aaxbbbyc")
    assert failure.startswith("KeyError at test_fuzz.py:")
    assert shortest(TARGET, "aaxbbbyc", failure) == "xy"


def test_what_never_ends_is_a_finding() -> None:
    assert failing(TARGET, "slow").startswith("slower than")


@pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
def test_a_moment_of_every_language(target: Target) -> None:
    rng = random.Random(7)
    seeds = list(target.seeds)
    for _ in range(150):
        text = mutated(rng, seeds, target.tokens)
        assert len(text) <= LENGTH_MAX
        assert failing(target, text) == "", text[:200]
