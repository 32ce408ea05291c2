"""Makes new inputs from seeds: spliced, cut, repeated, nested, sprinkled with the language's own tokens.

Seeded, so that a run can be repeated. No coverage is measured: good seeds and good tokens find more than luck here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LENGTH_MAX = 20_000
_NASTY = (
    "\x00",
    "\ud7ff",
    "\U0010ffff",
    "\u2028",
    "é",
    "漢",
    "\t",
    "\r",
    "\n",
    " ",
    "\\",
    '"',
    "'",
    "`",
    "0",
    "9" * 40,
    "-",
    "e308",
)
_PAIRS = ("()", "[]", "{}", '""', "''")


def mutated(rng: random.Random, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    """A new input: a seed with one to six changes."""
    text = rng.choice(seeds)
    for _ in range(rng.randint(1, 6)):
        text = rng.choice(_CHANGES)(rng, text, seeds, tokens)[:LENGTH_MAX]
    return text


def _span(rng: random.Random, text: str) -> tuple[int, int]:
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.randint(0, 12))


def _cut(rng: random.Random, text: str, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    start, end = _span(rng, text)
    return text[:start] + text[end:]


def _repeat(rng: random.Random, text: str, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    start, end = _span(rng, text)
    return text[:end] + text[start:end] * rng.choice((1, 2, 50, 2000)) + text[end:]


def _token(rng: random.Random, text: str, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    start, end = _span(rng, text)
    return text[:start] + rng.choice(tokens) + text[rng.choice((start, end)) :]


def _nasty(rng: random.Random, text: str, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    start, _ = _span(rng, text)
    return text[:start] + rng.choice(_NASTY) + text[start:]


def _splice(rng: random.Random, text: str, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    other = rng.choice(seeds)
    return text[: rng.randint(0, len(text))] + other[rng.randint(0, len(other)) :]


def _nest(rng: random.Random, text: str, seeds: Sequence[str], tokens: Sequence[str]) -> str:
    pair = rng.choice(_PAIRS)
    depth = rng.choice((1, 3, 200, 5000))
    return pair[0] * depth + text + pair[1] * rng.choice((depth, depth - 1))


_CHANGES: tuple[Callable[[random.Random, str, Sequence[str], Sequence[str]], str], ...] = (
    _cut, _cut, _repeat, _token, _token, _token, _nasty, _splice, _splice, _nest,
)  # fmt: skip
