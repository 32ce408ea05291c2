"""Helm's ``--set`` against Helm itself (the SDK wheel)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import strvals

helm_python = pytest.importorskip("helm_python", reason="the Helm SDK wheel is not installed")

# Without empty values: Helm loses some of them at the very end of an expression, we keep them.
KEYS = st.from_regex(r"[ab](\.[ab]|\[[0-2]\]){0,3}", fullmatch=True)
VALUES = st.from_regex(r"[x0-9tfnrue\-+]{1,6}|true|false|null|\{[x1]{1,2}(,[x1]{1,2}){0,2}\}|a\\,b", fullmatch=True)


@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=4))
def test_assignments_do_what_helm_does(pairs: list[tuple[str, str]]) -> None:
    expression = ",".join(f"{key}={value}" for key, value in pairs)
    try:
        expected: Any = helm_python.parse_set_string(expression)
    except helm_python.HelmError:
        expected = None
    found: dict[str, Any] = {}
    try:
        strvals.assign(found, expression)
    except strvals.StrvalsError:
        assert expected is None, expression
    else:
        assert found == expected, expression


def test_limits() -> None:
    nested = ("a" + "[0]" * 3000 + "=x", "a" + "[0].a" * 3000 + "=x")
    for expression in ("a[65537]=x", "a[-1]=x", "a[+-5]=x", f"a[{'1' * 5000}]=x", ".".join("a" * 32) + "=x", *nested):
        with pytest.raises(strvals.StrvalsError):
            strvals.assign({}, expression)


def test_a_number_with_more_digits_than_python_reads_is_text() -> None:
    found: dict[str, Any] = {}
    strvals.assign(found, f"a={'1' * 5000}")
    assert found == {"a": "1" * 5000}
