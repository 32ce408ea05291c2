"""``make fuzz``: throws made-up input at every language for a while each, and shows what breaks.

    python -m tests.fuzz [--seconds 60] [--seed N] [NAME …]

Broken means: an error that is not the language's own (RecursionError, KeyError …), or more than ``SLOW_SECONDS`` for
one input. Each finding is printed with the shortest input that still shows it; make it a test beside the parser's own.
The exit code is 1 when anything was found.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target, targets

SLOW_SECONDS = 1.0  # of processor time; what explodes takes far longer
SHORTEN_SECONDS = 15.0
FINDINGS_MAX = 5  # per language; more of the same kind help nobody


class TooSlow(Exception):
    """An input took longer than SLOW_SECONDS."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(2**32)
    print(f"fuzz: seed {seed}, {given.seconds:g} s each")
    found = 0
    for target in targets():
        if not given.names or any(name in target.name for name in given.names):
            found += fuzz(target, random.Random(f"{seed} {target.name}"), given.seconds)
    return 1 if found else 0


def fuzz(target: Target, rng: random.Random, seconds: float) -> int:
    """How many different failures were found; prints each."""
    seeds, tried = target.all_seeds(), 0
    findings: dict[str, str] = {}
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and len(findings) < FINDINGS_MAX:
        text = mutated(rng, seeds, target.tokens)
        tried += 1
        failure = failing(target, text)
        if failure and failure not in findings:
            findings[failure] = shortest(target, text, failure)
    print(f"{'✖' if findings else '✔'} {target.name}: {tried} inputs, {len(findings)} findings", flush=True)
    for failure, text in findings.items():
        print(f"    {failure}\n      input: {text[:300]!r}{f' … ({len(text)} characters)' if len(text) > 300 else ''}")
    return len(findings)


def failing(target: Target, text: str) -> str:
    """What breaks, as the error's type and the place; "" when all is well."""
    try:
        with at_most(SLOW_SECONDS):
            target.run(text)
    except target.errors:
        return ""
    except TooSlow:
        return f"slower than {SLOW_SECONDS:g} s"
    except Exception as err:  # noqa: BLE001 - any other error is what we are looking for
        last = traceback.extract_tb(err.__traceback__)[-1]
        return f"{type(err).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"
    return ""


def shortest(target: Target, text: str, failure: str) -> str:
    """Cuts pieces out for as long as the same thing breaks, and for ``SHORTEN_SECONDS`` at most."""
    size = max(1, len(text) // 2)
    ends = time.monotonic() + SHORTEN_SECONDS
    while size:
        start = 0
        while start < len(text):
            if time.monotonic() > ends:
                return text
            shorter = text[:start] + text[start + size :]
            if failing(target, shorter) == failure:
                text = shorter
            else:
                start += size
        size //= 2
    return text


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)  # processor time: a busy machine is nobody's fault
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


if __name__ == "__main__":
    sys.exit(main())
