"""``--trace``: the stops that a run passes through the program, printed at its end on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tiphys.runtime.clock import Clock
from tiphys.runtime.trace import NO_TRACE, RunTrace, Trace


@contextmanager
def tracing(wanted: bool, clock: Clock) -> Iterator[Trace]:
    """A trace to hand to the cluster; prints what it noted when the block ends."""
    if not wanted:
        yield NO_TRACE
        return
    trace = RunTrace(clock)
    try:
        yield trace
    finally:
        print("\nStops of this run (files below the package tiphys; docs/tour.md tells the story):", file=sys.stderr)
        for stop in trace.stops:
            print(stop, file=sys.stderr)
