"""withItems, withParam, withSequence."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tiphys.lang.items import ItemError, expand_sequence, expand_step, expand_task, format_number, items_of, parse_item
from tiphys.lang.tags import TagError


def step(**more: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "template": "t",
        "arguments": {"parameters": [{"name": "p", "value": "{{item}}"}]},
        **more,
    }


def named(steps: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["name"], one["arguments"]["parameters"][0]["value"]) for one in steps]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["x", "y(z)"], [("a(0:x)", "x"), ("a(1:yz)", "y(z)")]),
        ([1, 2.5, True], [("a(0:1)", "1"), ("a(1:2.5)", "2.5"), ("a(2:true)", "true")]),
        ([{"b": 1, "a": "x"}], [("a(0:a:x,b:1)", '{"a":"x","b":1}')]),
        ([[1, [2, 3]]], [("a(0:[1 [2,3]])", "[1,[2,3]]")]),
        ([None], [("a(0:[])", "null")]),
    ],
)
def test_items_and_names(items: list[Any], expected: list[tuple[str, str]]) -> None:
    assert named(expand_step(step(withItems=items), {})) == expected


def test_a_param_keeps_its_text() -> None:
    made = expand_step(step(withParam='[1.50, 1e3, "\\u00e9", 12345678901234567890]'), {})
    assert named(made) == [
        ("a(0:1.50)", "1.50"),
        ("a(1:1e3)", "1e3"),
        ("a(2:\\u00e9)", "é"),
        ("a(3:12345678901234567890)", "12345678901234567890"),
    ]


def test_a_task_keeps_its_items_and_a_step_does_not() -> None:
    assert expand_task(step(withItems=["x"]), {})[0]["withItems"] == ["x"]
    assert "withItems" not in expand_step(step(withItems=["x"]), {})[0]
    assert expand_task({"name": "a"}, {}) == [{"name": "a"}]


def test_what_will_not_run_needs_nothing_resolved() -> None:
    made = expand_step(step(withItems=["x"], when="false", onExit="{{gone}}"), {"absent": None})
    assert made[0]["onExit"] == "{{gone}}"
    with pytest.raises(TagError, match="failed to resolve"):
        expand_step(step(withItems=["x"], onExit="{{gone}}"), {})
    assert expand_step(step(withParam="no list", when="1 > 2"), {}) == []


def test_sequences() -> None:
    def texts(**spec: Any) -> list[str]:
        return [one.text for one in expand_sequence(spec)]

    assert texts(count="3") == ["0", "1", "2"]
    assert texts(start=4, end="1") == ["4", "3", "2", "1"]
    assert texts(start="9", count=2, format="n-%03d") == ["n-009", "n-010"]
    assert texts(count=0) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "neither end nor count was specified in withSequence"),
        ({"count": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
        ({"count": "99999999999999999999"}, 'strconv.Atoi: parsing "99999999999999999999": value out of range'),
        ({"count": "1000000000"}, "withSequence has more than 1000000 items"),
    ],
)
def test_bad_sequences(spec: dict[str, Any], message: str) -> None:
    started = time.process_time()
    with pytest.raises(ItemError) as caught:
        expand_sequence(spec)
    assert str(caught.value) == message
    assert time.process_time() - started < 10  # a blow-up takes minutes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,", "[1,: unexpected end of JSON input"),
        ("{}", "{}: json: cannot unmarshal object into Go value of type []v1alpha1.Item"),
        (" bad ", "bad: invalid character 'b' looking for beginning of value"),
    ],
)
def test_bad_params(text: str, message: str) -> None:
    with pytest.raises(ItemError) as caught:
        items_of({"withParam": text})
    assert str(caught.value) == f"withParam value could not be parsed as a JSON list: {message}"


def test_a_name_whose_index_is_lost_is_refused() -> None:
    with pytest.raises(ItemError, match="unrecoverable digit"):
        expand_step(step(name="a(b", withItems=["x"]), {})


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%d", "7"),
        ("%-4d|", "7   |"),
        ("%+05d", "+0007"),
        ("%#x %%", "0x7 %"),
        ("%s", "%!s(int=7)"),
        ("%d %d", "7 %!d(MISSING)"),
        ("none", "none%!(EXTRA int=7)"),
        ("%", "%!(NOVERB)%!(EXTRA int=7)"),
        ("%c|%q", "\x07|%!q(MISSING)"),
        ("%.3d", "007"),
    ],
)
def test_formats(template: str, expected: str) -> None:
    assert format_number(template, 7) == expected


def test_a_large_list_is_expanded_in_proportion() -> None:
    started = time.process_time()
    assert len(expand_task(step(withItems=list(range(5_000))), {})) == 5_000
    assert time.process_time() - started < 10


def test_parse_item_says_what_go_says() -> None:
    with pytest.raises(ItemError, match="invalid character '0' after top-level value"):
        parse_item("00")
