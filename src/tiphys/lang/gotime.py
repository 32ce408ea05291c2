"""Go's time layouts for datetimes, and the strftime characters that Argo offers.

The layouts themselves are those of :mod:`tiphys.lang.moments`, which also knows nanoseconds and the year 0; here digits
below a microsecond are cut off, and years that a datetime does not have are refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from tiphys.lang.moments import Location, Time, TimeError, format_time
from tiphys.lang.moments import parse as parse_time

RFC3339 = "2006-01-02T15:04:05Z07:00"
RFC3339_NANO = "2006-01-02T15:04:05.999999999Z07:00"
RFC1123 = "Mon, 02 Jan 2006 15:04:05 MST"
ANSIC = "Mon Jan _2 15:04:05 2006"

STRFTIME = {
    "B": "January",
    "b": "Jan",
    "m": "01",
    "A": "Monday",
    "a": "Mon",
    "d": "02",
    "H": "15",
    "I": "03",
    "M": "04",
    "S": "05",
    "Y": "2006",
    "y": "06",
    "p": "PM",
    "Z": "MST",
    "z": "-0700",
    "L": ".000",
}
"""The strftime characters of ``{{workflow.creationTimestamp.X}}`` and the layouts they stand for."""


GoTimeError = TimeError
"""The text is not a time of the given layout, or a number in it is out of range."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRFTIME = re.compile(r"%(.)", re.DOTALL)
_FIXED_NAME = re.compile(r"UTC[+-]\d\d:\d\d(?::\d\d)?")


def format(layout: str, moment: datetime) -> str:
    """``moment.Format(layout)``. The zone's name is its tzname; fixed offsets without a name show as ``+02``."""
    return format_time(from_datetime(moment), layout)


def strftime(text: str, moment: datetime) -> str:
    """``%Y-%m-%d`` and the like; characters that are not in `STRFTIME` stay as they are."""
    return _STRFTIME.sub(lambda match: _strftime_character(match, moment), text)


def parse(layout: str, value: str) -> datetime:
    """``time.Parse(layout, value)``: UTC unless the text says otherwise. Raises `GoTimeError` with Go's wording."""
    moment = parse_time(layout, value)
    name, offset = moment.location.at(moment.unix)
    zone = UTC if (name, offset) == ("UTC", 0) else timezone(timedelta(seconds=offset), *([name] if name else []))
    try:
        return (_EPOCH + timedelta(seconds=moment.unix, microseconds=moment.nanos // 1_000)).astimezone(zone)
    except OverflowError:
        raise GoTimeError(f"parsing time {value!r}: year out of range") from None


def from_datetime(moment: datetime) -> Time:
    """The same moment in the same zone, as far as that one moment shows it."""
    since = moment - _EPOCH
    offset = moment.utcoffset() or timedelta()
    location = Location(_zone_name(moment, int(offset.total_seconds())), int(offset.total_seconds()))
    return Time(since.days * 86_400 + since.seconds, since.microseconds * 1_000, location)


def _zone_name(moment: datetime, offset: int) -> str:
    name = moment.tzname() or "UTC"
    if not _FIXED_NAME.fullmatch(name):
        return name
    # Python calls a bare offset UTC+02:00, Go prints it without the word
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset < 0 else '+'}{hours:02d}" + (f"{minutes:02d}" if minutes else "")


def _strftime_character(match: re.Match[str], moment: datetime) -> str:
    if match[1] == "%":
        return "%"
    layout = STRFTIME.get(match[1])
    return match.group() if layout is None else format(layout, moment)
