"""JSON as Go reads it, and what Go says about what is not JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang.gojson_read import JsonSyntaxError, is_valid, loads, syntax_error


def test_numbers_are_floats() -> None:
    found = loads('{"a": [1, 2.5, -0, 1e3], "b": null}')
    assert found == {"a": [1.0, 2.5, 0.0, 1000.0], "b": None}
    assert type(found["a"][0]) is float


def test_half_a_pair_becomes_the_replacement_character() -> None:
    assert loads(r'"\ud800x"') == "\ufffdx"
    assert loads(r'"\ud83d\ude00"') == "😀"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("{a}", "invalid character 'a' looking for beginning of object key string"),
        ("tru", "invalid character ' ' in literal true (expecting 'e')"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("1 2", "invalid character '2' after top-level value"),
        ("01", "invalid character '1' after top-level value"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ('"\\q"', "invalid character 'q' in string escape code"),
        ('"\n"', r"invalid character '\n' in string literal"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
        ("[" * 20_000 + "]" * 20_000, "exceeded max depth"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(JsonSyntaxError) as caught:
        loads(text)
    assert str(caught.value) == complaint


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn\\u \n\tx', max_size=30))
def test_what_python_takes_go_takes_and_the_other_way_round(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
        good = True
    except ValueError:
        good = False
    assert (syntax_error(text) is None) is good
    assert is_valid(text) is good
