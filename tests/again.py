"""Looks a second time at the few tests that failed on a busy machine, each alone: ``python -m tests.again FILE``.

FILE holds ids of tests, one a line. Only tests around real processes and real time are looked at again: a simulation or
a property that fails has found something, whatever it says the next time. What needed the second look is named, loudly.
Why this is: docs/decisions/0091-a-second-look.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

AT_MOST = 5
NEVER = ("tests/property/", "tests/sim/")


def main(place: Path) -> int:
    failed = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    if not failed or len(failed) > AT_MOST or any(test.startswith(NEVER) for test in failed):
        return 1
    print(f"\n=== {len(failed)} tests failed; once more, each alone ===", flush=True)
    code = int(pytest.main(["-rfE", "-n", "0", *failed]))
    if code == 0:
        print("=== THESE HELD ONLY WHEN RUN ALONE; they, or what they test, count on a machine that is not busy:")
        print("\n".join(f"===   {test}" for test in failed))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
