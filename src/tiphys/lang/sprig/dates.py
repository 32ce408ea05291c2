"""Dates, formatted and read by Go's layouts (``2006-01-02``). ``Local`` is UTC, as in the original's containers.

What asks for the present time gets it from the `Sources` given to ``tiphys.lang.sprig.functions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.lang import durations
from tiphys.lang.govalues import CallError, Int32, Int64, parse_int
from tiphys.lang.moments import Duration, Time, TimeError, date, format_time, load_location, parse

Now = Callable[[], Time]

_SECOND = 1_000_000_000
_ROUND_UNITS = (
    (365 * 86_400 * _SECOND, "y"),
    (30 * 86_400 * _SECOND, "mo"),
    (86_400 * _SECOND, "d"),
    (3_600 * _SECOND, "h"),
    (60 * _SECOND, "m"),
    (_SECOND, "s"),
)
_ZERO = date(1, 1, 1)
"""Go's zero time, which toDate gives for what it cannot read."""


def moment(value: Any, now: Now) -> Time:
    """A time as it is, whole numbers as seconds since 1970, and the present for anything else."""
    if isinstance(value, Time):
        return value
    if type(value) in (int, Int64, Int32):
        return Time(int(value))
    return now()


def date_in_zone(layout: str, value: Any, zone: str, now: Now) -> str:
    try:
        location = load_location("UTC" if zone == "Local" else zone)
    except LookupError:
        location = load_location("UTC")
    return format_time(moment(value, now).in_location(location), layout)


def date_modify(span: str, value: Time) -> Time:
    try:
        return value.add(durations.parse(span))
    except ValueError:
        return value


def must_date_modify(span: str, value: Time) -> Time:
    try:
        return value.add(durations.parse(span))
    except ValueError as err:
        raise CallError(str(err)) from None


def date_ago(value: Any, now: Now) -> str:
    return Duration(durations.round_to(now().sub(moment(value, now)), _SECOND)).go_string()


def duration(seconds: Any) -> str:
    """Text is read as seconds, an int64 is seconds, anything else (an int too) is none."""
    count = 0
    if isinstance(seconds, str):
        try:
            count = parse_int(seconds)
        except ValueError as err:
            count = 0 if "syntax" in str(err) else (-1 << 63 if seconds.startswith("-") else (1 << 63) - 1)
    elif type(seconds) is Int64:
        count = int(seconds)
    span = (count * _SECOND + (1 << 63)) % (1 << 64) - (1 << 63)
    return Duration(span).go_string()


def duration_round(value: Any, now: Now) -> str:
    """The largest unit that is full: ``2h``, ``3mo``."""
    span = 0
    if isinstance(value, str):
        try:
            span = durations.parse(value)
        except ValueError:
            span = 0
    elif type(value) is Int64:
        span = int(value)
    elif isinstance(value, Time):
        span = now().sub(value)
    return next((f"{abs(span) // size}{unit}" for size, unit in _ROUND_UNITS if abs(span) > size), "0s")


def must_to_date(layout: str, text: str) -> Time:
    try:
        return parse(layout, text)
    except TimeError as err:
        raise CallError(str(err)) from None


def to_date(layout: str, text: str) -> Time:
    try:
        return parse(layout, text)
    except TimeError:
        return _ZERO


def table(now: Now) -> dict[str, tuple[str, Callable[..., Any]]]:
    """The functions, with the clock that ``now`` is."""

    def in_zone(layout: str, value: Any, zone: str) -> str:
        return date_in_zone(layout, value, zone, now)

    found: dict[str, tuple[str, Callable[..., Any]]] = {
        "ago": ("any -> string", lambda value: date_ago(value, now)),
        "date": ("string, any -> string", lambda layout, value: date_in_zone(layout, value, "Local", now)),
        "dateInZone": ("string, any, string -> string", in_zone),
        "dateModify": ("string, time.Time -> time.Time", date_modify),
        "mustDateModify": ("string, time.Time -> time.Time", must_date_modify),
        "duration": ("any -> string", duration),
        "durationRound": ("any -> string", lambda value: duration_round(value, now)),
        "htmlDate": ("any -> string", lambda value: date_in_zone("2006-01-02", value, "Local", now)),
        "htmlDateInZone": ("any, string -> string", lambda value, zone: in_zone("2006-01-02", value, zone)),
        "now": ("-> time.Time", now),
        "toDate": ("string, string -> time.Time", to_date),
        "mustToDate": ("string, string -> time.Time", must_to_date),
        "unixEpoch": ("time.Time -> string", lambda value: str(value.unix)),
    }
    for old, new in (
        ("date_in_zone", "dateInZone"),
        ("date_modify", "dateModify"),
        ("must_date_modify", "mustDateModify"),
    ):
        found[old] = found[new]
    return found
