"""The persistent map under a workflow's nodes."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tiphys.machinery.sharedmap import ABSENT, SharedMap

KEYS = st.sampled_from([f"k{n}" for n in range(40)])
CHANGES = st.dictionaries(KEYS, st.one_of(st.just(ABSENT), st.integers(0, 3)), max_size=12)


def applied(model: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    new = {**model, **changes}
    return {key: value for key, value in new.items() if value is not ABSENT}


@given(st.dictionaries(KEYS, st.integers(0, 3)), st.lists(CHANGES, max_size=8))
def test_behaves_like_a_dict_and_never_changes_its_past(start, steps) -> None:
    maps, models = [SharedMap.of(start)], [dict(start)]
    for changes in steps:
        maps.append(maps[-1].changed(changes))
        models.append(applied(models[-1], changes))
    for shared, model in zip(maps, models, strict=True):
        assert dict(shared) == model
        assert len(shared) == len(model)
        assert shared == model
        assert model == shared


@given(st.dictionaries(KEYS, st.integers(0, 3)), st.dictionaries(KEYS, st.integers(0, 3)))
def test_differences_lead_from_one_to_the_other(old, new) -> None:
    before = SharedMap.of(old)
    assert before.changed(before.differences(SharedMap.of(new))) == new
    assert before.changed(before.differences(new)) == new


def test_no_change_is_the_same_map() -> None:
    shared = SharedMap.of({"a": {"x": 1}})
    assert shared.changed({"a": {"x": 1}, "b": ABSENT}) is shared


def test_a_change_shares_the_rest() -> None:
    shared = SharedMap.of({f"k{n}": {"n": n} for n in range(5_000)})
    changed = shared.changed({"k7": {"n": -1}})
    assert changed["k8"] is shared["k8"]
    assert shared["k7"] == {"n": 7}
    assert shared.differences(changed) == {"k7": {"n": -1}}


def test_bytes_are_parsed_when_used() -> None:
    shared = SharedMap.of({"a": orjson.dumps({"x": 1})})
    assert shared["a"] == {"x": 1}
    assert shared["a"] is shared["a"]


def test_grows_by_spreading() -> None:
    shared = SharedMap.of({})
    for n in range(3_000):
        shared = shared.changed({f"k{n}": n})
    assert len(shared._buckets) > 20
    assert dict(shared) == {f"k{n}": n for n in range(3_000)}
