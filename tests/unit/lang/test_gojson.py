import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import gojson


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (1.5, "1.5"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (5e-324, "5e-324"),
        (2**70, "1180591620717411303424"),
        ([1.0, "x:1.0,y"], '[1,"x:1.0,y"]'),
        ({"k": [1e3, "\\", 1.0]}, '{"k":[1000,"\\\\",1]}'),
        ({"b": 1, "a": 2, "B": 3}, '{"B":3,"a":2,"b":1}'),
        ("<&>\u2028\u2029", '"\\u003c\\u0026\\u003e\\u2028\\u2029"'),
        ("\x00\x1f\x7f\b\f", '"\\u0000\\u001f\x7f\\b\\f"'),
        ("a\ud800b", '"a\\ufffdb"'),
        (None, "null"),
    ],
)
def test_writes_what_go_writes(value: Any, text: str) -> None:
    assert gojson.dumps(value) == text


def test_html_is_left_alone_on_request() -> None:
    assert gojson.dumps("<\u2028", escape_html=False) == '"<\\u2028"'


@pytest.mark.parametrize("value", [float("nan"), [float("-inf")], {1: 2}, object(), b"x", {"a": [{2: 1}, 2**80]}])
def test_refuses_what_has_no_json_form(value: Any) -> None:
    with pytest.raises(gojson.GoJsonError):
        gojson.dumps(value)


def test_nesting_is_bounded_and_not_by_recursion() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    assert len(gojson.dumps(deep)) == 10_002
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(gojson.GoJsonError, match="nested deeper"):
        gojson.dumps(deep)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_reads_back_the_same(value: Any) -> None:
    assert json.loads(gojson.dumps(value), parse_int=float) == value


@given(json_values)
def test_both_paths_agree(value: Any) -> None:
    fast = gojson.dumps(value, escape_html=False)
    slow = gojson.dumps([value, 2**70], escape_html=False)
    assert slow.replace("\u2028", "\\u2028") == f"[{fast},{2**70}]"
