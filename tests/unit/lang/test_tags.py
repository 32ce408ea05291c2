"""Template tags: what replaces them, what may wait, what fails."""

from __future__ import annotations

import json
import time

import pytest

from tiphys.lang import tags
from tiphys.lang.tags import TagError

SCOPE = {
    "workflow.name": "wf-1",
    "inputs.parameters.n": "5",
    "inputs.parameters.quoted": 'say "hi"\n',
    "inputs.parameters.absent": None,
    "inputs.parameters.control": "\x01",
    "tasks.my-task.outputs.result": "x",
    "item": "it",
    "inner": "name",
}


def value(text: str, *, allow_unresolved: bool = False) -> str:
    document = tags.replace(json.dumps({"value": text}), SCOPE, allow_unresolved=allow_unresolved)
    return str(json.loads(document)["value"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{workflow.name}}", "wf-1"),
        ("{{ workflow.name }}-{{item}}", "wf-1-it"),
        ("{{inputs.parameters.quoted}}", 'say "hi"\n'),
        ("{{=asInt(inputs.parameters.n) * 2}}", "10"),
        ("{{=tasks['my-task'].outputs.result}}", "x"),
        ("{{=inputs.parameters.absent ?? 'none'}}", "none"),
        ("{{=tasks.gone?.outputs?.result ?? 'none'}}", "none"),
        ('{{=workflow.name == "wf-1"}}', "true"),
        ("{{=toJson({a: [1, 2.0]})}}", '{"a":[1,2]}'),
    ],
)
def test_values(text: str, expected: str) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "message", "missing"),
    [
        ("{{gone}}", "failed to resolve {{gone}}", True),
        ("{{=gone}}", "failed to evaluate expression: gone is missing", True),
        ("{{inputs.parameters.absent}}", "unable to substitute {{inputs.parameters.absent}}: output is an", False),
        ("{{inputs.parameters.control}}", "cannot finish template replacement because the result was", False),
        ("{{open", 'Cannot find end tag="}}"', False),
        ("{{=1 +}}", "failed to evaluate expression: unexpected token EOF (1:3)", False),
        ("{{=inputs.parameters.n + 1}}", "failed to evaluate expression: invalid operation: string + int", False),
    ],
)  # fmt: skip
def test_errors(text: str, message: str, missing: bool) -> None:
    with pytest.raises(TagError) as caught:
        value(text)
    assert str(caught.value).startswith(message)
    assert caught.value.missing_variable is missing


@pytest.mark.parametrize("text", ["{{gone}}", "{{=gone}}", "{{=inputs.parameters.n + 1}}", "{{=retries}}"])
def test_what_may_wait_stays(text: str) -> None:
    assert value(text, allow_unresolved=True) == text


def test_nested_tags_take_two_passes() -> None:
    once = tags.replace('"{{workflow.{{inner}}}}"', SCOPE, allow_unresolved=True)
    assert once == '"{{workflow.name}}"'
    assert tags.replace(once, SCOPE, allow_unresolved=False) == '"wf-1"'


def test_strict_prefixes_are_whole_segments() -> None:
    assert tags.replace_strict('"{{tasksX}} {{steps.a}}"', {}, ["tasks"]) == '"{{tasksX}} {{steps.a}}"'
    with pytest.raises(TagError, match=r"failed to resolve \{\{tasks\.a"):
        tags.replace_strict('"{{tasks.a}}"', {}, ["tasks"])
    assert (
        tags.replace_strict('"{{tasks.a.outputs.artifacts.x}}"', {}, ["tasks"]) == '"{{tasks.a.outputs.artifacts.x}}"'
    )


def test_values_are_not_replaced_again() -> None:
    assert tags.replace('"{{a}}"', {"a": "{{a}}"}, allow_unresolved=False) == '"{{a}}"'


def test_tags_outside_strings_are_checked() -> None:
    assert tags.replace('{"n":"{{a}}"}', {"a": "1"}, allow_unresolved=False) == '{"n":"1"}'
    with pytest.raises(TagError, match="invalid JSON"):
        tags.replace('{"n":{{a}}}', {"a": "1"}, allow_unresolved=False)


def test_has_tags() -> None:
    assert not tags.compile("no { tags }}").has_tags
    assert tags.compile("{{a}}").has_tags


def test_resolve_var() -> None:
    assert tags.resolve_var("{{ n }}", {"n": 5}) == ("n", 5)
    assert tags.resolve_var("{{=n + 1}}", {"n": 5}) == ("=n + 1", 6)
    with pytest.raises(TagError, match='Unable to resolve: "m"'):
        tags.resolve_var("{{m}}", {"n": 5})


def test_large_values_are_fast() -> None:
    text = json.dumps({"value": "{{a}}" * 1_000})
    started = time.process_time()
    tags.replace(text, {"a": "x" * 10_000}, allow_unresolved=False)
    assert time.process_time() - started < 10  # a blow-up takes minutes


def test_expressions_of_one_text_may_read_different_parts_of_the_scope() -> None:
    text = '{"a":"{{=a.x}}","b":"{{=b.y + a.x}}","c":"{{=$env[\'c\'].z}}","d":"{{=b.y}}"}'
    scope = {"a.x": "1", "b.y": "2", "c.z": "3"}
    assert tags.replace(text, scope, allow_unresolved=True) == '{"a":"1","b":"21","c":"3","d":"2"}'
