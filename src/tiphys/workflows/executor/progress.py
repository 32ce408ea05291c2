"""The progress that a step reports of itself: ``N/M``, the last line of a file.

Numbers are read as the original reads them (strconv.ParseInt with failures ignored): text counts as 0, what is too
large as the largest. Where the original's executor ends in a panic, a line without ``/``, there is just no progress.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.template import PROGRESS_FILE
from tiphys.workflows.executor.trees import Place, open_file

# Of its end.
FILE_BYTES_MAX = 64 << 10
_LARGEST = (1 << 63) - 1
_NUMBER = re.compile(r"[+-]?[0-9]+\Z")


def read(path: Path) -> str:
    """The progress in the file; "" if there is none."""
    try:
        with open_file(Place(path.parent.resolve() / path.name, PROGRESS_FILE, exact=True)) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - FILE_BYTES_MAX))
            lines = file.read(FILE_BYTES_MAX).decode("utf-8", "replace").strip().splitlines()
    except (ExecutorError, OSError):
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
