"""What is too big to be walked."""

import pytest

from tiphys.lang.gosize import CHARACTERS_MAX, ELEMENTS_MAX, LEVELS_MAX, TooBig, refuse_size


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, 1, "x", [], {}, {"a": [1, (2, {"b": "c"})]}, nested(LEVELS_MAX - 1), [0] * ELEMENTS_MAX],
    ids=lambda value: str(value)[:20],
)
def test_ordinary_values_pass(value: object) -> None:
    refuse_size(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (nested(LEVELS_MAX), "recursion depth exceeded"),
        (nested(50_000), "recursion depth exceeded"),
        ([0] * (ELEMENTS_MAX + 1), "memory budget exceeded"),
        (["x" * 1_000_000] * (CHARACTERS_MAX // 1_000_000 + 1), "memory budget exceeded"),
    ],
    ids=["deep", "deeper", "long", "texts"],
)
def test_too_big(value: object, why: str) -> None:
    with pytest.raises(TooBig, match=why):
        refuse_size(value)


def test_a_list_that_holds_another_twice_again_and_again() -> None:
    value: object = "x"
    for _ in range(60):
        value = {"left": value, "right": value}
    with pytest.raises(TooBig):
        refuse_size(value)
