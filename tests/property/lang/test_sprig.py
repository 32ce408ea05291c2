"""sprig: whatever the arguments, a function answers or refuses with its own error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiphys.lang.gofmt import type_name
from tiphys.lang.govalues import CallError, Function, Int64, IntList, StringList
from tiphys.lang.moments import Time
from tiphys.lang.sprig import FUNCTIONS

small = st.integers(-70, 70)
any_int = small | st.sampled_from([1 << 40, (1 << 63) - 1, -(1 << 63)])
text = st.text(max_size=12) | st.sampled_from(
    ["a,b", "1.2.3", "{}", "[1]", "%41", "é\udc80", "2006-01-02", "$1", "(", "x:y"]
)
scalars = st.none() | st.booleans() | any_int | st.floats() | text | any_int.map(Int64)
values = st.recursive(
    scalars | st.just(StringList(["b", "a"])) | st.just(IntList([1])) | st.just(Time(0)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": text,
    "int": any_int,
    "uint32": st.integers(0, 9),
    "bool": st.booleans(),
    "float64": st.floats(),
    "interface {}": values,
    "[]interface {}": st.lists(values, max_size=3),
    "map[string]interface {}": st.dictionaries(text, values, max_size=3),
    "time.Time": st.integers(-(10**11), 10**11).map(Time),
    "*semver.Version": st.just(FUNCTIONS["semver"].call("1.2.3")),
    "sprig.certificate": st.none(),
}
COSTLY = {"derivePassword"}  # scrypt takes its tenth of a second


def arguments(one: Function) -> st.SearchStrategy[tuple[Any, ...]]:
    fixed = one.ins[:-1] if one.variadic else one.ins
    parts = [BY_TYPE[kind] for kind in fixed]
    if not one.variadic:
        return st.tuples(*parts)
    more = st.lists(BY_TYPE[one.ins[-1][2:]], max_size=3)
    return st.tuples(st.tuples(*parts), more).map(lambda both: (*both[0], *both[1]))


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - COSTLY))
@settings(max_examples=25)
@given(data=st.data())
def test_answers_or_refuses(name: str, data: st.DataObject) -> None:
    one = FUNCTIONS[name]
    try:
        result = one.call(*data.draw(arguments(one)))
    except CallError:
        return
    if one.out not in ("interface {}", "[]interface {}", "map[string]interface {}"):
        assert type_name(result) == one.out, (name, result)


@given(text)
def test_encodings_come_back(given_text: str) -> None:
    for code in ("b64", "b32"):
        assert FUNCTIONS[f"{code}dec"].call(FUNCTIONS[f"{code}enc"].call(given_text)) == given_text


@given(
    st.dictionaries(
        st.text(max_size=3), st.integers() | st.dictionaries(st.text(max_size=2), st.integers()), max_size=4
    )
)
def test_merging_a_map_into_an_empty_one_copies_it(mapping: dict[str, Any]) -> None:
    assert FUNCTIONS["merge"].call({}, mapping) == mapping
    assert FUNCTIONS["mergeOverwrite"].call({}, mapping) == mapping
