"""``make bench``: runs the benchmarks, prints the table, writes ``latest.json``.

    python -m benchmarks [WORD …]      rows or files whose name contains a word; with none, all

The exit code is 0 when every bar is met, 1 when one is missed, 2 when a benchmark did not run.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks._rows import Row

LATEST = Path(__file__).with_name("latest.json")


def main(words: list[str]) -> int:
    earlier = json.loads(LATEST.read_text(encoding="utf-8"))["rows"] if words and LATEST.is_file() else []
    broken: list[str] = []
    print(headings())
    measured = []
    for row in collect(words, broken):
        measured.append(row.as_json())
        print(table_line(row), flush=True)
    names = {row["name"] for row in measured}
    rows = [row for row in earlier if row["name"] not in names] + measured
    rows.sort(key=lambda row: str(row["name"]))
    LATEST.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    missed = [row["name"] for row in measured if not row["met"]]
    print(f"\n{len(measured) - len(missed)} of {len(measured)} bars met; written to benchmarks/{LATEST.name}")
    for name in broken:
        print(f"did not run: {name}")
    return 2 if broken else 1 if missed else 0


def collect(words: list[str], broken: list[str]) -> Iterator[Row]:
    """The rows of every benchmark file; one that fails is named in ``broken`` and does not stop the others."""
    found = [info for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_")]
    # a word that names files runs only these; otherwise rows are picked after they were measured
    named = [info for info in found if any(word in info.name for word in words)]
    for info in sorted(named or found, key=lambda m: m.name):
        try:
            yield from (
                row
                for row in importlib.import_module(f"benchmarks.{info.name}").rows()
                if not words or any(word in f"{info.name}: {row.name}" for word in words)
            )
        except Exception:  # noqa: BLE001 - whatever a benchmark does wrong must not hide the others' figures
            traceback.print_exc()
            broken.append(info.name)


def headings() -> str:
    return f"{'':2}{'what':<52}{'median':>12} {'unit':<10}{'floor':>12}{'ratio':>9}{'bar':>9}{'aim':>9}"


def table_line(row: Row) -> str:
    sign = "✔" if row.met and row.reaches(row.aim) else "●" if row.met else "✖"
    floor, ratio = (f"{row.floor:.4g}" if row.floor else "", f"{row.ratio:.2f}" if row.ratio else "")
    return f"{sign} {row.name:<52}{row.median:>12.4g} {row.unit:<10}{floor:>12}{ratio:>9}{row.bar:>9g}{row.aim:>9g}"


def machine() -> dict[str, Any]:
    """What the figures depend on, without naming the machine."""
    return {
        "cpus": os.cpu_count(),
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
