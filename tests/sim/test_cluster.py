"""A few hundred seeds of the cluster's controllers. On failure: ``python -m tests.sim.cluster --seed n``."""

from __future__ import annotations

import pytest

from tests.sim.cluster import simulate

SEEDS = 200
BATCH = 20

# the first batch belongs to `make check`, the others to `make test`
BATCHES = [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, SEEDS, BATCH)]


@pytest.mark.parametrize("first", BATCHES)
def test_no_seed_violates_an_invariant(first: int) -> None:
    for seed in range(first, first + BATCH):
        try:
            simulate(seed)
        except BaseException as err:
            err.add_note(f"python -m tests.sim.cluster --seed {seed}")
            raise
