import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import gjson

PEOPLE = json.dumps(
    {
        "name": {"first": "Tom", "last.name": "A"},
        "age": 37,
        "friends": [
            {"first": "Dale", "age": 44, "nets": ["ig", "fb"]},
            {"first": "Roger", "age": 68, "nets": []},
            {"first": "Jane", "age": 47, "ok": True},
        ],
    }
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("name.first", "Tom"),
        (r"name.last\.name", "A"),
        ("friends.#", "3"),
        ("friends.1.first", "Roger"),
        ("fr?ends.#.first", '["Dale","Roger","Jane"]'),
        ("friends.#(age>45).first", "Roger"),
        ("friends.#(age>45)#.first", '["Roger","Jane"]'),
        ('friends.#(first%"*e").age', "44"),
        ('friends.#(nets.#(=="fb"))#.first', '["Dale"]'),
        ("friends.#(ok==~true).first", "Jane"),
        ("friends.#.age|@reverse|0", "47"),
        ("[age,name.first,nope]", '[37,"Tom"]'),
        ('{"a":age,name.first}', '{"a":37,"first":"Tom"}'),
        ("friends.#.nets|@flatten|@ugly", '["ig","fb"]'),
        ("name.@keys", '["first","last.name"]'),
        ('!"x"', "x"),
        ("nope", ""),
    ],
)
def test_finds(path: str, text: str) -> None:
    assert str(gjson.get(PEOPLE, path)) == text


def test_results_convert_to_everything() -> None:
    found = gjson.get('{"n": 9007199254740993, "s": "5", "t": true, "z": null}', "n")
    assert (int(found), found.value, str(found), bool(found)) == (9007199254740993, 2.0**53, "9007199254740993", True)
    assert int(gjson.get('{"s": "5"}', "s")) == 5
    assert (gjson.get("[null]", "0").exists, gjson.get("[null]", "1").exists) == (True, False)
    assert [str(item) for item in gjson.get("[1, [2]]", "@this")] == ["1", "[2]"]


def test_broken_documents_give_what_can_be_found() -> None:
    assert str(gjson.get('{"a":1,"b":', "a")) == "1"
    assert not gjson.get('{"a":1,"b', "b").exists


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("[" * 10_000, "@flatten:" + '{"deep":true}'),
        ("[" * 10_000 + "]" * 10_000, ".".join(["0"] * 10_000)),
        ("{}", "|".join(["@this"] * 10_000)),
        (json.dumps([[list(range(50))] * 50] * 50), "#(#(#(>0)#)#)#.#.#.#"),
        ("[" * 5_000 + "]" * 5_000, "@dig:a"),
        ("[" * 5_000 + "]" * 5_000, "@pretty"),
        ('{"' + "a" * 10_000 + '":1}', "*a" * 5_000 + "b"),
        ("1" * 10_000_000, "@this"),
        ("{}", "a" * 100_000),
    ],
    ids=["flatten", "levels", "pipes", "queries", "dig", "pretty", "wildcards", "number", "path"],
)
def test_hostile_input_is_answered_or_refused_quickly(document: str, path: str) -> None:
    start = time.process_time()
    with contextlib.suppress(gjson.GjsonError):
        gjson.get(document, path)
    assert time.process_time() - start < 10


pieces = st.sampled_from(
    [
        ".",
        "|",
        "#",
        "#(",
        ")",
        "a",
        "0",
        "*",
        "==",
        '"x"',
        "@keys",
        "@pretty",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\\",
        "!1",
        "@dig:a",
    ]
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "x"]), inner, max_size=3),
    max_leaves=10,
).map(json.dumps)


@given(documents | st.text(), st.lists(pieces, max_size=10).map("".join) | st.text(max_size=10))
def test_any_path_on_any_text(document: str, path: str) -> None:
    with contextlib.suppress(gjson.GjsonError):
        found = gjson.get(document, path)
        assert isinstance(str(found), str)
        assert isinstance(int(found), int)
        assert found.value is None or found.exists


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), st.integers(-(2**53), 2**53) | st.text()))
def test_plain_keys_find_their_values(data: dict[str, Any]) -> None:
    for key, value in data.items():
        assert gjson.get(json.dumps(data), key).value == value
