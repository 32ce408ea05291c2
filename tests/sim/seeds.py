"""What is held of every seed; its own module, so that worker processes can import it."""

from __future__ import annotations

import gc
from typing import NamedTuple

from tiphys.testing.sim import Result, interrupted, simulate, undisturbed


class Outcome(NamedTuple):
    """Of one seed; ``failure`` is what went wrong, in a line."""

    seed: int
    crashes: int = 0
    failure: str = ""


_GARBAGE_AFTER = 20_000
"""New objects until garbage is looked for: a seed makes many, and nearly all are gone by themselves."""


def settle() -> None:
    """Prepares a process for many seeds: what all of them need is loaded, and never looked at as garbage again.

    A seed takes a sixth less time for that.
    """
    undisturbed(0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER)


def check(seed: int) -> Result:
    """Raises when an invariant is broken, by a shutdown too, or the end differs from that of an undisturbed run."""
    interrupted(seed)
    disturbed, calm = simulate(seed), undisturbed(seed)
    assert disturbed.phase == calm.phase, f"ended {disturbed.phase}, undisturbed {calm.phase}"
    assert disturbed.nodes == calm.nodes, f"nodes differ: {disturbed.nodes.items() ^ calm.nodes.items()}"
    return disturbed


def outcome(seed: int) -> Outcome:
    try:
        return Outcome(seed, check(seed).crashes)
    except Exception as err:  # noqa: BLE001 - the other seeds still run
        while isinstance(err, ExceptionGroup):
            err = err.exceptions[0]
        return Outcome(seed, failure=f"{type(err).__name__}: {str(err)[:300]}")
