"""Go's moments: years that datetime lacks, nanoseconds, zones, layouts both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang.moments import Duration, Time, TimeError, format_time, load_location, parse
from tiphys.lang.moments.values import civil_from_days, date, days_from_civil

RFC3339_NANO = "2006-01-02T15:04:05.999999999Z07:00"
moments = st.builds(Time, st.integers(-62_167_219_200, 253_402_300_799), st.integers(0, 999_999_999))


@given(moments)
def test_what_is_printed_reads_back(moment: Time) -> None:
    assert parse(RFC3339_NANO, format_time(moment, RFC3339_NANO)) == moment


@given(st.integers(-1_000_000, 4_000_000))
def test_days_and_dates(days: int) -> None:
    assert days_from_civil(*civil_from_days(days)) == days


@given(moments, st.integers(-(10**17), 10**17))
def test_spans_add_up(moment: Time, span: int) -> None:
    assert moment.add(span).sub(moment) == span


def test_months_beyond_twelve_and_days_beyond_the_month_roll_over() -> None:
    assert date(2023, 14, 31) == date(2024, 3, 2)
    assert date(2024, 3, 0) == date(2024, 2, 29)


def test_weeks_and_days() -> None:
    moment = date(2024, 12, 30)
    assert (moment.iso_week(), moment.yearday(), int(moment.weekday())) == ((2025, 1), 365, 1)


def test_zones() -> None:
    berlin = load_location("Europe/Berlin")
    assert format_time(date(2024, 7, 1).in_location(berlin), "15:04 MST -0700") == "02:00 CEST +0200"
    assert format_time(date(2024, 1, 1).in_location(berlin), "15:04 MST Z07:00") == "01:00 CET +01:00"
    with pytest.raises(LookupError, match="unknown time zone Nowhere/Land"):
        load_location("Nowhere/Land")


@pytest.mark.parametrize(
    ("layout", "shown"),
    [
        ("2006-01-02", "2024-03-05"),
        ("Mon Jan _2 15:04:05 2006", "Tue Mar  5 14:07:09 2024"),
        ("Monday, 2 January 06 3:4:5 PM pm", "Tuesday, 5 March 24 2:7:9 PM pm"),
        ("002 __2", "065  65"),
        ("05.000 .999 ,000000000", "09.120 .12 ,120000000"),
    ],
)
def test_layouts(layout: str, shown: str) -> None:
    assert format_time(date(2024, 3, 5, 14 * 3600 + 7 * 60 + 9, 120_000_000), layout) == shown


@pytest.mark.parametrize(
    ("layout", "text", "complaint"),
    [
        ("2006-01-02", "2024-13-01", 'parsing time "2024-13-01": month out of range'),
        ("2006-01-02", "2024-02-30", 'parsing time "2024-02-30": day out of range'),
        ("2006-01-02", "x", 'parsing time "x" as "2006-01-02": cannot parse "x" as "2006"'),
        ("2006", "2024x", 'parsing time "2024x": extra text: "x"'),
        ("15:04", "24:00", 'parsing time "24:00": hour out of range'),
    ],
)
def test_complaints(layout: str, text: str, complaint: str) -> None:
    with pytest.raises(TimeError) as caught:
        parse(layout, text)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (90 * 10**9, "1m30s"),
        (-3_600 * 10**9, "-1h0m0s"),
        (-(2**63), "-2562047h47m16.854775808s"),
    ],
)
def test_spans(span: int, shown: str) -> None:
    assert Duration(span).go_string() == shown
