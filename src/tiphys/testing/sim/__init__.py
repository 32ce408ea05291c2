"""Deterministic simulation of the whole platform: any fault at any moment, the same again for the same seed. Public."""

from tiphys.testing.sim.faults import NO_FAULTS, Faults
from tiphys.testing.sim.invariants import Invariants, Violation
from tiphys.testing.sim.simulation import Result, Shutdown, interrupted, run, simulate, undisturbed

__all__ = [
    "NO_FAULTS",
    "Faults",
    "Invariants",
    "Result",
    "Shutdown",
    "Violation",
    "interrupted",
    "run",
    "simulate",
    "undisturbed",
]
