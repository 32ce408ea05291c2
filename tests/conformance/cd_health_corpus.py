"""The health of other projects' kinds: cases of argo-cd's own health scripts (folders with ``health_test.yaml``).

A case names an object and what its health is. It is judged by the check that is there out of the box, without what
comes before any check (an object that is being deleted).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.golden import Row
from tiphys.cd.plan.health import built_in_check
from tiphys.lang import goyaml


def cases(folder: Path) -> Iterator[Row]:
    """All cases below a folder, one row each."""
    for path in sorted(folder.rglob("health_test.yaml")):
        name = str(path.parent.relative_to(folder))
        for test in goyaml.load(path.read_text(encoding="utf-8"))["tests"]:
            yield judged(f"{name} {test['inputPath']}", path.parent / test["inputPath"], test["healthStatus"])


def judged(name: str, path: Path, wanted: dict[str, Any]) -> Row:
    obj = goyaml.load(path.read_text(encoding="utf-8"))
    check = built_in_check(obj)
    found = check(obj) if check else None
    expected = {"status": wanted.get("status", ""), "message": wanted.get("message", "")}
    got = {"status": found.status, "message": found.message} if found else None
    return Row(name, got == expected, expected, got)
