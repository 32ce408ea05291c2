"""Expressions beyond the golden rows: limits, places of errors, shapes, hidden builtins, values of Go's own types."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tiphys.lang import expr
from tiphys.lang.expr import ExprError, compile, environment, eval_bool, evaluate
from tiphys.lang.expr.frame import TURNS_MAX
from tiphys.lang.expr.operations import STRING_LENGTH_MAX
from tiphys.lang.moments import Time


def failure(source: str, **env: Any) -> ExprError:
    with pytest.raises(ExprError) as caught:
        evaluate(source, env)
    return caught.value


# What is refused, and how soon.

N = 10_000
REFUSED = {
    "parentheses": "(" * N + "1" + ")" * N,
    "signs": "-" * N + "1",
    "nots": "not " * N + "true",
    "lists": "[" * N + "]" * N,
    "maps": "{a:" * N + "1" + "}" * N,
    "calls": "len(" * N + "1" + ")" * N,
    "conditions": "true ? " * N + "1" + " : 2" * N,
    "powers": "2**" * N + "1",
    "members": "x" + ".a" * N,
    "optional members": "x" + "?.a" * N,
    "indexes": "x" + "[0]" * N,
    "pipes": "x" + "|string()" * N,
    "lets": "let a = 1;" * N + "1",
    "ifs": "if true {" * N,
    "loops": "map(x," * N,
    "nodes": "1," * N,
    "a long text": '"' + "x" * 10_000_000 + '"',
    "a long range": "1..1000000000",
    "a long repetition": 'repeat("xxxxxxxxxx", 999999)',
    "a list that doubles": "reduce(1..20000, concat(#acc, #acc), [1])",
    "a text that doubles": 'reduce(1..60, #acc + #acc, "x")',
    "a deep value": "reduce(1..10000, [#acc], 1)",
    "a deep value as JSON": "toJSON(reduce(1..10000, [#acc], 1))",
    "a deep value as text": "string(reduce(1..10000, [#acc], 1))",
    "a deep value compared": "let d = reduce(1..10000, [#acc], 1); d == reduce(1..10000, [#acc], 1)",
    "a deep value flattened": "flatten(reduce(1..10000, [#acc], 1))",
    "a branching value": "toJSON(reduce(1..60, [#acc, #acc], 1))",
    "the largest of a branching value": "max(reduce(1..60, [#acc, #acc], 1))",
    "replacing by much": 'replace(repeat("a", 900000), "a", repeat("b", 90000))',
    "a digit string": "1" * 900_000,
    "deep JSON": 'fromJSON("' + "[" * 5_000 + "]" * 5_000 + '")',
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_too_much_is_refused_soon(source: str) -> None:
    started = time.process_time()
    failure(source, x={"a": 1})
    assert time.process_time() - started < 10  # a tenth of a second on an idle machine


def test_turns_of_loops_are_counted_over_the_whole_run() -> None:
    nested = "let r = 1..9999; all(r, all(r, all(r, true)))"
    assert str(failure(nested)).startswith(f"loops took more than {TURNS_MAX} turns (1:")


@pytest.mark.parametrize(
    "body", ["upper(s)", 's contains "x"', "s[1:]", "s + s", "trimPrefix(s, 'y')", "toBase64(s)", "split(s, '')"]
)
def test_work_on_long_texts_counts_too(body: str) -> None:
    assert failure(f"map(1..100000, {body})", s="y" * 1_000_000).kind == "run"


def test_a_text_may_not_outgrow_its_limit() -> None:
    half = "x" * (STRING_LENGTH_MAX // 2)
    assert len(evaluate("s + s", {"s": half})) == STRING_LENGTH_MAX
    assert str(failure("s + s + '.'", s=half)).startswith("memory budget exceeded (1:")


def test_a_function_of_the_environment_never_sees_what_is_too_big() -> None:
    with pytest.raises(ExprError, match="memory budget exceeded"):
        evaluate("toJson(reduce(1..60, [#acc, #acc], 1))", environment({}))


# Errors.


def test_an_error_shows_its_place() -> None:
    err = failure('1 +\n"a" * 2')
    assert err.kind == "compile"
    assert str(err) == 'invalid operation: * (mismatched types string and int) (2:5)\n | "a" * 2\n | ....^'


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("1 +", "compile", "unexpected token EOF (1:3)"),
        ("nope", "compile", "unknown name nope (1:1)"),
        ("1 / 'a'", "compile", "mismatched types int and string"),
        ("l[5]", "run", "index out of range: 5 (array length is 1) (1:2)"),
        ("m.a.b", "run", "cannot fetch b from <nil> (1:5)"),
        ("int('x')", "run", "invalid operation: int(x) (1:1)"),
        ("1 % 0", "compile", "integer divide by zero"),
        ("now()", "run", "now() is not available here"),
        ("s matches '('", "compile", "error parsing regexp: missing closing ): `(`"),
    ],
)
def test_kinds_of_errors(source: str, kind: str, text: str) -> None:
    err = failure(source, l=[1], m={}, s="x")
    assert (err.kind, text in str(err)) == (kind, True), str(err)


def test_a_condition_must_be_a_bool() -> None:
    assert eval_bool("a > 1", {"a": 2}) is True
    with pytest.raises(ExprError, match="unable to cast expression result 'x' to bool"):
        eval_bool("a", {"a": "x"})
    with pytest.raises(ExprError, match=r"unable to evaluate expression .m\.a\.b.: cannot fetch b from <nil>"):
        eval_bool("m.a.b", {"m": {}})
    with pytest.raises(ExprError, match=r"^unknown name nope"):
        eval_bool("nope", {})


# Programs and environments.


def test_one_program_serves_environments_of_different_types() -> None:
    program = compile("a + b")
    assert program.run({"a": 1, "b": 2}) == 3
    assert program.run({"a": "x", "b": "y"}) == "xy"
    assert type(program.run({"a": 1, "b": 2.0})) is float
    with pytest.raises(ExprError, match="mismatched types int and string"):
        program.run({"a": 1, "b": "y"})
    with pytest.raises(ExprError, match="unknown name b"):
        program.run({"a": 1})
    assert program.run({"a": 1, "b": 2}) == 3


def test_programs_are_compiled_once() -> None:
    assert compile("1 + 1") is compile("1 + 1")


def test_many_shapes_do_not_pile_up() -> None:
    program = compile("a")
    for count in range(100):
        program.run({"a": dict.fromkeys(map(str, range(count)), count)} if count % 2 else {"a": [count] * count})
    assert len(program._built) <= 16


def test_a_variable_hides_a_builtin() -> None:
    program = compile("len + len('xx')")
    with pytest.raises(ExprError, match="int is not callable"):
        program.run({"len": 3})
    assert compile("len(s)").run({"s": "xx"}) == 2
    assert compile("len").run({"len": 3}) == 3
    assert compile("len").run({}) is None


def test_now_is_what_the_caller_says() -> None:
    moment = Time(86_400, 0)
    assert evaluate("now().Year()", {}, now=moment) == 1970
    assert evaluate("now()", {}, now=moment) == moment


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("7 / 2", 3.5),
        ("6 / 2", 3.0),
        ("2 ** 3", 8.0),
        ("-7 % 3", -1),
        ("9223372036854775807 + i", -9223372036854775808),
        ("1 == 1.0", True),
        ("[1, 2] == [1.0, 2.0]", True),
        ("groupBy([1, 2, 3], # % 2)[1]", [1, 3]),
        ("groupBy([1, 2], #)[9] == nil", True),
        ("uniq([1, 1.0, true, 'a', 'a', nil, nil, [1], [1]])", [1, True, "a", None, [1]]),
        ("sort(['b', 'ä', 'a'])", ["a", "b", "ä"]),
        ("sort([3, 1.5, 2], 'desc')", [3, 2, 1.5]),
        ("sortBy([{n: 'x', v: 2}, {n: 'y', v: 1}], .v) | map(.n)", ["y", "x"]),
        ("'äöü'[0:2]", "ä"),
        ("'x' in {x: 1}", True),
        ("1 in [true, 'x']", False),
        ("$env['i']", 1),
        ("m.x?.a?.b ?? 'none'", "none"),
    ],
)
def test_values(source: str, value: Any) -> None:
    found = evaluate(source, {"i": 1, "m": {"x": None}})
    assert found == value
    assert type(found) is type(value) or isinstance(value, list)


def test_not_a_number_is_never_the_same() -> None:
    assert len(evaluate("uniq([n, n])", {"n": float("nan")})) == 2
    assert evaluate("n == n", {"n": float("nan")}) is False


def test_the_module_says_what_it_offers() -> None:
    assert all(hasattr(expr, name) for name in expr.__all__)
