"""A row of the benchmark table, and what measures it.

``ratio`` is median / floor: the floor is the least that the same work could cost, measured in the same run (the bare
processes, the bare commits …), so that a ratio means the same on any machine. A row is judged by its ratio where it has
a floor, else by its median; ``bar`` must be met, ``aim`` is what wins.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """``median`` and ``floor`` are in ``unit``. ``more_is_better`` for rates: then the bar is a least."""

    name: str
    unit: str
    median: float
    bar: float
    aim: float
    floor: float | None = None
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        return self.median / self.floor if self.floor else None

    @property
    def judged(self) -> float:
        return self.median if self.ratio is None else self.ratio

    def reaches(self, line: float) -> bool:
        return self.judged >= line if self.more_is_better else self.judged <= line

    @property
    def met(self) -> bool:
        return self.reaches(self.bar)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": rounded(self.median),
            "floor": rounded(self.floor),
            "ratio": rounded(self.ratio),
            "bar": self.bar,
            "aim": self.aim,
            "met": self.met,
        }


def rounded(value: float | None) -> float | None:
    """Four significant digits: more would be noise."""
    return None if value is None else float(f"{value:.4g}")


def median_seconds(work: Callable[[], object], repeat: int = 5, number: int = 1) -> float:
    """Wall seconds of one call of ``work``: the median of ``repeat`` timings of ``number`` calls each."""
    timings = []
    for _ in range(repeat):
        gc.collect()
        began = time.perf_counter()
        for _ in range(number):
            work()
        timings.append((time.perf_counter() - began) / number)
    return statistics.median(timings)
