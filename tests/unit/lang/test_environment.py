"""What expressions see of a scope."""

from __future__ import annotations

import pytest

from tiphys.lang.expr import ExprError, compile, environment, evaluate, expand


@pytest.mark.parametrize(
    ("scope", "nested"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a.b": 1, "a.c.d": 2}, {"a": {"b": 1, "c": {"d": 2}}}),
        ({"a": 1, "a.b": 2}, {"a": {"b": 2}}),
        ({"t.x.o.result": "1", "t.x.status": "ok"}, {"t": {"x": {"o": {"result": "1"}, "status": "ok"}}}),
    ],
)  # fmt: skip
def test_expand(scope: dict[str, object], nested: dict[str, object]) -> None:
    before = dict(scope)
    assert expand(scope) == nested
    assert scope == before


def test_only_the_wanted_roots_are_expanded() -> None:
    assert expand({"a.b": 1, "c.d": 2}, ["a"]) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("asInt('5') + 1", 6),
        ("asFloat(inputs.parameters.n) * 2", 3.0),
        ("toJson({b: [1, nil], a: '<'})", '{"a":"\\u003c","b":[1,null]}'),
        ("jsonpath('{\"a\": [1, 2]}', '$.a[1]')", 2.0),
        ("sprig.upper('x')", "X"),
        ("sprig.int('7') == 7", True),
    ],
)
def test_functions(source: str, value: object) -> None:
    found = evaluate(source, environment({"inputs.parameters.n": "1.5"}))
    assert (found, type(found)) == (value, type(value))


def test_a_scope_does_not_hide_the_functions() -> None:
    assert evaluate("asInt('1')", environment({"asInt": "mine", "sprig": "mine"})) == 1


@pytest.mark.parametrize(
    "source", ["jsonpath('{', '$')", "jsonpath('{}', 'a[')", "asInt('x')", "sprig.fail('no')", "sprig.env('HOME')"]
)
def test_functions_fail_as_expressions(source: str) -> None:
    with pytest.raises(ExprError):
        evaluate(source, environment({}))


def test_a_program_says_what_it_reads() -> None:
    assert set(compile("a.b + c['d'] + len(e)").roots or ()) >= {"a", "c", "e"}
    assert compile("$env.a").roots is None
    scope = {"a.b": 1, "x.y": 2}
    program = compile("a.b")
    assert program.run(environment(scope, program.roots)) == 1
    assert "x" not in environment(scope, program.roots)
