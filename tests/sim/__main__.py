"""``make sim``: many seeds, or one with its trace.

    python -m tests.sim --seeds 10000 [--first 0]     each seed once; failing ones are listed
    python -m tests.sim --seed 7                      one seed, its trace printed

The exit code is 0 when nothing was violated.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback

from tiphys.testing.sim import Result, interrupted, simulate, undisturbed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed)
    return many(range(options.first, options.first + options.seeds))


def check(seed: int) -> Result:
    """Raises when an invariant is broken, by a shutdown too, or the end differs from that of an undisturbed run."""
    interrupted(seed)
    disturbed, calm = simulate(seed), undisturbed(seed)
    assert disturbed.phase == calm.phase, f"ended {disturbed.phase}, undisturbed {calm.phase}"
    assert disturbed.nodes == calm.nodes, f"nodes differ: {disturbed.nodes.items() ^ calm.nodes.items()}"
    return disturbed


def show(seed: int) -> int:
    try:
        result = check(seed)
    except Exception:  # noqa: BLE001 - whatever went wrong is what was asked for
        traceback.print_exc()
        return 1
    print("\n".join(result.trace))
    print(f"seed {seed}: {result.phase}, {result.crashes} crashes, trace {result.digest}")
    return 0


def many(seeds: range) -> int:
    began, failed, crashes = time.perf_counter(), [], 0
    for seed in seeds:
        try:
            crashes += check(seed).crashes
        except Exception as err:  # noqa: BLE001 - the other seeds still run
            failed.append(seed)
            while isinstance(err, ExceptionGroup):
                err = err.exceptions[0]
            print(f"seed {seed}: {type(err).__name__}: {str(err)[:300]}")
    took = time.perf_counter() - began
    print(f"{len(seeds)} seeds, {crashes} crashes, {len(failed)} failed, {1000 * took / len(seeds):.0f} ms each")
    if failed:
        print(f"again: make sim SEED={failed[0]}")
    return 1 if failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts must have the same order every time
        again = [sys.executable, "-m", "tests.sim", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main())
