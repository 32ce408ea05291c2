"""Verdicts of ``argo lint``: the strict reading of a manifest, and its validation in lint and in submit mode.

Rows are ``{name, kind, index, strict, verdict, verdictSubmit, …}`` with the manifest as text (``objects``) or a place
in the corpus (``source``), and the templates it may refer to (``templateTexts`` or ``templates``). Every text must be
the original's. Left out on purpose: the number in a placeholder (the recorder cut it to -N), and how a text without
any object is worded ("no object parsed": we say what is wrong with the YAML). A row whose manifest is among those that
the corpus keeps aside cannot be asked and is passed over, neither passed nor failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.golden import Format, Row, Sample, corpus
from tiphys.workflows.plan.validate import Manifest, parse, validate

NOTHING = "no object parsed"

_PLACEHOLDER = re.compile(r"(placeholder-)(?:\d+|N)")


class Templates:
    """A lookup by name alone, as the recorder's."""

    def __init__(self, texts: Iterable[str]) -> None:
        found = [manifest for text in texts for manifest in parse(text, strict=False)]
        self._by_name = {
            (manifest.kind, _name(manifest.value)): manifest.value
            for manifest in reversed(found)
            if manifest.value is not None
        }

    def workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return self._by_name.get(("WorkflowTemplate", name))

    def cluster_workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return self._by_name.get(("ClusterWorkflowTemplate", name))


def _name(manifest: dict[str, Any]) -> str:
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _corpus_text(source: str) -> str:
    """The text of an upstream path. In the corpus test/e2e is e2e, and its links to examples are left out."""
    root = corpus()
    if root is None:
        raise FileNotFoundError("there is no corpus here")
    path = root / "workflows" / Path(source.removeprefix("test/"))
    example = root / "workflows" / "examples" / path.name
    return (path if path.exists() or not example.exists() else example).read_text(encoding="utf-8")


def _texts(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    if "objects" in row or "source" not in row:
        return row.get("objects", ""), row.get("templateTexts", [])
    return _corpus_text(row["source"]), [_corpus_text(source) for source in row.get("templates", [])]


def _strict(manifest: Manifest | None) -> str:
    if manifest is None or manifest.value is None:
        return NOTHING
    messages = [problem.message for problem in manifest.problems]
    if not messages:
        return "ok"
    if messages[0].startswith("error converting YAML"):
        return NOTHING
    unknown = messages[0].startswith(("unknown field", "duplicate field"))
    return f"strict decoding error: {', '.join(messages)}" if unknown else messages[0]


def _verdict(manifest: Manifest | None, templates: Templates, lint: bool) -> tuple[str, str | None]:
    if manifest is None or manifest.value is None:
        return "error", NOTHING
    problems = validate(manifest.value, templates, lint=lint)
    return ("error", problems[0].message) if problems else ("ok", None)


def _judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        try:
            text, others = _texts(row)
        except FileNotFoundError:
            continue
        manifests, strict = parse(text, strict=False), parse(text, strict=True)
        index, templates = row["index"], Templates([text, *others])
        lenient = manifests[index] if index < len(manifests) else None
        got: dict[str, Any] = {"strict": _strict(strict[index] if index < len(strict) else None)}
        got["verdict"], got["error"] = _verdict(lenient, templates, lint=True)
        if "verdictSubmit" in row:
            got["verdictSubmit"], got["errorSubmit"] = _verdict(lenient, templates, lint=False)
        expected = {key: row.get(key) for key in got}
        yield Row(row["name"], _plain(expected) == _plain(got), expected, got)


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: _PLACEHOLDER.sub(r"\1N", value) if isinstance(value, str) else value for key, value in answer.items()}


def _recognises(sample: Sample) -> bool:
    return {"strict", "verdict", "kind", "index"} <= sample.head.keys()


FORMATS = (Format("lint", _recognises, _judge),)
