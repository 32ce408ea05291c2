"""The upstream example manifests: which there are, how each is meant to end, and the page that tells how they did.

Where ``examples.toml`` says nothing, a file with a Workflow must end Succeeded. Templates, config maps and claims of
the whole folder are applied first, as the examples refer to each other. Secrets that an example asks its reader to make
are made here (``MADE_BY_HAND``).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.golden import ROOT, corpus
from tiphys.cli import loading, sources

PAGE = ROOT / "docs" / "reference" / "conformance.md"
APPLIED = ("WorkflowTemplate", "ClusterWorkflowTemplate", "ConfigMap", "PersistentVolumeClaim")
MADE_BY_HAND: tuple[dict[str, Any], ...] = (
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "my-secret"},
        "stringData": {"mypassword": "S00perS3cr3t"},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "my-config"},
        "data": {"template": "3", "workflow": "2"},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "artifact-repositories"},
        "data": {"my-key": "{}"},  # the local store
    },
)


@dataclass(frozen=True)
class Example:
    """One file. ``needs`` and ``not_yet`` say why it is not run; "" when it is. ``process``: why not under that."""

    file: str
    workflows: tuple[dict[str, Any], ...]
    expect: str = "Succeeded"
    needs: str = ""
    resume: str = ""
    not_yet: str = ""
    process: str = ""

    def why_not(self, runtime: str) -> str:
        """Why the file is not run under ``runtime``; "" when it is."""
        if self.not_yet:
            return f"not yet: {self.not_yet}"
        if self.needs:
            return f"needs {self.needs}"
        return f"not here: {self.process}" if self.process and runtime == "process" else ""

    def verdict(self, phases: list[str], messages: list[str]) -> str:
        """How it went: the phase if it is the one that was meant, else what was meant and why it is not so."""
        wanted = ("Succeeded", "Failed") if self.expect == "either" else (self.expect,)
        if all(phase in wanted for phase in phases):
            return " ".join(sorted(set(phases)))
        return f"**{' '.join(phases)}** instead of {self.expect}: {'; '.join(filter(None, messages))}"


def folder() -> Path | None:
    found = corpus()
    return found / "workflows" / "examples" if found else None


def examples(place: Path) -> list[Example]:
    """All files of the folder."""
    table = tomllib.loads(Path(__file__).with_name("examples.toml").read_text(encoding="utf-8"))
    return [_example(path, path.relative_to(place).as_posix(), table) for path in sorted(place.rglob("*.yaml"))]


def _example(path: Path, name: str, table: Mapping[str, Any]) -> Example:
    manifests = loading.load(sources.read([str(path)]))
    workflows = tuple(m.obj for m in manifests if m.kind == "Workflow")
    said = table.get(name, {})
    needs = said.get("needs", "")
    if not workflows:
        kinds = ", ".join(sorted({m.kind for m in manifests}))
        needs = f"nothing: it holds no Workflow ({kinds})" + ("; others use it" if _is_applied(manifests) else "")
    elif said.get("slow") and os.environ.get("TIPHYS_CONFORMANCE") != "all":
        needs = f"patience: it sleeps for {said['slow']} seconds"
    not_yet = said.get("not_yet", "") if os.environ.get("TIPHYS_CONFORMANCE") != "all" else ""
    expect, resume, process = said.get("expect", "Succeeded"), said.get("resume", ""), said.get("process", "")
    return Example(name, workflows, expect, needs, resume, not_yet, process)


def _is_applied(manifests: list[loading.Manifest]) -> bool:
    return any(m.kind in APPLIED for m in manifests)


def companions(place: Path) -> list[dict[str, Any]]:
    """What the examples refer to."""
    found = [m.obj for m in loading.load(sources.read([str(place)])) if m.kind in APPLIED]
    return [*found, *MADE_BY_HAND]


def page(all_examples: list[Example], verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """The page. ``verdicts``: runtime → file → how it went; files that were not run are missing there."""
    runtimes = list(verdicts)
    run = [e for e in all_examples if not (e.needs or e.not_yet)]
    good = {r: sum("**" not in verdicts[r].get(e.file, "**") for e in run) for r in runtimes}
    waiting = sum(bool(e.not_yet) for e in all_examples)
    lines = [
        "<!-- written by the test run: TIPHYS_WRITE_PAGES=1 pytest tests/conformance/test_examples.py -->",
        "# Conformance: the examples of Argo Workflows",
        "",
        "Every example manifest of Argo Workflows v4.1.2, run with tiphys on one machine, no cluster, no network.",
        f"Of {len(all_examples)} files {len(run)} are run: "
        + ", ".join(f"{good[r]} end as they are meant to under `{r}`" for r in runtimes)
        + ".",
        f"{waiting} wait for a part of tiphys that is not there yet; the others say what they need.",
        "",
        "| Example | " + " | ".join(f"`{r}`" for r in runtimes) + " |",
        "|---|" + "---|" * len(runtimes),
    ]
    for example in all_examples:
        cells = [example.why_not(r) or verdicts[r].get(example.file, "not run") for r in runtimes]
        lines.append(f"| {example.file} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def rows(text: str) -> dict[str, list[str]]:
    """File → cells of a page: its structure, for comparing."""
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in cells if row[0].endswith(".yaml")}
