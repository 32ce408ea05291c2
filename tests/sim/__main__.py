"""``make sim``: many seeds, or one with its trace.

    python -m tests.sim --seeds 10000 [--first 0] [--jobs N]     each seed once, on all cores; failing ones are listed
    python -m tests.sim --seed 7                                 one seed, its trace printed

The exit code is 0 when nothing was violated.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing import get_context

from tests.sim.seeds import Outcome, check, outcome, settle

_PROGRESS_SECONDS = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed)
    return many(range(options.first, options.first + options.seeds), options.jobs)


def show(seed: int) -> int:
    try:
        result = check(seed)
    except Exception:  # noqa: BLE001 - whatever went wrong is what was asked for
        traceback.print_exc()
        return 1
    print("\n".join(result.trace))
    print(f"seed {seed}: {result.phase}, {result.crashes} crashes, trace {result.digest}")
    return 0


def outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    """In no particular order."""
    if jobs <= 1:
        settle()
        yield from map(outcome, seeds)
        return
    with get_context("spawn").Pool(jobs, settle) as pool:
        yield from pool.imap_unordered(outcome, seeds, chunksize=5)


def many(seeds: range, jobs: int) -> int:
    began = time.perf_counter()
    failed, crashes = [], 0
    for each in told(outcomes(seeds, jobs), len(seeds)):
        crashes += each.crashes
        if each.failure:
            failed.append(each.seed)
            print(f"seed {each.seed}: {each.failure}", flush=True)
    took = time.perf_counter() - began
    print(f"{len(seeds)} seeds, {crashes} crashes, {len(failed)} failed, {took:.0f} s with {jobs} processes")
    if failed:
        print(f"again: make sim SEED={min(failed)}")
    return 1 if failed else 0


def told(found: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Says now and then how far it is."""
    last = time.perf_counter()
    for number, each in enumerate(found, 1):
        yield each
        if time.perf_counter() - last >= _PROGRESS_SECONDS:
            last = time.perf_counter()
            print(f"{number} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts must have the same order every time
        again = [sys.executable, "-m", "tests.sim", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main())
