"""Applications under faults: a few seeds with every test run."""

import pytest

from tests.sim.gitops import simulate


@pytest.mark.parametrize("seed", range(12))
def test_seed(seed: int) -> None:
    simulate(seed)


def test_the_same_seed_is_the_same_life() -> None:
    assert simulate(3).trace == simulate(3).trace
