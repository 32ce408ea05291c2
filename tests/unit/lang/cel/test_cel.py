"""The language alone: what it accepts, what it answers, what it counts."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.lang import cel
from tiphys.lang.cel import types
from tiphys.lang.cel.values import Duration, Failure, Optional, Uint

VARIABLES = {
    "n": types.INT,
    "d": types.DOUBLE,
    "s": types.STRING,
    "l": types.list_of(types.INT),
    "m": types.map_of(types.STRING, types.STRING),
    "any": types.DYN,
}
VALUES: dict[str, Any] = {"n": 5, "d": 2.5, "s": "hello", "l": [3, 1, 2], "m": {"a": "x"}, "any": {"k": [1, "two"]}}
ENVIRONMENT = cel.Environment(cel.BASE, VARIABLES, {}, cel.TYPE_NAMES)


def run(text: str) -> Any:
    return cel.compile_expression(text, ENVIRONMENT).program.evaluate(VALUES, 1_000_000).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n + 2 * 3", 11),
        ("(n + 2) * 3", 21),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("1u + 2u", Uint(3)),
        ("n > 2.5", True),
        ("s + ' world'", "hello world"),
        ("b'a' + b'\\xff'", b"a\xff"),
        ("r'\\d' + '\\u00e9'", "\\dé"),
        ("l.filter(x, x > 1).map(x, x * 10)", [30, 20]),
        ("l.exists_one(x, x == 2)", True),
        ("[1, 2, 3].transformList(i, v, i > 0, i * v)", [2, 6]),
        ("{'a': 1}.transformMapEntry(k, v, {string(v): k})", {"1": "a"}),
        ("l.all(x, 10 / (x - 1) != 0) ? 1 : 2", Failure("division by zero")),
        ("false && 1 / 0 == 1", False),
        ("1 / 0 == 1 && false", False),
        ("1 / 0 == 1 || true", True),
        ("has(m.a) && !has(m.b)", True),
        ("m.?b.orValue('none')", "none"),
        ("[?m.?b, ?m.?a]", ["x"]),
        ("{?'k': m.?b}", {}),
        ("m[?'a'].optMap(v, v + v).value()", "xx"),
        ("any.k[1]", "two"),
        ("any.missing", Failure("no such key: missing")),
        ("any.k[7]", Failure("index out of bounds: 7")),
        ("any + 1", Failure("no such overload")),
        ("9223372036854775807 + n", Failure("integer overflow")),
        ("n in [1, 5]", True),
        ("timestamp(n).getHours(s)", Failure("unknown time zone hello")),
        ("double('1' + 'e400')", Failure("type conversion error from 'string' to 'double'")),
        ("double(dyn('-Infinity')) < 0.0", True),
        ("type(n) == int && type(m) == map", True),
        ("duration('90m').getHours()", 1),
        ("timestamp('2024-02-29T23:30:00-01:00').getDate()", 1),
        ("timestamp('2024-01-01T00:00:00Z') - duration('1s') < timestamp('2024-01-01T00:00:00Z')", True),
        ("string(duration('1500ms'))", "1.5s"),
        ("string(timestamp('2024-01-01T00:00:00.5Z'))", "2024-01-01T00:00:00.5Z"),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'%s has %d of %.1f%%'.format([s, n, d])", "hello has 5 of 2.5%"),
        ("'%x %X %o %b'.format([255, b'hi', 8, true])", "ff 6869 10 1"),
        ("'%.2f'.format([1234567.891])", "1,234,567.89"),
        ("'%e'.format([d])", "2.500000\u202f×\u202f10⁰⁰"),
        ("'%s'.format([{'b': [1.5], 'a': null}])", '{"a":null, "b":[1.500000]}'),
        ("strings.quote('a\"b')", '"a\\"b"'),
        ("[1, 2, 2].lastIndexOf(2) + l.min() + l.sum()", 9),
        ("sets.equivalent([1, 2], [2, 1, 1])", True),
        ("[1, 1.0 == dyn(1) ? 2 : 3]", [1, 2]),
    ],
)
def test_answers(text: str, value: Any) -> None:
    found = run(text)
    assert (found, type(found)) == (value, type(value))


def test_optionals_compare_by_value() -> None:
    found = run("optional.of(duration('1s'))")
    assert isinstance(found, Optional) and found.value == Duration(1_000_000_000)
    assert run("optional.of(1) == optional.of(1) && optional.none() != optional.of(dyn(0))") is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n +", "mismatched input '<EOF>' expecting {'[',"),
        ("n n", "extraneous input 'n' expecting <EOF>"),
        ("'open", "token recognition error at: ''open'"),
        ("n + s", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("s.nope()", "undeclared reference to 'nope' (in container '')"),
        ("nope", "undeclared reference to 'nope' (in container '')"),
        ("n.field", "type 'int' does not support field selection"),
        ("n ? 1 : 2", "found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("n && true", "expected type 'bool' but found 'int'"),
        ("[1, 's']", "expected type 'int' but found 'string'"),
        ("n.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("l.all(1, true)", "argument must be a simple name"),
        ("has(n)", "invalid argument to has() macro"),
        ("s.matches('[')", "invalid matches argument"),
        ("duration('x')", "invalid duration argument"),
        ("timestamp('x')", "invalid timestamp argument"),
        ("'%d'.format(['x'])", "decimal clause can only be used on integers, was given string"),
        ("'a'.format([1])", "too many arguments supplied to string.format (expected 0, got 1)"),
        ("namespace", "reserved identifier: namespace"),
        ("9223372036854775808", "invalid int literal"),
        ("l{}", "'list(int)' is not a type"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile_expression(text, ENVIRONMENT)
    assert message in str(caught.value)


def test_every_error_is_shown_with_its_place() -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile_expression("a +\n  b", ENVIRONMENT)
    assert str(caught.value) == (
        "ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a +\n | ^\n"
        "ERROR: <input>:2:3: undeclared reference to 'b' (in container '')\n |   b\n | ..^"
    )


def test_constants_fail_when_the_program_is_made() -> None:
    found = cel.compile_expression("int('x') == 1", ENVIRONMENT)
    with pytest.raises(cel.ProgramError, match="type conversion error from 'string' to 'int'"):
        _ = found.program


def test_loops_keep_nothing_between_evaluations() -> None:
    program = cel.compile_expression("l.map(x, x) + l.filter(x, true)", ENVIRONMENT).program
    first = program.evaluate(VALUES, 1_000)
    assert program.evaluate(VALUES, 1_000) == first and first.value == [3, 1, 2, 3, 1, 2]


def test_work_beyond_the_limit_is_stopped() -> None:
    loop = "[1,2,3,4,5,6,7,8,9,10]"
    text = f"{loop}.all(a, {loop}.all(b, {loop}.all(c, {loop}.all(d, {loop}.all(e, {loop}.all(f, a > 0))))))"
    program = cel.compile_expression(text, ENVIRONMENT).program
    with pytest.raises(cel.CostExceeded) as caught:
        program.evaluate(VALUES, 10_000)
    assert 10_000 < caught.value.cost < 11_000


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "1" + ")" * 5_000,
        "!" * 50_000 + "true",
        "[" * 5_000,
        "a" + ".a" * 5_000,
        "1" + "+1" * 5_000,
        "x" * 200_000,
    ],
    ids=["parentheses", "negations", "lists", "selections", "sums", "length"],
)
def test_bombs_are_refused_or_small(text: str) -> None:
    try:
        cel.compile_expression(text, ENVIRONMENT)
    except cel.CelError as err:
        assert len(str(err)) < 500_000
