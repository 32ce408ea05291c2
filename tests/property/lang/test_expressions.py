"""What must never happen with any expression: another error than the language's own, or a changed meaning."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tiphys.lang import depends, govaluate, items, tags
from tiphys.lang.expr import ExprError, environment, evaluate
from tiphys.lang.expr.jsonpath import JsonPathError, query
from tiphys.lang.expr.nodes import Node, children
from tiphys.lang.expr.parser import parse
from tiphys.lang.expr.printer import show

ENV: dict[str, Any] = {
    "s": "text",
    "i": 7,
    "f": 2.5,
    "b": True,
    "n": None,
    "l": [1, "x", 2.5],
    "m": {"a": 1, "b": {"c": [1, 2]}},
    "objs": [{"name": "a", "v": 1}, {"name": "b", "v": 2.5}],
}

_LITERALS = st.sampled_from(
    [
        "0",
        "1",
        "-3",
        "2.5",
        "1e3",
        "0x1F",
        '"a"',
        "'it'",
        '""',
        "true",
        "false",
        "nil",
        "[]",
        "[1, 2]",
        "{a: 1}",
        "1..3",
    ]
)
_NAMES = st.sampled_from([*ENV, "missing"])
_BINARY = st.sampled_from(
    [
        *("+", "-", "*", "/", "%", "**", "==", "!=", "<", ">", "<=", ">=", "&&", "||", "and", "or", "in", "contains"),
        *("matches", "startsWith", "endsWith", "..", "??"),
    ]
)
_CALLS = st.sampled_from(["len", "upper", "int", "string", "keys", "sort", "first", "toJSON", "max", "join", "type"])
_LOOPS = st.sampled_from(["filter", "map", "all", "any", "find", "count", "groupBy", "sortBy", "sum"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, _BINARY, inner),
        st.builds("{} {} {}".format, inner, _BINARY, inner),
        st.builds("{}{}".format, st.sampled_from(["-", "!", "not "]), inner),
        st.builds("{}({})".format, _CALLS, inner),
        st.builds("{}({}, {})".format, _LOOPS, inner, inner.map(lambda body: body.replace("i", "#"))),
        st.builds("{} ? {} : {}".format, inner, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from([".a", "?.b.c", "[0]", "[1:]", "[-1]", "?.[0]", '["a"]'])),
        st.builds("(let q = {}; {} + q)".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{x: {}}}".format, inner),
    )


EXPRESSIONS = st.recursive(st.one_of(_LITERALS, _NAMES), _grown, max_leaves=12)
_SOUP = st.lists(
    st.one_of(
        st.sampled_from(list("()[]{}.,:;?!|&=<>+-*/%^#'\"`\\_$@~ \n")),
        st.sampled_from(["??", "?.", "..", "let ", "not ", "in ", "{{", "}}"]),
        st.text(max_size=3),
        _LITERALS,
        _NAMES,
    ),
    max_size=12,
).map("".join)


def shape(node: Node) -> Any:
    """A tree without its places."""
    own = {
        name: value
        for name in ("value", "name", "op", "optional", "called", "ternary")
        if isinstance(value := getattr(node, name, None), str | int | float | bytes | bool)
    }
    return type(node).__name__, repr(own), [shape(one) for one in children(node)]


@settings(max_examples=300)
@given(EXPRESSIONS)
def test_printing_and_parsing_keeps_the_tree(source: str) -> None:
    try:
        tree = parse(source)
    except ExprError:
        return
    printed = show(tree)
    again = parse(printed)
    assert shape(again) == shape(tree)
    assert show(again) == printed


@settings(max_examples=300)
@given(st.one_of(EXPRESSIONS, _SOUP))
def test_expressions_fail_with_their_own_error_only(source: str) -> None:
    try:
        evaluate(source, environment(ENV))
    except ExprError as err:
        assert err.kind in ("compile", "run")


@settings(max_examples=200)
@given(EXPRESSIONS)
def test_printing_keeps_the_value(source: str) -> None:
    def outcome(text: str) -> tuple[str, Any]:
        try:
            return "value", repr(evaluate(text, ENV))
        except ExprError as err:
            return "error", err.kind

    try:
        printed = show(parse(source))
    except ExprError:
        return
    first, second = outcome(source), outcome(printed)
    assert first == second or " at 0x" in first[1]


@settings(max_examples=300)
@given(_SOUP)
def test_when_fails_with_its_own_error_only(source: str) -> None:
    with contextlib.suppress(govaluate.GovaluateError):
        assert govaluate.should_execute(source) in (True, False)


@settings(max_examples=300)
@given(_SOUP, st.booleans())
def test_tags_fail_with_their_own_error_only(text: str, allow_unresolved: bool) -> None:
    document = json.dumps({"value": text})
    try:
        replaced = tags.replace(document, {"s": "x", "n": None, "m.a": "1"}, allow_unresolved=allow_unresolved)
    except tags.TagError:
        return
    json.loads(replaced)


@settings(max_examples=200)
@given(st.text(), st.sampled_from(["{{a}}", "x{{ a }}y", "{{a}}{{a}}"]))
def test_any_text_survives_replacing(value: str, template: str) -> None:
    document = json.dumps({"value": template})
    try:
        replaced = tags.replace(document, {"a": value}, allow_unresolved=False)
    except tags.TagError as err:
        assert "invalid JSON" in str(err)  # control characters, as in the original
        return
    expected = template.replace("{{ a }}", value).replace("{{a}}", value)
    assert json.loads(replaced)["value"] == expected


@settings(max_examples=200)
@given(_SOUP)
def test_depends_fails_with_its_own_error_only(text: str) -> None:
    tasks: dict[str, dict[str, Any]] = {"A": {}, "B": {}}
    try:
        logic = depends.rewrite({"depends": text}, tasks)
        depends.decide(logic, {name: depends.State("Succeeded") for name in logic.needs})
    except depends.DependsError:
        pass


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=20), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)))
def test_items_fail_with_their_own_error_only(param: Any) -> None:
    text = param if isinstance(param, str) else json.dumps(param)
    step = {"name": "a", "withParam": text, "onExit": "{{item}}"}
    try:
        made = items.expand_step(step, {}) if text else []
    except (items.ItemError, tags.TagError):
        return
    assert len({one["name"] for one in made}) == len(made)


_STEPS = st.sampled_from(
    [
        *("$", ".a", "..", "[*]", "[0]", "[-1]", "[1:]", "['a','b']", "[?(@.a>1)]", "[(@.length-1)]", ".length"),
        *("[", "]", "(@", "'"),
    ]
)


@settings(max_examples=300)
@given(st.lists(_STEPS, max_size=6).map("".join))
def test_jsonpath_fails_with_its_own_error_only(path: str) -> None:
    with contextlib.suppress(JsonPathError):
        query(f"${path}", {"a": [1, {"a": 2, "b": "x"}], "b": None})
