"""Cron schedules as robfig/cron v3.0.1 reads and runs them (ParseStandard), which is what Argo uses.

    spec    = [("TZ=" | "CRON_TZ=") zone " "] (fields | "@" name | "@every" duration)
    fields  = minute hour day-of-month month day-of-week
    field   = range {"," range}
    range   = ("*" | "?" | value ["-" value]) ["/" step]         month and week day names: first three letters
    name    = yearly annually monthly weekly daily midnight hourly

Day of month and day of week are alternatives unless one of them is ``*`` or ``?``. There is no 7th week day, no seconds
field, and no L, W or #. Times follow the wall clock: those inside a daylight-saving gap are skipped, those in an
overlap come twice; odd steps around such hours are the original's, except that a zone which skips a whole day does not
hang us.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tiphys.lang import durations
from tiphys.lang.gofmt import quote


class CronError(ValueError):
    """The text is no schedule."""


class Schedule(Protocol):
    """When something is due."""

    def next(self, after: datetime) -> datetime | None:
        """The first due moment after ``after`` (aware), in its zone; None when there is none in the next five years."""


def parse(spec: str) -> Schedule:
    """Reads a schedule. Without a zone of its own it runs in the zone of the moments it is asked about."""
    if len(spec) > _LENGTH_MAX:
        raise CronError(f"schedule of {len(spec)} characters is longer than {_LENGTH_MAX}")
    return _parse(spec)


def with_zone(spec: str, zone: str) -> str:
    """A CronWorkflow's schedule in its ``timezone``, as text; "" leaves it alone."""
    return f"CRON_TZ={zone} {spec}" if zone else spec


