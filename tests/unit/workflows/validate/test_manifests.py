"""Texts to manifests: pieces, strictness, and the lines of faults."""

from tiphys.workflows.plan.validate import parse

TWO = """# first
kind: Workflow
spec:
  entrypoint: a
---
kind: Workflow
spec:
  templates:
  - name: a
    imagee: x
"""


def test_pieces_without_a_kind_are_passed_over() -> None:
    assert [m.kind for m in parse("a: 1\n---\n" + TWO + "---\n\n---\n[]\n")] == ["Workflow", "Workflow"]


def test_unknown_fields_have_lines_in_the_whole_text() -> None:
    manifest = parse(TWO)[1]
    problem = manifest.problems[0]
    assert problem.message == 'unknown field "spec.templates[0].imagee"'
    assert manifest.line_of(problem.path) == 10
    assert parse(TWO, strict=False)[1].problems == ()


def test_keys_that_come_twice() -> None:
    repeated = "kind: Workflow\nspec:\n  entrypoint: a\n  entrypoint: b\n"
    assert "already set in map" in parse(repeated)[0].problems[0].message
    assert parse(repeated, strict=False)[0].problems == ()
    as_json = '{"kind": "Workflow", "spec": {"entrypoint": "a", "entrypoint": "b"}}'
    assert parse(as_json)[0].problems[0].message == 'duplicate field "spec.entrypoint"'


def test_what_is_no_yaml_is_a_problem_with_a_line() -> None:
    manifest = parse("kind: [\n")[0]
    assert manifest.value is None and "line" in manifest.problems[0].message


def test_other_kinds_are_not_checked() -> None:
    assert parse("kind: ConfigMap\nnope: 1\n")[0].problems == ()


def test_numbers_are_read_as_go_reads_them() -> None:
    assert parse("kind: Workflow\nspec: {priority: 1.0}\n")[0].problems == ()
