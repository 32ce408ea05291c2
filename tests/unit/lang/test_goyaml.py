import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import goyaml
from tiphys.lang.goyaml import DuplicateKeysError, YamlError

WORKFLOW = """\
kind: Workflow
spec:
  entrypoint: main
  templates:
  - name: main
    container:
      image: alpine
  - &second
    name: other
  entrypoint: again
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("[on, n, 'y', ~]", [True, False, "y", None]),
        ("010", 8),
        ("[08, 0o10, 0b11, 1_000, +1]", [8, 8, 3, 1000, 1]),
        ("[1e3, .5, 1.0, 1e19, 12345678901234567890]", [1000, 0.5, 1, 10**19, 12345678901234567890]),
        ("[12:30, 2001-01-01, 0x, 1e999]", ["12:30", "2001-01-01", "0x", "1e999"]),
        ("{1: a, no: b, 1.50: c}", {"1": "a", "false": "b", "1.5": "c"}),
        ("a: !!str 1\nb: !!binary aGk=\nc: !other 2", {"a": "1", "b": "hi", "c": "2"}),
        ("a: &a {x: 1}\nb: {<<: *a, z: 2}", {"a": {"x": 1}, "b": {"x": 1, "z": 2}}),
        ("{x: 1, <<: [{x: 2, z: 3}, {z: 4}]}", {"x": 2, "z": 3}),
        ("a: 1\na: 2", {"a": 2}),
        ("a: 1\n---\nb: [", {"a": 1}),
        ("", None),
        (b"\xef\xbb\xbfa: 1", {"a": 1}),
    ],
)
def test_reads_what_go_reads(text: str, value: Any) -> None:
    read = goyaml.load(text)
    assert read == value
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: b: c", 1, "mapping values are not allowed in this context"),
        ("a: 1\nb: *x", 2, "unknown anchor 'x' referenced"),
        ("a:\n- &x [*x]", 2, "anchor 'x' value contains itself"),
        ("a: 1\nb: !!int x", 2, "cannot decode !!str `x` as a !!int"),
        ("a: .inf", 1, "json: unsupported value: +Inf"),
        ("a:\n  {{x}}", 2, "invalid map key"),
        ("<<: 1", 1, "map merge requires"),
        ("%YAML 1.2\n---\na", 1, "found incompatible YAML document"),
        ('a: "\\/"', 1, "found unknown escape character"),
        ("a: \ud800", 0, "surrogates"),
        ("a: \x07", 0, "control characters are not allowed"),
    ],
)
def test_says_what_is_wrong_and_where(text: str, line: int, message: str) -> None:
    with pytest.raises(YamlError) as refused:
        goyaml.load(text)
    assert (refused.value.line, message in str(refused.value)) == (line, True)


def test_aliases_are_copies() -> None:
    value = goyaml.load("a: &a {x: [1]}\nb: *a")
    value["a"]["x"].append(2)
    assert value["b"] == {"x": [1]}


def test_strict_reading_names_line_and_place_of_every_duplicate() -> None:
    with pytest.raises(DuplicateKeysError) as refused:
        goyaml.load_strict(WORKFLOW + "x:\n  <<: {k: 1}\n  k: 2\n")
    assert [(d.line, d.key, d.path) for d in refused.value.duplicates] == [
        (10, '"entrypoint"', "spec"),
        (13, '"k"', "x"),
    ]
    assert 'line 10: key "entrypoint" already set in map (in spec)' in str(refused.value)


def test_strict_reading_tells_keys_apart_by_type() -> None:
    assert goyaml.load_strict('1: a\n"1": b') == {"1": "b"}


def test_documents_know_the_lines_of_their_fields() -> None:
    first, second, empty = goyaml.load_all(f"a: [1]\n---\n{WORKFLOW}---\n")
    assert (first.line, second.line, empty.value) == (1, 2, None)
    assert second.line_of(("spec", "templates", 0, "container", "image")) == 9
    assert second.line_of(("spec", "templates", 7)) == 6
    assert first.line_of(("a", 0)) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, {"b": []}], "c": {}}, "a:\n- 1\n- b: []\nc: {}\n"),
        ({"k": "010", "l": "x: y", "m": "a\nb\n", "n": ""}, 'k: "010"\nl: \'x: y\'\nm: |\n  a\n  b\n"n": ""\n'),
        ({"a10": 1, "a2": 2, "_": 3, "B": 4}, "_: 3\nB: 4\na2: 2\na10: 1\n"),
        ([[1, 2], [[]]], "- - 1\n  - 2\n- - []\n"),
        ({"a\nb": [1]}, "? |-\n  a\n  b\n: - 1\n"),
        ("word " * 20, "'" + "word " * 16 + "word\n  word word word '\n"),
        (1.0, "1\n"),
        (1e21, "1e+21\n"),
    ],
)
def test_prints_what_go_prints(value: Any, text: str) -> None:
    assert goyaml.dump(value) == text


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, {"a": object()}, "\x7f"])
def test_refuses_to_print_what_yaml_cannot_hold(value: Any) -> None:
    with pytest.raises(YamlError):
        goyaml.dump(value)


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "[" * 10_000 + "]" * 10_000,
        "{a: " * 10_000,
        "- " * 10_000,
        "? " * 10_000,
        bomb(9),
        "a: " + "x" * 40_000_000,
        '"' + "x" * 10_000_000,
    ],
    ids=["lists", "closed lists", "maps", "blocks", "keys", "aliases", "long", "quoted"],
)
def test_hostile_texts_are_refused_quickly(text: str) -> None:
    start = time.process_time()
    with pytest.raises(YamlError):
        goyaml.load(text)
    assert time.process_time() - start < 10, "the bar is 0.1 s on a quiet machine"


pieces = st.sampled_from(
    [
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "<<: ",
        "!!int ",
        "|\n",
        "'",
        '"',
        "1",
        "~",
        ": ",
        "? ",
        "---\n",
        "#",
        "\t",
    ]
)


@given(st.lists(pieces).map("".join) | st.text() | st.binary())
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    with contextlib.suppress(YamlError):
        goyaml.load_all(text, strict=True)


@given(st.lists(pieces).map("".join))
def test_what_is_read_can_be_printed_and_read_again(text: str) -> None:
    with contextlib.suppress(YamlError):
        value = goyaml.load(text)
        assert goyaml.load(goyaml.dump(value)) == value


yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc: #-'\"\n\t1"), inner),
    max_leaves=20,
)


@given(yaml_values)
def test_what_is_printed_reads_back(value: Any) -> None:
    text = goyaml.dump(value)
    read = goyaml.load(text)
    assert read == value
    assert goyaml.dump(read) == text
