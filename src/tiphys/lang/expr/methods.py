"""The methods that expressions may call: those of times, spans, months, weekdays and zones.

A method is a type for the checker and a function for running. Only what gives a value is here; methods with three
results are known, so that calling them is refused for the right reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tiphys.lang import durations
from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.types import (
    BOOL,
    BYTES,
    DURATION,
    FLOAT,
    INT,
    INT64,
    LOCATION,
    MONTH,
    STRING,
    TIME,
    WEEKDAY,
    Type,
    function,
)
from tiphys.lang.govalues import Int64, wrap64
from tiphys.lang.moments import LOCAL, UTC, Duration, Month, Time, date, format_time

_NANOS = 1_000_000_000
_ZERO_UNIX = -62_135_596_800  # January 1 of the year 1
_RFC3339_NANO = "2006-01-02T15:04:05.999999999Z07:00"


class Method(NamedTuple):
    type: Type
    call: Callable[..., Any]


def _method(call: Callable[..., Any], out: Type, *ins: Type, results: int = 1) -> Method:
    return Method(function(ins, out, results=results), call)


def json_text(moment: Time, method: str = "MarshalJSON") -> str:
    """What a moment is in JSON, without quotes. Panics outside the years that RFC 3339 can write."""
    if not 0 <= moment.civil()[0] <= 9999:
        raise Panic(f"Time.{method}: year outside of range [0,9999]")
    return format_time(moment, _RFC3339_NANO)


def _add_date(moment: Time, years: int, months: int, days: int) -> Time:
    year, month, day = moment.civil()
    hour, minute, second = moment.clock()
    seconds = (hour * 60 + minute) * 60 + second
    return date(year + years, month + months, day + days, seconds, moment.nanos, moment.location)


def _since_zero(moment: Time) -> int:
    return (moment.unix - _ZERO_UNIX) * _NANOS + moment.nanos


def _truncate_time(moment: Time, span: int) -> Time:
    return moment.add(-(_since_zero(moment) % span)) if span > 0 else moment


def _round_time(moment: Time, span: int) -> Time:
    if span <= 0:
        return moment
    rest = _since_zero(moment) % span
    return moment.add(-rest if rest * 2 < span else span - rest)


def _local(moment: Time) -> Time:
    return moment.in_location(LOCAL)


def _compare(moment: Time, other: Time) -> int:
    return (moment.instant() > other.instant()) - (moment.instant() < other.instant())


def _go_string(moment: Time) -> str:
    year, month, day = moment.civil()
    hour, minute, second = moment.clock()
    known = "time.UTC" if moment.location is UTC else "time.Local" if moment.location is LOCAL else ""
    zone = known or f'time.Location("{moment.location.name}")'
    shown = f"{year}, time.{Month(month).go_string()}, {day}, {hour}, {minute}, {second}, {moment.nanos}, {zone}"
    return f"time.Date({shown})"


_TIME: dict[str, Method] = {
    "Add": _method(lambda t, d: t.add(d), TIME, DURATION),
    "AddDate": _method(_add_date, TIME, INT, INT, INT),
    "After": _method(lambda t, u: t.instant() > u.instant(), BOOL, TIME),
    "Before": _method(lambda t, u: t.instant() < u.instant(), BOOL, TIME),
    "Clock": _method(lambda t: t.clock()[0], INT, results=3),
    "Compare": _method(_compare, INT, TIME),
    "Date": _method(lambda t: t.civil()[0], INT, results=3),
    "Day": _method(lambda t: t.civil()[2], INT),
    "Equal": _method(lambda t, u: t.instant() == u.instant(), BOOL, TIME),
    "Format": _method(format_time, STRING, STRING),
    "GoString": _method(_go_string, STRING),
    "Hour": _method(lambda t: t.clock()[0], INT),
    "ISOWeek": _method(lambda t: t.iso_week()[0], INT, results=2),
    "In": _method(lambda t, zone: t.in_location(zone), TIME, LOCATION),
    "IsDST": _method(lambda t: t.location.is_dst(t.unix), BOOL),
    "IsZero": _method(lambda t: t.instant() == (_ZERO_UNIX, 0), BOOL),
    "Local": _method(_local, TIME),
    "Location": _method(lambda t: t.location, LOCATION),
    "MarshalJSON": _method(lambda t: f'"{json_text(t)}"'.encode(), BYTES, results=2),
    "MarshalText": _method(lambda t: json_text(t, "MarshalText").encode(), BYTES, results=2),
    "Minute": _method(lambda t: t.clock()[1], INT),
    "Month": _method(lambda t: Month(t.civil()[1]), MONTH),
    "Nanosecond": _method(lambda t: t.nanos, INT),
    "Round": _method(_round_time, TIME, DURATION),
    "Second": _method(lambda t: t.clock()[2], INT),
    "String": _method(lambda t: t.go_string(), STRING),
    "Sub": _method(lambda t, u: t.sub(u), DURATION, TIME),
    "Truncate": _method(_truncate_time, TIME, DURATION),
    "UTC": _method(lambda t: t.in_location(UTC), TIME),
    "Unix": _method(lambda t: Int64(t.unix), INT64),
    "UnixMicro": _method(lambda t: Int64(wrap64(t.unix * 1_000_000 + t.nanos // 1_000)), INT64),
    "UnixMilli": _method(lambda t: Int64(wrap64(t.unix * 1_000 + t.nanos // 1_000_000)), INT64),
    "UnixNano": _method(lambda t: Int64(wrap64(t.unix * _NANOS + t.nanos)), INT64),
    "Weekday": _method(lambda t: t.weekday(), WEEKDAY),
    "Year": _method(lambda t: t.civil()[0], INT),
    "YearDay": _method(lambda t: t.yearday(), INT),
    "Zone": _method(lambda t: t.location.at(t.unix)[0], STRING, results=2),
}


def _whole(span: int, unit: int) -> Int64:
    return Int64(-(-span // unit) if span < 0 else span // unit)


def _in_unit(span: int, unit: int) -> float:
    whole = int(_whole(span, unit))
    return float(whole) + float(span - whole * unit) / unit


_DURATION: dict[str, Method] = {
    "Abs": _method(lambda d: Duration(min(abs(d), (1 << 63) - 1)), DURATION),
    "Hours": _method(lambda d: _in_unit(d, 3_600 * _NANOS), FLOAT),
    "Microseconds": _method(lambda d: _whole(d, 1_000), INT64),
    "Milliseconds": _method(lambda d: _whole(d, 1_000_000), INT64),
    "Minutes": _method(lambda d: _in_unit(d, 60 * _NANOS), FLOAT),
    "Nanoseconds": _method(lambda d: Int64(d), INT64),
    "Round": _method(lambda d, unit: Duration(durations.round_to(d, unit)), DURATION, DURATION),
    "Seconds": _method(lambda d: _in_unit(d, _NANOS), FLOAT),
    "String": _method(lambda d: d.go_string(), STRING),
    "Truncate": _method(lambda d, unit: Duration(durations.truncate(d, unit)), DURATION, DURATION),
}

METHODS: dict[str, dict[str, Method]] = {
    TIME.name: _TIME,
    DURATION.name: _DURATION,
    MONTH.name: {"String": _method(lambda m: m.go_string(), STRING)},
    WEEKDAY.name: {"String": _method(lambda w: w.go_string(), STRING)},
    LOCATION.name: {"String": _method(lambda zone: zone.name, STRING)},
}
