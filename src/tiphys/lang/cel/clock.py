"""Timestamps and durations of CEL: reading, writing, and their parts. Nothing here reads a clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from tiphys.lang import durations
from tiphys.lang.cel.operators import as_timestamp
from tiphys.lang.cel.values import SECOND, Duration, Failure, Timestamp

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> Duration | None:
    try:
        return Duration(durations.parse(text))
    except durations.DurationError:
        return None


def parse_timestamp(text: str) -> Timestamp | Failure | None:
    """RFC 3339; None when it is not, a failure when it is out of range."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, _, sign, hours, minutes = match.groups()[6:]
    try:
        moment = datetime(max(year, 1), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    if year == 0:
        return Failure("timestamp overflow")
    offset = (int(hours) * 60 + int(minutes)) * (-60 if sign == "-" else 60) if sign else 0
    seconds = int((moment - _EPOCH) / timedelta(seconds=1)) - offset
    return as_timestamp(seconds * SECOND + int((fraction or "").ljust(9, "0")[:9]))


def timestamp_text(value: Timestamp) -> str:
    """As Go's RFC3339Nano writes it."""
    seconds, ns = divmod(value.ns, SECOND)
    moment = _EPOCH + timedelta(seconds=seconds)
    fraction = f".{ns:09d}".rstrip("0") if ns else ""
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}{fraction}Z"


def duration_text(value: Duration) -> str:
    """Seconds with as many decimals as needed: ``5400s``, ``1.5s``."""
    sign, ns = ("-", -value.ns) if value.ns < 0 else ("", value.ns)
    seconds, rest = divmod(ns, SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{sign}{seconds}{fraction}s"


def part(read: Callable[[datetime, int], int]) -> Callable[..., Any]:
    """An accessor of a timestamp, with an optional time zone: a name or an offset (``-08:00``)."""

    def accessor(value: Timestamp, zone: str = "UTC") -> int | Failure:
        found = _zone(zone)
        if isinstance(found, Failure):
            return found
        seconds, ns = divmod(value.ns, SECOND)
        try:
            return read((_EPOCH + timedelta(seconds=seconds)).astimezone(found), ns)
        except OverflowError:
            return Failure("timestamp overflow")

    return accessor


def _zone(name: str) -> tzinfo | Failure:
    if name in ("", "UTC"):
        return UTC
    match = _OFFSET.fullmatch(name)
    if match is not None:
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes >= 24 * 60:
            return Failure(f"unknown time zone {name}")
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return Failure(f"unknown time zone {name}")


PARTS: dict[str, Callable[..., Any]] = {
    "getFullYear": part(lambda at, ns: at.year),
    "getMonth": part(lambda at, ns: at.month - 1),
    "getDate": part(lambda at, ns: at.day),
    "getDayOfMonth": part(lambda at, ns: at.day - 1),
    "getDayOfWeek": part(lambda at, ns: at.isoweekday() % 7),
    "getDayOfYear": part(lambda at, ns: at.timetuple().tm_yday - 1),
    "getHours": part(lambda at, ns: at.hour),
    "getMinutes": part(lambda at, ns: at.minute),
    "getSeconds": part(lambda at, ns: at.second),
    "getMilliseconds": part(lambda at, ns: ns // 1_000_000),
}
DURATION_UNITS = {
    "getHours": 3600 * SECOND,
    "getMinutes": 60 * SECOND,
    "getSeconds": SECOND,
    "getMilliseconds": 1_000_000,
}


def whole_units(unit: int) -> Callable[[Duration], int]:
    """How many whole units a duration has, cut towards zero."""
    return lambda value: abs(value.ns) // unit * (-1 if value.ns < 0 else 1)
