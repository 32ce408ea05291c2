"""Runs the generators of checked-in files, and checks that nobody changed a generated file by hand.

    python -m tools.codegen [--corpus DIR]     make codegen
    python -m tools.codegen --check            make check-codegen (needs no corpus)

``generated.json`` beside this file names each generated file with its generator and the digests of both when it was
last generated. The check compares digests: a generated file edited by hand, or a generator changed without running it,
is an error. The generators read the corpus: ``--corpus``, else ``$TIPHYS_CORPUS``, else the one beside the project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tools" / "generated.json"


def read_record() -> dict[str, dict[str, str]]:
    """``{generated file: {"by": generator, "sha256": …, "by_sha256": …}}``."""
    record: dict[str, dict[str, str]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()


def stale(record: dict[str, dict[str, str]]) -> list[str]:
    """What does not fit, one line each."""
    found = []
    for file, entry in record.items():
        if not (ROOT / file).is_file():
            found.append(f"{file}: missing; run make codegen")
        elif digest(file) != entry["sha256"]:
            found.append(f"{file}: changed by hand; change {entry['by']} and run make codegen")
        elif digest(entry["by"]) != entry["by_sha256"]:
            found.append(f"{file}: {entry['by']} changed since it ran; run make codegen")
    return found


def generate(record: dict[str, dict[str, str]], corpus: Path) -> int:
    if not corpus.is_dir():
        print(f"codegen: no corpus in {corpus}; name it with --corpus")
        return 2
    for generator in dict.fromkeys(entry["by"] for entry in record.values()):
        print(f"codegen: {generator}")
        subprocess.run([sys.executable, str(ROOT / generator), str(corpus)], cwd=ROOT, check=True)
        for file, entry in record.items():
            if entry["by"] == generator:
                entry |= {"sha256": digest(file), "by_sha256": digest(generator)}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.codegen")
    parser.add_argument("--check", action="store_true")
    beside = ROOT.parent / "shared" / "corpus"
    parser.add_argument("--corpus", type=Path, default=Path(os.environ.get("TIPHYS_CORPUS", beside)))
    given = parser.parse_args()
    record = read_record()
    if not given.check:
        return generate(record, given.corpus)
    found = stale(record)
    print("\n".join(f"check-codegen: {line}" for line in found) or f"check-codegen: {len(record)} files are up to date")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
