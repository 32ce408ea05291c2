"""A few hundred seeds of the simulation, and that a seed means the same every time. On failure: ``make sim SEED=n``."""

from __future__ import annotations

import pytest

from tests.sim.seeds import check
from tiphys.testing.sim import Faults, simulate

SEEDS = 500
BATCH = 25


# the first batch belongs to `make check`, the others to `make test`
BATCHES = [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, SEEDS, BATCH)]


@pytest.mark.parametrize("first", BATCHES)
def test_invariants_hold_and_the_end_is_that_of_an_undisturbed_run(first: int) -> None:
    for seed in range(first, first + BATCH):
        try:
            check(seed)
        except BaseException as err:
            err.add_note(f"make sim SEED={seed}")
            raise


@pytest.mark.parametrize("seed", [514, 621, 788, 1264, 1939, 3313, 3943, 4623, 6003, 9076, 9509])
def test_what_a_long_run_found_does_not_come_back(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_equal_seeds_have_equal_traces(seed: int) -> None:
    assert simulate(seed).trace == simulate(seed).trace


def test_there_are_crashes_and_they_matter() -> None:
    often = [simulate(seed, Faults(crash=0.05)) for seed in range(10)]
    assert sum(result.crashes for result in often) > 20
