"""The progress that a step reports of itself: ``N/M``, the last line of a file.

Numbers are read as the original reads them (strconv.ParseInt with failures ignored): text counts as 0, what is too
large as the largest. Where the original's executor ends in a panic, a line without ``/``, there is just no progress.
"""

from __future__ import annotations

import re
from pathlib import Path

_LARGEST = (1 << 63) - 1
_NUMBER = re.compile(r"[+-]?[0-9]+\Z")


def read(path: Path) -> str:
    """The progress in the file; "" if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    last = lines[-1].strip() if lines else ""
    return last if is_valid(last) else ""


def is_valid(text: str) -> bool:
    done, slash, total = text.partition("/")
    return bool(slash) and 0 <= _number(done) <= _number(total) and _number(total) > 0


def _number(text: str) -> int:
    if not _NUMBER.match(text):
        return 0
    return max(-_LARGEST - 1, min(int(text), _LARGEST))
