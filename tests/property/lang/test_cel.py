"""CEL: what is printed reads as the same, and nothing but its own errors comes out, in bounded work."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tiphys.lang import cel
from tiphys.lang.cel import types
from tiphys.lang.cel.values import UINT_MAX, Uint

VARIABLES = {"n": types.INT, "s": types.STRING, "l": types.list_of(types.INT), "any": types.DYN}
VALUES: dict[str, Any] = {"n": 3, "s": "abc", "l": [1, 2, 3], "any": {"k": [1, "x", None]}}
ENVIRONMENT = cel.Environment(cel.BASE, VARIABLES, {}, cel.TYPE_NAMES)
COST_MAX = 10_000

_WORDS = """
    n s l any x 1 2.5 3u 'a' b'z' true null + - * / % == < in && || ! ? : ( ) [ ] { } . , .?k [?0] has(any.k) size(
    .format([ ]) .matches( optional.of( .orValue( l.map(x,x) l.all(x, '\\u00e9' r'\\' //
"""
WORDS = st.sampled_from(_WORDS.split())
LITERALS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(0, UINT_MAX).map(lambda n: f"{n}u"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(max_size=8).map(lambda text: cel.to_text(_literal(text))),
    st.binary(max_size=8).map(lambda data: cel.to_text(_literal(data))),
    st.sampled_from(["true", "false", "null", "n", "s", "l", "any.k", "any.?k"]),
)


def _literal(value: Any) -> Any:
    from tiphys.lang.cel.nodes import Literal

    return Literal(0, value)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "in"])
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) ? ({t[1]}) : ({t[2]})"),
        inner.map(lambda text: f"!({text})"),
        inner.map(lambda text: f"-({text})"),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{{t[0]}: {t[1]}}}"),
        st.tuples(inner, inner).map(lambda t: f"[{t[0]}].all(x, {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"[{t[0]}].filter(x, {t[1]})[0]"),
        inner.map(lambda text: f"optional.of({text}).optMap(v, v).orValue({text})"),
    )


EXPRESSIONS = st.recursive(LITERALS, _grown, max_leaves=8)


@given(EXPRESSIONS)
def test_what_is_printed_reads_as_the_same(text: str) -> None:
    printed = cel.to_text(cel.parse(text))
    assert cel.to_text(cel.parse(printed)) == printed
    assert _answer(printed) == _answer(text)


def _answer(text: str) -> Any:
    try:
        program = cel.compile_expression(text, ENVIRONMENT).program
        return repr(program.evaluate(VALUES, COST_MAX).value)
    except cel.CompileError as err:
        return sorted(issue.message for issue in err.issues)
    except cel.CelError as err:
        return str(err)


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=25).map(" ".join))
def test_any_text_is_answered_or_refused(text: str) -> None:
    _answer(text)


@given(st.text(max_size=60))
def test_any_characters_are_answered_or_refused(text: str) -> None:
    _answer(text)


@given(EXPRESSIONS)
def test_the_bound_on_cost_holds(text: str) -> None:
    try:
        found = cel.compile_expression(text, ENVIRONMENT)
        cost = found.program.evaluate(VALUES, COST_MAX).cost
    except cel.CelError:
        return
    # The original estimates neither optional selections nor those from values of unknown type.
    if "?" not in text and "any" not in text:
        assert cost <= found.cost_max(lambda path: None)


@given(st.integers(), st.integers())
def test_integers_are_64_bits(one: int, other: int) -> None:
    text = f"{abs(one) % 2**63} - {abs(other) % 2**63} * 3"
    answer = _answer(text)
    exact = abs(one) % 2**63 - abs(other) % 2**63 * 3
    assert answer == repr(exact) or "overflow" in answer
    assert Uint(5) == 5
