import contextlib
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import cron

MONDAY = datetime(2024, 1, 15, 10, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "due"),
    [
        ("*/15 * * * *", datetime(2024, 1, 15, 10, 15, tzinfo=UTC)),
        ("0 0 1 feb ?", datetime(2024, 2, 1, tzinfo=UTC)),
        ("0 0 20 * SUN", datetime(2024, 1, 20, tzinfo=UTC)),
        ("@yearly", datetime(2025, 1, 1, tzinfo=UTC)),
        ("@every 1m30.9s", datetime(2024, 1, 15, 10, 9, tzinfo=UTC)),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", datetime(2024, 1, 16, 0, 0, tzinfo=UTC)),
        ("0 0 30 2 *", None),
        (", * * * *", None),
    ],
)
def test_next(spec: str, due: datetime | None) -> None:
    assert cron.parse(spec).next(MONDAY) == due


def test_the_gap_is_skipped_and_the_overlap_comes_twice() -> None:
    new_york = ZoneInfo("America/New_York")
    schedule = cron.parse(cron.with_zone("30 1,2 * * *", "America/New_York"))
    spring = schedule.next(datetime(2024, 3, 10, 1, 30, tzinfo=new_york))
    assert spring == datetime(2024, 3, 11, 1, 30, tzinfo=new_york)
    first = schedule.next(datetime(2024, 11, 3, 0, 0, tzinfo=new_york))
    assert first is not None
    assert first.isoformat() == "2024-11-03T01:30:00-04:00"
    assert str(schedule.next(first)) == "2024-11-03 01:30:00-05:00"


def test_a_zone_that_skips_a_day_does_not_hang() -> None:
    apia = ZoneInfo("Pacific/Apia")
    due = cron.parse("CRON_TZ=Pacific/Apia 0 2 * * SUN").next(datetime(2011, 12, 29, 12, tzinfo=apia))
    assert due == datetime(2012, 1, 1, 2, tzinfo=apia)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("* * * *", "expected exactly 5 fields, found 4"),
        ("60 * * * *", r"end of range \(60\) above maximum \(59\): 60"),
        ("* * * * 7", "above maximum"),
        ("*/0 * * * *", "step of range should be a positive number"),
        ("5-1 * * * *", "beyond end of range"),
        ("L * * * *", 'parsing "L": invalid syntax'),
        ("@fortnightly", "unrecognized descriptor"),
        ("@every soon", "failed to parse duration"),
        ("TZ=Mars/Base * * * * *", "unknown time zone Mars/Base"),
        ("TZ=UTC", "no schedule after the time zone"),
        ("CRON_TZ=../../etc/passwd * * * * *", "unknown time zone"),
        ("* " * 10_000, "longer than"),
    ],
)
def test_wrong_schedules(spec: str, message: str) -> None:
    with pytest.raises(cron.CronError, match=message):
        cron.parse(spec)


@given(st.text(alphabet="0123456789*/,-? @TZ=", max_size=20) | st.text())
def test_any_text_is_read_or_refused(spec: str) -> None:
    with contextlib.suppress(cron.CronError):
        cron.parse(spec).next(MONDAY)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.just("*") | st.integers(low, high).map(str)


@given(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6), st.datetimes(timezones=st.just(UTC)))
def test_what_is_due_matches_and_comes_soon_enough(
    minute: str, hour: str, day: str, month: str, week_day: str, after: datetime
) -> None:
    start = time.process_time()
    due = cron.parse(f"{minute} {hour} {day} {month} {week_day}").next(after)
    assert time.process_time() - start < 10  # a search without end takes minutes
    if due is not None:
        assert due > after
        assert minute in ("*", str(due.minute))
        assert hour in ("*", str(due.hour))
        assert month in ("*", str(due.month))
        either = day in ("*", str(due.day)), week_day in ("*", str(due.isoweekday() % 7))
        assert all(either) if "*" in (day, week_day) else any(either)
