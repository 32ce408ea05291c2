from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import gotime

MOMENT = datetime(2024, 2, 9, 3, 4, 5, 678900, tzinfo=timezone(timedelta(hours=-7)))


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (gotime.RFC3339, "2024-02-09T03:04:05-07:00"),
        (gotime.RFC3339_NANO, "2024-02-09T03:04:05.6789-07:00"),
        (gotime.ANSIC, "Fri Feb  9 03:04:05 2024"),
        ("Monday January 2 3PM .000 .00000", "Friday February 9 3AM .678 .67890"),
        ("002|__2|06|_2006", "040| 40|24|_2024"),
        ("Z0700 -07 -07:00:00 MST", "-0700 -07 -07:00:00 -07"),
        ("January Janet Monda", "February Janet Monda"),
        ("no elements", "no elements"),
    ],
)
def test_formats(layout: str, text: str) -> None:
    assert gotime.format(layout, MOMENT) == text


def test_zone_names() -> None:
    assert gotime.format("MST Z07:00", datetime(2024, 7, 1, tzinfo=UTC)) == "UTC Z"
    assert gotime.format("MST -0700", datetime(2024, 7, 1, tzinfo=ZoneInfo("America/New_York"))) == "EDT -0400"


def test_strftime() -> None:
    assert gotime.strftime("%Y-%m-%d %% %q%", MOMENT) == "2024-02-09 % %q%"


@pytest.mark.parametrize(
    ("layout", "value", "moment"),
    [
        ("2006-01-02", "2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("Jan _2 2006 3:04pm", "Feb  9 2024 12:30am", datetime(2024, 2, 9, 0, 30, tzinfo=UTC)),
        (gotime.RFC3339, "2024-02-09T03:04:05.25Z", datetime(2024, 2, 9, 3, 4, 5, 250000, tzinfo=UTC)),
        ("2006 002", "2024 060", datetime(2024, 2, 29, tzinfo=UTC)),
        # a name says nothing about the clock, which is UTC's; GMT+3 only shows it three hours later
        ("2006 MST", "2024 GMT+3", datetime(2024, 1, 1, 3, tzinfo=timezone(timedelta(hours=3)))),
    ],
)
def test_parses(layout: str, value: str, moment: datetime) -> None:
    assert gotime.parse(layout, value) == moment


@pytest.mark.parametrize(
    ("layout", "value", "text"),
    [
        ("2006-01-02", "2024-13-01", 'parsing time "2024-13-01": month out of range'),
        ("2006-01-02", "2023-02-29", 'parsing time "2023-02-29": day out of range'),
        ("2006-01-02", "x", 'parsing time "x" as "2006-01-02": cannot parse "x" as "2006"'),
        ("2006-01-02", "2024/01", 'parsing time "2024/01" as "2006-01-02": cannot parse "/01" as "-"'),
        ("2006", "2024 ", 'parsing time "2024 ": extra text: " "'),
    ],
)
def test_says_what_is_wrong(layout: str, value: str, text: str) -> None:
    with pytest.raises(gotime.GoTimeError) as refused:
        gotime.parse(layout, value)
    assert str(refused.value) == text


moments = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 (hypothesis wants naive bounds)
    timezones=st.builds(lambda m: timezone(timedelta(minutes=m)), st.integers(-839, 839)),
)


@given(moments)
def test_formatted_times_parse_back(moment: datetime) -> None:
    assert gotime.parse(gotime.RFC3339_NANO, gotime.format(gotime.RFC3339_NANO, moment)) == moment


fragments = st.sampled_from(["2006", "01", "Jan", "_2", "15", ".000", "Z07:00", "MST", "PM", " ", "x", "-07", "002"])


@given(st.lists(fragments).map("".join), st.text(alphabet="0123456789 JanPM+-:.Z") | st.text())
def test_nothing_but_its_own_error(layout: str, value: str) -> None:
    gotime.format(layout, MOMENT)
    try:
        gotime.parse(layout, value)
    except gotime.GoTimeError as err:
        assert str(err).startswith(("parsing time", "time zone offset"))
