"""Runs recorded answers (the corpus' ``golden`` folder) against us.

    python -m tests.conformance.golden [FILE|DIR ...]

A file is recognised by its *format*, never by its place or name: every module in ``formats/`` exports one or more
``Format`` values, and the first whose ``recognises`` says yes reads the file. A file that no format recognises is
"not yet running": it is listed, counted apart and never as passed. Rows named in ``deliberate.toml`` (with what we do
and why) are checked to differ, so that the list cannot go stale, and are counted apart.

Rows that we do not get right yet are listed in ``pending.txt`` (``--write-pending`` writes it anew): here they fail
like any other, in pytest they are expected to fail, and one that begins to hold fails there until its line is gone.

The last line is ``N passed, N failed``; the exit code is 0 when nothing failed, 1 otherwise, 2 for wrong use.
pytest runs the same readers (``test_golden.py``).
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance import formats

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Row:
    """One recorded answer judged: ``expected`` and ``got`` are shown when ``ok`` is false."""

    name: str
    ok: bool
    expected: Any = None
    got: Any = None


@dataclass(frozen=True)
class Sample:
    """A golden file as a format sees it. ``rows`` are the parsed lines of a .jsonl file; ``document`` a .json file."""

    path: Path
    rows: tuple[dict[str, Any], ...] = ()
    document: Any = None

    @property
    def head(self) -> dict[str, Any]:
        """The first row, or the document where it is an object; ``{}`` otherwise."""
        if self.rows:
            return self.rows[0]
        return self.document if isinstance(self.document, dict) else {}


@dataclass(frozen=True)
class Format:
    """A golden format: who recognises it, who judges its rows, and what the reader leaves out on purpose.

    ``prepare`` is for readers that mostly wait: it is told of all files of a folder before the first is judged.
    """

    name: str
    recognises: Callable[[Sample], bool]
    judge: Callable[[Sample], Iterable[Row]]
    prepare: Callable[[Sequence[Path]], None] | None = None


def corpus() -> Path | None:
    """The folder with the golden files, or None where this machine has none."""
    named = os.environ.get("TIPHYS_CORPUS")
    place = Path(named) if named else ROOT.parent / "shared" / "corpus"
    return place if place.is_dir() else None


def all_formats() -> list[Format]:
    found: list[Format] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(formats.__path__)):
        loaded = importlib.import_module(f"{formats.__name__}.{module}")
        found.extend(getattr(loaded, "FORMATS", ()))
    return found


def read(path: Path) -> Sample:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return Sample(path, rows=tuple(json.loads(line) for line in text.split("\n") if line.strip()))
    return Sample(path, document=json.loads(text))


def files_under(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(p for p in place.rglob("*") if p.suffix in (".json", ".jsonl"))
        else:
            yield place


def deliberate() -> dict[str, dict[str, str]]:
    """Rows on which we differ from the original on purpose: ``{"file-stem/row name": {"does": …, "why": …}}``."""
    file = HERE / "deliberate.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


PENDING = HERE / "pending.txt"


def pending() -> frozenset[str]:
    """``file-stem/row name`` of the rows that do not hold yet."""
    if not PENDING.is_file():
        return frozenset()
    lines = PENDING.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def write_pending(failed: Iterable[str]) -> None:
    head = (
        "# Recorded answers that do not hold yet, one row a line; python -m tests.conformance.golden --write-pending\n"
    )
    PENDING.write_text(head + "".join(f"{row}\n" for row in sorted(set(failed))), encoding="utf-8")


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    deliberate: int = 0
    not_running: int = 0


def judge_file(path: Path, known: list[Format], exceptions: dict[str, dict[str, str]]) -> Iterator[tuple[str, Row]]:
    """Yields ``(verdict, row)``; verdict is passed, failed, deliberate or not-running (then the row names no case)."""
    try:
        sample = read(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        yield "not-running", Row(f"unreadable: {err}", ok=False)
        return
    reader = reader_of(sample, known)
    if reader is None:
        yield "not-running", Row("no reader for this format yet", ok=False)
        return
    for row in guarded(reader, sample):
        on_purpose = f"{path.stem}/{row.name}" in exceptions
        if on_purpose:
            yield ("failed" if row.ok else "deliberate"), row
        else:
            yield ("passed" if row.ok else "failed"), row


def prepare(path: Path, folder: Sequence[Path], known: list[Format]) -> None:
    """Tells the reader of the first file of a folder, if it wants to know, of all of them."""
    try:
        reader = reader_of(read(path), known)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return
    if reader is not None and reader.prepare is not None:
        reader.prepare(folder)


def reader_of(sample: Sample, known: list[Format]) -> Format | None:
    """The first format that recognises the file. Rows of a shape that a recogniser did not think of are not its own."""
    for known_format in known:
        try:
            if known_format.recognises(sample):
                return known_format
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            continue
    return None


def guarded(reader: Format, sample: Sample) -> Iterator[Row]:
    """The reader's rows; one that crashes fails its file and lets the others be judged."""
    try:
        yield from reader.judge(sample)
    except Exception:  # noqa: BLE001 - whatever we do wrong in one file must not hide the others
        yield Row("(the reader crashed)", ok=False, expected="an answer", got=traceback.format_exc(limit=-3))


def shorten(value: Any, limit: int = 1200) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"


def main(arguments: list[str]) -> int:
    found = corpus()
    if not arguments and found is None:
        print("golden: no corpus here (set TIPHYS_CORPUS, or put it beside the project in ../shared/corpus)")
        return 2
    writes, arguments = "--write-pending" in arguments, [a for a in arguments if a != "--write-pending"]
    places = [Path(a) for a in arguments]
    if not places and found is not None:
        places = [found / "golden"]
    missing = [p for p in places if not p.exists()]
    if missing:
        print(f"golden: no such file or folder: {missing[0]}")
        return 2
    known, exceptions, tally = all_formats(), deliberate(), Tally()
    idle: dict[str, int] = {}
    failed: list[str] = []
    paths, prepared = list(files_under(places)), set[Path]()
    for path in paths:
        if path.parent not in prepared:
            prepared.add(path.parent)
            prepare(path, [other for other in paths if other.parent == path.parent], known)
        for verdict, row in judge_file(path, known, exceptions):
            if verdict == "failed":
                tally.failed += 1
                failed.append(f"{path.stem}/{row.name}")
                print(
                    f"FAIL {path.name} {row.name}\n  expected: {shorten(row.expected)}\n  got:      {shorten(row.got)}"
                )
            elif verdict == "passed":
                tally.passed += 1
            elif verdict == "deliberate":
                tally.deliberate += 1
            else:
                tally.not_running += 1
                idle[str(path.parent)] = idle.get(str(path.parent), 0) + 1
    if writes:
        write_pending(failed)
    for folder, count in sorted(idle.items()):
        print(f"not yet running: {folder}: {count} files")
    if tally.deliberate:
        print(f"differing on purpose (deliberate.toml): {tally.deliberate}")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
