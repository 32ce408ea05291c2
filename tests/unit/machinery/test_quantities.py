"""Quantities people write, and those that are refused."""

import pytest

from tiphys.machinery.quantities import QuantityError, canonical, parse


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("0.5Gi", "512Mi"),
        ("1000", "1k"),
        ("1.5", "1500m"),
        ("1e3", "1e3"),
        ("+1", "+1"),
        ("1024Ki", "1Mi"),
        ("0.1n", "1n"),
    ],
)
def test_canonical_form(text: str, printed: str) -> None:
    assert canonical(text) == printed


@pytest.mark.parametrize("text", ["", "1K", "abc", "1GiB", "--", "1e99999999999", "１", "1" * 2000])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(QuantityError):
        parse(text)


def test_arithmetic_is_exact() -> None:
    assert str(parse("100m") + parse("0.9")) == "1"
    assert parse("1Gi").compare(parse("1G")) == 1
    assert parse("1500m").value() == 2
