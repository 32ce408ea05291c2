"""Moments, spans, zones, months and weekdays as Go's time package has them.

The integers among them are subclasses of int that know their Go type, so that arithmetic and printing treat them as
Go does. Days are counted by the civil calendar run backwards without limit (there is a year 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC as _UTC
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tiphys.lang import durations

SECONDS_PER_DAY = 86_400
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

_NANOSECONDS_MAX = (1 << 63) - 1
_NANOSECONDS_MIN = -(1 << 63)
_NANOS = 1_000_000_000
_YEAR_FIRST, _YEAR_LAST = 2, 9998  # what zoneinfo is asked about: datetime's range, a year inside


class Duration(int):
    """A span in nanoseconds (an int64, as in Go)."""

    __slots__ = ()
    go_type = "time.Duration"

    def go_string(self) -> str:
        return durations.format(int(self))

    def __str__(self) -> str:
        return self.go_string()


class Month(int):
    """1 to 12."""

    __slots__ = ()
    go_type = "time.Month"

    def go_string(self) -> str:
        return MONTHS[self - 1] if 1 <= self <= 12 else f"%!Month({int(self)})"


class Weekday(int):
    """0 (Sunday) to 6."""

    __slots__ = ()
    go_type = "time.Weekday"

    def go_string(self) -> str:
        return DAYS[self] if 0 <= self <= 6 else f"%!Weekday({int(self)})"


@dataclass(frozen=True)
class Location:
    """A zone: ``offset`` seconds east of UTC under one ``name``, or the rules of a named zone."""

    name: str
    offset: int = 0
    rules: tzinfo | None = field(default=None, compare=False)
    go_type = "*time.Location"

    def at(self, unix: int) -> tuple[str, int]:
        """``(abbreviation, seconds east of UTC)`` at that moment."""
        if self.rules is None:
            return ("UTC" if self is LOCAL else self.name), self.offset
        moment = _clamped(unix).astimezone(self.rules)
        offset = moment.utcoffset() or timedelta()
        return moment.tzname() or "", int(offset.total_seconds())

    def is_dst(self, unix: int) -> bool:
        """Whether daylight saving time is in effect at that moment."""
        return self.rules is not None and bool(_clamped(unix).astimezone(self.rules).dst())

    def go_string(self) -> str:
        return self.name


UTC = Location("UTC")
LOCAL = Location("Local")
"""Where the original's controllers run: UTC by another name."""


def _clamped(unix: int) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=_UTC)
    first = datetime(_YEAR_FIRST, 1, 1, tzinfo=_UTC)
    last = datetime(_YEAR_LAST, 1, 1, tzinfo=_UTC)
    low, high = int((first - epoch).total_seconds()), int((last - epoch).total_seconds())
    return epoch + timedelta(seconds=min(max(unix, low), high))


@lru_cache(maxsize=256)
def load_location(name: str) -> Location:
    """time.LoadLocation; "" and UTC are UTC, and so is Local (controllers run in UTC). Raises LookupError."""
    if name in ("", "UTC"):
        return UTC
    if name == "Local":
        return LOCAL
    if ".." in name or name[0] in "/\\":
        raise LookupError("time: invalid location name")
    try:
        return Location(name, rules=ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError, UnicodeError) as err:
        raise LookupError(f"unknown time zone {name}") from err


@dataclass(frozen=True)
class Time:
    """A moment: ``unix`` seconds, ``nanos`` 0…999999999, and the zone it is shown in."""

    unix: int
    nanos: int = 0
    location: Location = UTC
    go_type = "time.Time"

    def civil(self) -> tuple[int, int, int]:
        """``(year, month, day)`` in its zone."""
        return civil_from_days((self.unix + self.location.at(self.unix)[1]) // SECONDS_PER_DAY)

    def clock(self) -> tuple[int, int, int]:
        """``(hour, minute, second)`` in its zone."""
        seconds = (self.unix + self.location.at(self.unix)[1]) % SECONDS_PER_DAY
        return seconds // 3600, seconds // 60 % 60, seconds % 60

    def weekday(self) -> Weekday:
        days = (self.unix + self.location.at(self.unix)[1]) // SECONDS_PER_DAY
        return Weekday((days + 4) % 7)

    def yearday(self) -> int:
        year, month, day = self.civil()
        return days_from_civil(year, month, day) - days_from_civil(year, 1, 1) + 1

    def iso_week(self) -> tuple[int, int]:
        """``(year, week)`` by ISO 8601: the week belongs to the year of its Thursday."""
        days = (self.unix + self.location.at(self.unix)[1]) // SECONDS_PER_DAY
        thursday = days - (days + 3) % 7 + 3
        year = civil_from_days(thursday)[0]
        return year, (thursday - days_from_civil(year, 1, 1)) // 7 + 1

    def add(self, span: int) -> Time:
        carry, nanos = divmod(self.nanos + int(span), _NANOS)
        return Time(self.unix + carry, nanos, self.location)

    def sub(self, other: Time) -> Duration:
        """The span from ``other`` to this moment, kept within what an int64 holds."""
        span = (self.unix - other.unix) * _NANOS + self.nanos - other.nanos
        return Duration(min(max(span, _NANOSECONDS_MIN), _NANOSECONDS_MAX))

    def in_location(self, location: Location) -> Time:
        return Time(self.unix, self.nanos, location)

    def instant(self) -> tuple[int, int]:
        """What decides equality and order."""
        return self.unix, self.nanos

    def go_string(self) -> str:
        from tiphys.lang.moments.layouts import format_time

        return format_time(self, "2006-01-02 15:04:05.999999999 -0700 MST")


def date(year: int, month: int, day: int, seconds: int = 0, nanos: int = 0, location: Location = UTC) -> Time:
    """time.Date: out-of-range months and days carry over; ``seconds`` is the time of day."""
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    local = (days_from_civil(year, month, 1) + day - 1) * SECONDS_PER_DAY + seconds
    carry, nanos = divmod(nanos, _NANOS)
    return Time(_to_unix(local + carry, location), nanos, location)


def _to_unix(local: int, location: Location) -> int:
    # Go's guess: the offset before the moment decides, unless the other side of a change fits better.
    offset = location.at(local)[1]
    if offset == 0 and location.rules is None:
        return local
    unix = local - offset
    again = location.at(unix)[1]
    if again != offset:
        other = local - again
        return other if location.at(other)[1] == again else unix
    return unix


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a date of the proleptic Gregorian calendar."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def civil_from_days(days: int) -> tuple[int, int, int]:
    """The inverse of :func:`days_from_civil`."""
    days += 719_468
    era = days // 146_097
    of_era = days - era * 146_097
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + (3 if shifted < 10 else -9)
    return year_of_era + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


def days_in(month: int, year: int) -> int:
    """Days of that month."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
