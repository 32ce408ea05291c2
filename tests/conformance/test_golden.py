"""Every recorded answer that some reader recognises, one test per file."""

from pathlib import Path

import pytest

from tests.conformance import golden

CORPUS = golden.corpus()
KNOWN = golden.all_formats()
EXCEPTIONS = golden.deliberate()
PENDING = golden.pending()


def running_files() -> list[Path]:
    if CORPUS is None:
        return []
    return [p for p in golden.files_under([CORPUS / "golden"]) if golden.reader_of(golden.read(p), KNOWN)]


@pytest.mark.skipif(CORPUS is None, reason="no corpus beside the project; set TIPHYS_CORPUS")
@pytest.mark.parametrize("path", running_files(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_recorded_answers_hold(path: Path) -> None:
    judged = [(f"{path.stem}/{row.name}", verdict, row) for verdict, row in golden.judge_file(path, KNOWN, EXCEPTIONS)]
    assert judged
    failed = [row for name, verdict, row in judged if verdict == "failed" and name not in PENDING]
    assert not failed, "\n".join(f"{r.name}: expected {r.expected!r}, got {r.got!r}" for r in failed[:20])
    held = [name for name, verdict, _ in judged if verdict != "failed" and name in PENDING]
    assert not held, f"these hold now: take them out of pending.txt: {held}"
    if waiting := sum(name in PENDING for name, _, _ in judged):
        pytest.xfail(f"{waiting} of {len(judged)} rows do not hold yet (tests/conformance/pending.txt)")
