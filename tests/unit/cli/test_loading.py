"""Manifests are found in texts, with the place of everything in them; lint tells faults by file, line and field."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from tiphys.cli import loading
from tiphys.cli.endings import Problems
from tiphys.cli.main import main
from tiphys.cli.sources import Source

GOOD = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: hello-}
spec:
  entrypoint: main
  templates:
    - name: main
      container: {image: busybox, command: [echo, hi]}
"""


def load(text: str) -> list[loading.Manifest]:
    return loading.load([Source("f.yaml", textwrap.dedent(text))])


def problems(text: str) -> list[str]:
    with pytest.raises(Problems) as caught:
        load(text)
    return caught.value.lines


def test_several_documents_and_lists() -> None:
    found = load(
        """
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: a}
        ---
        apiVersion: v1
        kind: List
        items:
          - apiVersion: v1
            kind: Secret
            metadata:
              name: b
        ---
        apiVersion: argoproj.io/v1alpha1
        kind: WorkflowList
        items:
          - metadata: {name: c}
            spec: {}
        ---
        """
    )
    assert [(m.kind, m.name, m.place("metadata.name")) for m in found] == [
        ("ConfigMap", "a", "f.yaml:5"),
        ("Secret", "b", "f.yaml:13"),
        ("Workflow", "c", "f.yaml:18"),
    ]


def test_json_is_read_too() -> None:
    assert [m.kind for m in load('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}')] == [
        "ConfigMap"
    ]


def test_all_that_is_no_manifest_is_told_at_once() -> None:
    found = problems("kind: Workflow\n---\n- 1\n---\napiVersion: v1\nkind: Pod\n")
    assert found == [
        "f.yaml:1: apiVersion is missing (for example argoproj.io/v1alpha1)",
        "f.yaml:3: a manifest is a mapping with apiVersion, kind and metadata; this is none",
        "f.yaml:5: metadata is missing",
    ]


def test_broken_yaml_is_told_with_its_line() -> None:
    assert problems("a: 1\nb: [\n")[0].startswith("f.yaml:")


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("spec.templates[0].name", ("spec", "templates", 0, "name")),
        ("spec.templates[1].steps[0][2]", ("spec", "templates", 1, "steps", 0, 2)),
        ("", ()),
    ],
)
def test_paths_become_steps(path: str, steps: tuple[str | int, ...]) -> None:
    assert loading.steps_of(path) == steps


def lint(tmp_path: Path, text: str, *options: str) -> int:
    (tmp_path / "w.yaml").write_text(textwrap.dedent(text))
    return main(["lint", str(tmp_path), *options])


def test_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, GOOD) == 0
    assert capsys.readouterr().out == "✔ 1 manifests, nothing wrong\n"


def test_an_unknown_field_is_named_with_the_one_that_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lint(tmp_path, GOOD.replace("command:", "comand:")) == 2
    line = capsys.readouterr().out.strip()
    assert line == (
        f"{tmp_path}/w.yaml:9: Workflow/hello-…: spec.templates[0].container.comand: "
        "there is no such field (did you mean 'command'?)"
    )


def test_without_strict_unknown_fields_pass(tmp_path: Path) -> None:
    assert lint(tmp_path, GOOD.replace("command:", "comand:"), "--no-strict") == 0


def test_what_the_validator_finds_has_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, GOOD.replace("hi]", "'{{inputs.parameters.x}}']"), "-o", "json") == 2
    (fault,) = json.loads(capsys.readouterr().out)
    assert fault["line"] == 8 and fault["object"] == "Workflow/hello-…" and fault["template"] == "main"
    assert "inputs.parameters.x" in fault["message"]


def test_a_fault_in_a_template_of_another_file_is_told_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "template.yaml").write_text(
        GOOD.replace("Workflow", "WorkflowTemplate")
        .replace("generateName: hello-", "name: t")
        .replace("hi]", "'{{inputs.parameters.x}}']")
    )
    user = """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: user}
        spec: {workflowTemplateRef: {name: t}}
        """
    assert lint(tmp_path, user, "--kinds", "workflows") == 2
    assert f"{tmp_path}/template.yaml:8: WorkflowTemplate/t" in capsys.readouterr().out


def test_nothing_to_lint_is_wrong_use(tmp_path: Path) -> None:
    assert lint(tmp_path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n") == 2
    assert lint(tmp_path, GOOD, "--kinds", "pods") == 2
