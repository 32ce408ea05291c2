"""Every recorded answer that some reader recognises, one test per file."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import golden

CORPUS = golden.corpus()
KNOWN = golden.all_formats()
EXCEPTIONS = golden.deliberate()
PENDING = golden.pending()
ALONE_MAX = 5


def running_files() -> list[Path]:
    if CORPUS is None:
        return []
    return [path for path, reader in read_files() if reader.prepare is None]


def read_files() -> Iterator[tuple[Path, golden.Format]]:
    for path in golden.files_under([CORPUS / "golden"] if CORPUS else []):
        reader = golden.reader_of(golden.read(path), KNOWN)
        if reader is not None:
            yield path, reader


@pytest.mark.skipif(CORPUS is None, reason="no corpus beside the project; set TIPHYS_CORPUS")
@pytest.mark.parametrize("path", running_files(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_recorded_answers_hold(path: Path) -> None:
    check(path)


@pytest.mark.slow
@pytest.mark.filterwarnings("default:held only")
@pytest.mark.skipif(CORPUS is None, reason="no corpus beside the project; set TIPHYS_CORPUS")
def test_recorded_lives_hold() -> None:
    """Readers that mostly wait judge all of their files together.

    In a crowd of hundreds of containers on two cores a probe may come too late: a few that fail live again, alone.
    """
    again: list[str] = []
    waiting: dict[str, list[Path]] = {}
    for path, reader in read_files():
        if reader.prepare is not None:
            waiting.setdefault(reader.name, []).append(path)
    for reader in KNOWN:
        if reader.prepare is not None and waiting.get(reader.name):
            reader.prepare(waiting[reader.name])
            for path in waiting[reader.name]:
                try:
                    check(path, strict=False)
                except AssertionError as err:
                    again.append(f"{path.stem}: {err}")
                    assert len(again) <= ALONE_MAX, "\n".join(again)
                    check(path, strict=False)
    if again:
        warnings.warn("held only when they lived alone:\n" + "\n".join(again), stacklevel=1)


def check(path: Path, *, strict: bool = True) -> None:
    """``strict``: a pending row that holds is to be taken off the list; where time plays a part it may hold by luck."""
    judged = [(f"{path.stem}/{row.name}", verdict, row) for verdict, row in golden.judge_file(path, KNOWN, EXCEPTIONS)]
    assert judged
    failed = [row for name, verdict, row in judged if verdict == "failed" and name not in PENDING]
    assert not failed, "\n".join(f"{r.name}: expected {r.expected!r}, got {r.got!r}" for r in failed[:20])
    held = [name for name, verdict, _ in judged if verdict != "failed" and name in PENDING]
    assert not (held and strict), f"these hold now: take them out of pending.txt: {held}"
    if not strict:
        return
    if waiting := sum(name in PENDING for name, _, _ in judged):
        pytest.xfail(f"{waiting} of {len(judged)} rows do not hold yet (tests/conformance/pending.txt)")
