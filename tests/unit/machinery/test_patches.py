"""JSON patch and JSON merge patch; the recorded answers cover the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.machinery.patches import json as json_patch
from tiphys.machinery.patches import merge
from tiphys.machinery.sharedmap import SharedMap

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text("abc", max_size=2), VALUES, max_size=4)


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(DOCUMENTS, DOCUMENTS)
def test_merging_twice_changes_nothing_more(document, patch) -> None:
    once = merge.apply(document, patch)
    assert merge.apply(once, patch) is once


@given(DOCUMENTS.map(without_nulls), DOCUMENTS.map(without_nulls))
def test_a_created_merge_patch_makes_the_modified_document(original, modified) -> None:
    assert merge.apply(original, merge.create(original, modified)) == modified


def test_merge_shares_what_it_does_not_touch() -> None:
    document = {"a": {"x": 1}, "b": {"y": 2}}
    patched = merge.apply(document, {"a": {"x": 2}})
    assert patched["b"] is document["b"]
    assert document == {"a": {"x": 1}, "b": {"y": 2}}


def test_one_and_true_differ() -> None:
    assert merge.apply({"a": 1}, {"a": True}) == {"a": True}
    assert merge.apply({"a": 1}, {"a": True})["a"] is True


def test_merge_into_a_shared_map_names_only_what_changes() -> None:
    document = {"nodes": SharedMap.of({"n1": {"phase": "Running", "x": 1}, "n2": {"phase": "Running"}})}
    patched = merge.apply(document, {"nodes": {"n1": {"phase": "Succeeded", "x": None}, "n2": None, "n3": {"a": 1}}})
    assert patched["nodes"] == {"n1": {"phase": "Succeeded"}, "n3": {"a": 1}}
    assert len(document["nodes"]) == 2


@given(DOCUMENTS, st.text("abc", max_size=2), VALUES)
def test_json_patch_adds_and_removes(document, key, value) -> None:
    path = f"/{key}"
    added = json_patch.apply(document, [{"op": "add", "path": path, "value": value}])
    assert added[key] == value
    assert json_patch.apply(added, [{"op": "remove", "path": path}]) == {k: v for k, v in document.items() if k != key}


def test_json_patch_leaves_its_document_alone() -> None:
    document = {"a": {"b": [1, 2]}}
    json_patch.apply(document, [{"op": "add", "path": "/a/b/0", "value": 0}, {"op": "remove", "path": "/a/b/1"}])
    assert document == {"a": {"b": [1, 2]}}


def test_json_patch_is_bounded() -> None:
    operations = [{"op": "test", "path": "/a", "value": 1}] * (json_patch.OPERATIONS_MAX + 1)
    with pytest.raises(json_patch.TooManyOperations):
        json_patch.apply({"a": 1}, operations)


def test_json_patch_may_replace_the_whole_document() -> None:
    patch = [{"op": "replace", "path": "", "value": {"b": 2}}]
    assert json_patch.apply({"a": 1}, patch) == {"b": 2}
    with pytest.raises(json_patch.JsonPatchError, match="must be object or array"):
        json_patch.apply({"a": 1}, [{"op": "replace", "path": "", "value": 1}])