@dataclass(frozen=True)
class Fields:
    """A schedule of five fields. ``days_are_alternatives``: either day field suffices."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    week_days: frozenset[int]
    days_are_alternatives: bool
    zone: tzinfo | None

    def next(self, after: datetime) -> datetime | None:
        """See `Schedule`."""
        if not (self.minutes and self.hours and self.months):
            return None
        search = _Search(self, _WallClock(self.zone or after.tzinfo or UTC), int(after.timestamp() // 1) + 1)
        try:
            found = search.run()
        except OverflowError:  # the end of the calendar
            return None
        return None if found is None else (_EPOCH + timedelta(seconds=found)).astimezone(after.tzinfo)

    def has_day(self, local: datetime) -> bool:
        """Whether the day fields admit a day."""
        day = local.day in self.days
        week_day = local.isoweekday() % 7 in self.week_days
        return day or week_day if self.days_are_alternatives else day and week_day


@dataclass(frozen=True)
class Every:
    """A constant pause, in whole seconds, at least one."""

    seconds: int

    def next(self, after: datetime) -> datetime | None:
        """See `Schedule`; fractions of a second are dropped."""
        try:
            return after.replace(microsecond=0) + timedelta(seconds=self.seconds)
        except OverflowError:
            return None


_LENGTH_MAX: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


class _Search:
    """The way from one moment (in Unix seconds) to the next due one: each field is advanced until it matches.

    A field that wraps around starts everything over; one that does not leaves those before it unchecked. This is how
    the original steps, and it decides what happens around changes of daylight saving.
    """

    def __init__(self, fields: Fields, wall: _WallClock, start: int) -> None:
        self._fields = fields
        self._wall = wall
        self._now = start
        self._is_rounded = False

    def run(self) -> int | None:
        last_year = self._local().year + 5
        while self._local().year <= last_year:
            if self._to_month() and self._to_day() and self._to_hour() and self._to_minute():
                return self._now
        return None

    def _local(self) -> datetime:
        return self._wall.at(self._now)

    def _round(self, *parts: int) -> None:
        """Once, before the first step: everything smaller than the field starts at its beginning."""
        if not self._is_rounded:
            self._is_rounded = True
            self._now = self._wall.moment(*parts)

    def _to_month(self) -> bool:
        while (local := self._local()).month not in self._fields.months:
            self._round(local.year, local.month, 1)
            local = self._local()
            self._now = self._wall.moment(
                local.year, local.month + 1, local.day, local.hour, local.minute, local.second
            )
            if self._local().month == 1:
                return False
        return True

    def _to_day(self) -> bool:
        while not self._fields.has_day(local := self._local()):
            self._round(local.year, local.month, local.day)
            self._now = self._wall.next_day(self._now)
            if self._local().day == 1:
                return False
        return True

    def _to_hour(self) -> bool:
        while (local := self._local()).hour not in self._fields.hours:
            self._round(local.year, local.month, local.day, local.hour)
            self._now += 3600
            if self._local().hour == 0:
                return False
        return True

    def _to_minute(self) -> bool:
        """Minutes and then seconds, of which only 0 is due. Rounding here follows absolute time."""
        while self._local().minute not in self._fields.minutes:
            self._now -= 0 if self._is_rounded else self._now % 60
            self._is_rounded = True
            self._now += 60
            if self._local().minute == 0:
                return False
        if (second := self._local().second) != 0:
            self._is_rounded = True
            self._now += 60 - second
            return False
        return True


class _WallClock:
    """Local time in a zone, with time.Date's answer for times that do not exist or exist twice."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def at(self, moment: int) -> datetime:
        return (_EPOCH + timedelta(seconds=moment)).astimezone(self._zone)

    def moment(self, year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
        """Unix second of a local time; months and days beyond their range carry over."""
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
        first = datetime(year, month, 1, tzinfo=UTC) - _EPOCH
        as_utc = first.days * 86400 + (day - 1) * 86400 + hour * 3600 + minute * 60 + second
        offset = self._offset(as_utc)
        # zero is taken on trust by the original, other offsets are looked up again at the time they lead to
        return as_utc - self._offset(as_utc - offset) if offset else as_utc

    def next_day(self, moment: int) -> int:
        """Midnight of the following day, or the hour next to it where daylight saving skips midnight."""
        local = self.at(moment)
        following = self.moment(local.year, local.month, local.day + 1, local.hour, local.minute, local.second)
        if following <= moment:
            # a whole day is missing here (Pacific/Apia, 2011-12-30): the original would stay for ever
            following = moment + 86400
        hour = self.at(following).hour
        return following + (24 - hour if hour > 12 else -hour) * 3600

    def _offset(self, moment: int) -> int:
        offset = self.at(moment).utcoffset()
        return 0 if offset is None else offset.days * 86400 + offset.seconds


@lru_cache(maxsize=512)
def _parse(spec: str) -> Schedule:
    if not spec:
        raise CronError("empty spec string")
    zone: tzinfo | None = None
    if spec.startswith(("TZ=", "CRON_TZ=")):
        name, space, rest = spec.partition("=")[2].partition(" ")
        if not space:
            raise CronError(f"no schedule after the time zone: {spec}")
        zone, spec = _zone(name), re.sub(f"^[{_SPACE}]+|[{_SPACE}]+$", "", rest)
    if spec.startswith("@"):
        return _descriptor(spec, zone)
    fields = [field for field in re.split(f"[{_SPACE}]+", spec) if field]
    if len(fields) != 5:
        raise CronError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    return _fields(fields, zone)


def _zone(name: str) -> tzinfo | None:
    if name == "Local":
        return None
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise CronError(f"provided bad location {name}: unknown time zone {name}") from err


_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def _descriptor(text: str, zone: tzinfo | None) -> Schedule:
    if text in _DESCRIPTORS:
        return _fields(_DESCRIPTORS[text].split(), zone)
    if not text.startswith("@every "):
        raise CronError(f"unrecognized descriptor: {text}")
    try:
        pause = durations.parse(text.removeprefix("@every "))
    except durations.DurationError as err:
        raise CronError(f"failed to parse duration {text}: {err}") from err
    return Every(max(1, pause // durations.SECOND))


@dataclass(frozen=True)
class _Bounds:
    low: int
    high: int
    names: tuple[str, ...] = ()


_MINUTES = _Bounds(0, 59)
_HOURS = _Bounds(0, 23)
_DAYS = _Bounds(1, 31)
_MONTHS = _Bounds(1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
_WEEK_DAYS = _Bounds(0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


def _fields(fields: list[str], zone: tzinfo | None) -> Fields:
    bounds = (_MINUTES, _HOURS, _DAYS, _MONTHS, _WEEK_DAYS)
    read = [_field(text, bound) for text, bound in zip(fields, bounds, strict=True)]
    minutes, hours, days, months, week_days = (values for values, _ in read)
    alternatives = not (read[2][1] or read[4][1])
    return Fields(minutes, hours, days, months, week_days, alternatives, zone)


def _field(text: str, bounds: _Bounds) -> tuple[frozenset[int], bool]:
    """The values of a field, and whether it counts as a star."""
    values: set[int] = set()
    is_star = False
    for part in filter(None, text.split(",")):
        found, star = _range(part, bounds)
        values.update(found)
        is_star = is_star or star
    return frozenset(values), is_star


def _range(text: str, bounds: _Bounds) -> tuple[range, bool]:
    span, *steps = text.split("/")
    low, *high = span.split("-")
    is_star = low in ("*", "?")
    if is_star:
        start, end = bounds.low, bounds.high
    else:
        start = _value(low, bounds)
        if len(high) > 1:
            raise CronError(f"too many hyphens: {text}")
        end = _value(high[0], bounds) if high else start
    if len(steps) > 1:
        raise CronError(f"too many slashes: {text}")
    step = _number(steps[0]) if steps else 1
    if steps and not high:
        end = bounds.high
    _check_range(text, start, end, step, bounds)
    return range(start, end + 1, step), is_star and step == 1


def _check_range(text: str, start: int, end: int, step: int, bounds: _Bounds) -> None:
    if start < bounds.low:
        raise CronError(f"beginning of range ({start}) below minimum ({bounds.low}): {text}")
    if end > bounds.high:
        raise CronError(f"end of range ({end}) above maximum ({bounds.high}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")


def _value(text: str, bounds: _Bounds) -> int:
    if text.lower() in bounds.names:
        return bounds.names.index(text.lower()) + bounds.low
    return _number(text)


def _number(text: str) -> int:
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise CronError(f"failed to parse int from {text}: strconv.Atoi: parsing {quote(text)}: invalid syntax")
    if len(text.lstrip("+0")) > 18:
        raise CronError(f"failed to parse int from {text}: strconv.Atoi: parsing {quote(text)}: value out of range")
    return int(text)
