"""Go's floats where Python's differ: no exceptions, signed zeros, infinities."""

import math

import pytest

from tiphys.lang.gomath import divide, power, remainder

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [(1.0, 0.0, INF), (-1.0, 0.0, -INF), (1.0, -0.0, -INF), (0.0, 0.0, NAN), (1.0, 4.0, 0.25), (INF, INF, NAN)],
)
def test_divide(x: float, y: float, value: float) -> None:
    assert repr(divide(x, y)) == repr(value)


@pytest.mark.parametrize(
    ("x", "y", "value"), [(7.0, 3.0, 1.0), (-7.0, 3.0, -1.0), (1.0, 0.0, NAN), (INF, 2.0, NAN), (5.0, INF, 5.0)]
)
def test_remainder(x: float, y: float, value: float) -> None:
    assert repr(remainder(x, y)) == repr(value)


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        (2.0, 10.0, 1024.0),
        (2.0, -1.0, 0.5),
        (2.0, 1e308, INF),
        (0.5, 1e308, 0.0),
        (-2.0, 3.0, -8.0),
        (-2.0, 0.5, NAN),
        (0.0, -1.0, INF),
        (-0.0, -3.0, -INF),
        (-0.0, 3.0, -0.0),
        (1.0, NAN, 1.0),
        (NAN, 0.0, 1.0),
        (-1.0, INF, 1.0),
        (9.0, 0.5, 3.0),
        (0.0, -0.5, INF),
    ],
)
def test_power(x: float, y: float, value: float) -> None:
    assert repr(power(x, y)) == repr(value)
