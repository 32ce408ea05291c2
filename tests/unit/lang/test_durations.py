import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import durations
from tiphys.lang.durations import HOUR, INT64_MAX, INT64_MIN, MINUTE, SECOND

int64 = st.integers(INT64_MIN, INT64_MAX)


@given(int64)
def test_printed_durations_read_back(ns: int) -> None:
    assert durations.parse(durations.format(ns)) == ns


@given(st.text(alphabet="0123456789.+-hmsnuµd \x00é", max_size=12) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (durations.parse, durations.parse_argo, durations.parse_since):
        with contextlib.suppress(durations.DurationError):
            assert INT64_MIN <= read(text) <= INT64_MAX


@pytest.mark.parametrize("text", ["1" * 10_000_000, "1h" * 5_000_000, "9" * 10_000 + "h"])
def test_long_texts_are_refused_at_once(text: str) -> None:
    for read in (durations.parse, durations.parse_argo, durations.parse_since):
        with pytest.raises(durations.DurationError) as refused:
            read(text)
        assert len(str(refused.value)) < 3_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1h30m", HOUR + 30 * MINUTE), ("-1.5s", -3 * SECOND // 2), ("0", 0), (".5m", 30 * SECOND), ("1h1h", 2 * HOUR)],
)
def test_reads_go_durations(text: str, ns: int) -> None:
    assert durations.parse(text) == ns


def test_only_argo_reads_bare_integers_and_only_flags_read_days() -> None:
    assert durations.parse_argo("90") == 90 * SECOND
    assert durations.parse_since("2d") == 48 * HOUR
    with pytest.raises(durations.DurationError, match="missing unit"):
        durations.parse("90")
    with pytest.raises(durations.DurationError, match='unknown unit "d"'):
        durations.parse_argo("2d")


@given(int64, st.integers(1, HOUR))
def test_rounding_stays_within_a_unit(ns: int, unit: int) -> None:
    cut = durations.truncate(ns, unit)
    assert abs(cut) <= abs(ns) < abs(cut) + unit
    assert abs(durations.round_to(ns, unit) - ns) * 2 <= unit or durations.round_to(ns, unit) in (INT64_MIN, INT64_MAX)
