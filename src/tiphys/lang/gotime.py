"""Go's time layouts: `format` and `parse` of package time, and the strftime characters that Argo offers.

A layout is an example, the moment Mon Jan 2 15:04:05 MST 2006 written the way the user wants it. Its elements are

    year    2006 06                 hour     15 3 03  PM pm
    month   January Jan 1 01        minute   4 04
    day     2 _2 02  __2 002        second   5 05  .000 ,000 (exact)  .999 ,999 (as needed)
    week    Monday Mon              zone     MST  -0700 -07:00 -07 -070000 -07:00:00  and the same with Z for UTC

and everything else stands for itself. Times are aware datetimes, so digits below a microsecond are cut off, and years
before 1 (a layout without a year) are refused where Go has a year 0.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

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


class GoTimeError(ValueError):
    """The text is not a time of the given layout, or a number in it is out of range."""


def format(layout: str, moment: datetime) -> str:
    """``moment.Format(layout)``. The zone's name is its tzname; fixed offsets without a name show as ``+02``."""
    return "".join(
        _FORMATTERS[element](moment) if (element := piece.element) in _FORMATTERS else _format_odd(piece, moment)
        for piece in _pieces(layout)
    )


def strftime(text: str, moment: datetime) -> str:
    """``%Y-%m-%d`` and the like; characters that are not in `STRFTIME` stay as they are."""
    return _STRFTIME.sub(lambda match: _strftime_character(match, moment), text)


def parse(layout: str, value: str) -> datetime:
    """``time.Parse(layout, value)``: UTC unless the text says otherwise. Raises `GoTimeError` with Go's wording."""
    if len(value) > _LENGTH_MAX or len(layout) > _LENGTH_MAX:
        raise GoTimeError(f"parsing time: text longer than {_LENGTH_MAX} characters")
    found = _Found()
    rest = value
    pieces = _pieces(layout)
    for index, piece in enumerate(pieces):
        try:
            if piece.element:
                following = next((p.element for p in pieces[index + 1 :]), "")
                rest = _READERS[piece.kind](piece.element, rest, found, following)
            else:
                rest = _skip(rest, piece.literal)
        except _OutOfRange as err:
            raise GoTimeError(f"parsing time {_quote(value)}: {err} out of range") from None
        except _Bad as err:
            asked = piece.element or piece.literal[len(piece.literal) - err.literal_left :]
            left = _quote(err.rest if not piece.element else rest)
            raise GoTimeError(
                f"parsing time {_quote(value)} as {_quote(layout)}: cannot parse {left} as {_quote(asked)}"
            ) from None
    if rest:
        raise GoTimeError(f"parsing time {_quote(value)}: extra text: {_quote(rest)}")
    return _build(found, value)


_LENGTH_MAX = 10_000

_ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|15|1|2006|2|__2|_2(?!006)|3|4|5|PM|pm"
    r"|[-Z]070000|[-Z]07:00:00|[-Z]0700|[-Z]07:00|[-Z]07|[.,](?:0+|9+)(?![0-9])"
)
_STRFTIME = re.compile(r"%(.)", re.DOTALL)

_MONTHS = tuple(calendar.month_name)[1:]
_DAYS = tuple(calendar.day_name)


@dataclass(frozen=True)
class _Piece:
    """Either literal text or one element of a layout."""

    literal: str = ""
    element: str = ""

    @property
    def kind(self) -> str:
        """The element without what varies: all fractions and all numeric zones are of one kind."""
        if self.element[0] in ".,":
            return "fraction"
        return "zone" if self.element[0] in "-Z" else self.element


@lru_cache(maxsize=512)
def _pieces(layout: str) -> tuple[_Piece, ...]:
    pieces, end = [], 0
    for match in _ELEMENT.finditer(layout):
        if match.start() > end:
            pieces.append(_Piece(literal=layout[end : match.start()]))
        pieces.append(_Piece(element=match.group()))
        end = match.end()
    if end < len(layout):
        pieces.append(_Piece(literal=layout[end:]))
    return tuple(pieces)


# Formatting


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


_FORMATTERS: dict[str, Callable[[datetime], str]] = {
    "2006": lambda t: f"{t.year:04d}",
    "06": lambda t: f"{t.year % 100:02d}",
    "January": lambda t: _MONTHS[t.month - 1],
    "Jan": lambda t: _MONTHS[t.month - 1][:3],
    "1": lambda t: str(t.month),
    "01": lambda t: f"{t.month:02d}",
    "Monday": lambda t: _DAYS[t.weekday()],
    "Mon": lambda t: _DAYS[t.weekday()][:3],
    "2": lambda t: str(t.day),
    "_2": lambda t: f"{t.day:2d}",
    "02": lambda t: f"{t.day:02d}",
    "__2": lambda t: f"{t.timetuple().tm_yday:3d}",
    "002": lambda t: f"{t.timetuple().tm_yday:03d}",
    "15": lambda t: f"{t.hour:02d}",
    "3": lambda t: str(_hour12(t)),
    "03": lambda t: f"{_hour12(t):02d}",
    "4": lambda t: str(t.minute),
    "04": lambda t: f"{t.minute:02d}",
    "5": lambda t: str(t.second),
    "05": lambda t: f"{t.second:02d}",
    "PM": lambda t: "PM" if t.hour >= 12 else "AM",
    "pm": lambda t: "pm" if t.hour >= 12 else "am",
    "MST": lambda t: _zone_name(t),
}


def _format_odd(piece: _Piece, moment: datetime) -> str:
    if not piece.element:
        return piece.literal
    return _format_fraction(piece.element, moment) if piece.kind == "fraction" else _format_zone(piece.element, moment)


def _format_fraction(element: str, moment: datetime) -> str:
    digits = f"{moment.microsecond:06d}000".ljust(len(element) - 1, "0")[: len(element) - 1]
    if element[1] == "9":
        digits = digits.rstrip("0")
    return element[0] + digits if digits else ""


def _offset_seconds(moment: datetime) -> int:
    offset = moment.utcoffset()
    return 0 if offset is None else offset.days * 86400 + offset.seconds


def _format_zone(element: str, moment: datetime) -> str:
    offset = _offset_seconds(moment)
    if element[0] == "Z" and offset == 0:
        return "Z"
    minutes, seconds = divmod(abs(offset), 60)
    text = ("-" if offset < 0 else "+") + f"{minutes // 60:02d}"
    colon = ":" if ":" in element else ""
    if len(element) >= 5:
        text += f"{colon}{minutes % 60:02d}"
    return text + f"{colon}{seconds:02d}" if len(element) >= 7 else text


def _zone_name(moment: datetime) -> str:
    name = moment.tzname() or "UTC"
    if not _FIXED_NAME.fullmatch(name):
        return name
    # Python calls a bare offset UTC+02:00, Go prints it without the word
    minutes = abs(_offset_seconds(moment)) // 60
    sign = "-" if _offset_seconds(moment) < 0 else "+"
    return f"{sign}{minutes // 60:02d}" + (f"{minutes % 60:02d}" if minutes % 60 else "")


_FIXED_NAME = re.compile(r"UTC[+-]\d\d:\d\d(?::\d\d)?")


def _strftime_character(match: re.Match[str], moment: datetime) -> str:
    if match[1] == "%":
        return "%"
    layout = STRFTIME.get(match[1])
    return match.group() if layout is None else format(layout, moment)


# Parsing


@dataclass
class _Found:
    year: int = 0
    month: int = -1
    day: int = -1
    year_day: int = -1
    hour: int = 0
    minute: int = 0
    second: int = 0
    microsecond: int = 0
    is_am: bool = False
    is_pm: bool = False
    is_utc: bool = False
    offset_seconds: int | None = None
    zone: str = ""


class _Bad(Exception):
    """The rest of the value is no such element (or literal, of which ``literal_left`` characters did not match)."""

    def __init__(self, rest: str = "", literal_left: int = 0) -> None:
        self.rest = rest
        self.literal_left = literal_left


class _OutOfRange(Exception):
    pass


Reader = Callable[[str, str, _Found, str], str]


def _skip(value: str, literal: str) -> str:
    """Past the literal; one space in it stands for any number of spaces, also none at the value's end."""
    position = 0
    while position < len(literal):
        if literal[position] == " ":
            if value and value[0] != " ":
                raise _Bad(value, len(literal) - position)
            position += len(literal[position:]) - len(literal[position:].lstrip(" "))
            value = value.lstrip(" ")
        elif not value.startswith(literal[position]):
            raise _Bad(value, len(literal) - position)
        else:
            position, value = position + 1, value[1:]
    return value


def _number(value: str, *, fixed: bool, width: int = 2) -> tuple[int, str]:
    """Up to ``width`` digits; exactly as many when ``fixed``."""
    count = 0
    while count < width and value[count : count + 1] in _DIGITS:
        count += 1
    if count == 0 or (fixed and count != width):
        raise _Bad
    return int(value[:count]), value[count:]


_DIGITS = frozenset("0123456789")


def _within(name: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise _OutOfRange(name)
    return number


def _name(names: tuple[str, ...], value: str) -> tuple[int, str]:
    for index, name in enumerate(names):
        if value[: len(name)].lower() == name.lower():
            return index, value[len(name) :]
    raise _Bad


def _read_long_year(_element: str, value: str, found: _Found, _following: str) -> str:
    if not re.match("[0-9]{4}", value):
        raise _Bad
    found.year = int(value[:4])
    return value[4:]


def _read_short_year(_element: str, value: str, found: _Found, _following: str) -> str:
    year, rest = _number(value, fixed=True)
    found.year = year + (1900 if year >= 69 else 2000)
    return rest


def _read_month(element: str, value: str, found: _Found, _following: str) -> str:
    number, rest = _number(value, fixed=element == "01")
    found.month = _within("month", number, 1, 12)
    return rest


def _read_month_name(element: str, value: str, found: _Found, _following: str) -> str:
    index, rest = _name(_MONTHS if element == "January" else tuple(m[:3] for m in _MONTHS), value)
    found.month = index + 1
    return rest


def _read_week_day(element: str, value: str, _found: _Found, _following: str) -> str:
    return _name(_DAYS if element == "Monday" else tuple(d[:3] for d in _DAYS), value)[1]


def _read_day(element: str, value: str, found: _Found, _following: str) -> str:
    found.day, rest = _number(value.removeprefix(" ") if element == "_2" else value, fixed=element == "02")
    return rest


def _read_year_day(element: str, value: str, found: _Found, _following: str) -> str:
    if element == "__2":
        value = value.removeprefix(" ").removeprefix(" ")
    found.year_day, rest = _number(value, fixed=element == "002", width=3)
    return rest


def _read_hour(element: str, value: str, found: _Found, _following: str) -> str:
    number, rest = _number(value, fixed=element == "03")
    found.hour = _within("hour", number, 0, 23 if element == "15" else 12)
    return rest


def _read_minute(element: str, value: str, found: _Found, _following: str) -> str:
    number, rest = _number(value, fixed=element == "04")
    found.minute = _within("minute", number, 0, 59)
    return rest


def _read_second(element: str, value: str, found: _Found, following: str) -> str:
    number, rest = _number(value, fixed=element == "05")
    found.second = _within("second", number, 0, 59)
    # a fraction is read even where the layout has none
    return rest if following[:1] in (".", ",") else _read_fraction(".9", rest, found, "")


def _read_fraction(element: str, value: str, found: _Found, _following: str) -> str:
    exact = element[1] == "0"
    digits = re.match(rf"[.,]([0-9]{{{len(element) - 1 if exact else '1,'}}})", value)
    if digits is None:
        if exact:
            raise _Bad
        return value
    found.microsecond = int(digits[1][:6].ljust(6, "0"))
    return value[digits.end() :]


def _read_half_day(element: str, value: str, found: _Found, _following: str) -> str:
    halves = ("AM", "PM") if element == "PM" else ("am", "pm")
    if value[:2] not in halves:
        raise _Bad
    found.is_am, found.is_pm = value[:2] == halves[0], value[:2] == halves[1]
    return value[2:]


def _read_zone(element: str, value: str, found: _Found, _following: str) -> str:
    if element[0] == "Z" and value[:1] == "Z":
        found.is_utc = True
        return value[1:]
    colon = ":" if ":" in element else ""
    pairs = (len(element.replace(":", "")) - 1) // 2
    match = re.match("([+-])" + colon.join(["([0-9]{2})"] * pairs), value)
    if match is None:
        raise _Bad
    hours, minutes, seconds = (int(pair) for pair in (*match.groups()[1:], "0", "0")[:3])
    _within("time zone offset hour", hours, 0, 24)
    _within("time zone offset minute", minutes, 0, 60)
    _within("time zone offset second", seconds, 0, 60)
    offset = (hours * 60 + minutes) * 60 + seconds
    found.offset_seconds = -offset if match[1] == "-" else offset
    return value[match.end() :]


_ZONE_NAME = re.compile(
    r"ChST|MeST|GMT(?:[+-](?:2[0-3]|[01]?[0-9])(?![0-9]))?|[+-](?:2[0-3]|[01]?[0-9])(?![0-9])"
    r"|[A-Z]{4}T(?![A-Z])|(?:[A-Z]{3}T|WITA)(?![A-Z])|[A-Z]{3}(?![A-Z])"
)


def _read_zone_name(_element: str, value: str, found: _Found, _following: str) -> str:
    if value.startswith("UTC"):
        found.is_utc = True
        return value[3:]
    match = _ZONE_NAME.match(value)
    if match is None:
        raise _Bad
    found.zone = match.group()
    return value[match.end() :]


_READERS: dict[str, Reader] = {
    "2006": _read_long_year,
    "06": _read_short_year,
    "January": _read_month_name,
    "Jan": _read_month_name,
    "1": _read_month,
    "01": _read_month,
    "Monday": _read_week_day,
    "Mon": _read_week_day,
    "2": _read_day,
    "_2": _read_day,
    "02": _read_day,
    "__2": _read_year_day,
    "002": _read_year_day,
    "15": _read_hour,
    "3": _read_hour,
    "03": _read_hour,
    "4": _read_minute,
    "04": _read_minute,
    "5": _read_second,
    "05": _read_second,
    "PM": _read_half_day,
    "pm": _read_half_day,
    "MST": _read_zone_name,
    "fraction": _read_fraction,
    "zone": _read_zone,
}


def _build(found: _Found, value: str) -> datetime:
    hour = found.hour
    if found.is_pm and hour < 12:
        hour += 12
    elif found.is_am and hour == 12:
        hour = 0
    if found.year < 1:
        raise GoTimeError(f"parsing time {_quote(value)}: year {found.year} out of range")
    month, day = _month_and_day(found, value)
    if not 1 <= day <= calendar.monthrange(found.year, month)[1]:
        raise GoTimeError(f"parsing time {_quote(value)}: day out of range")
    clock = (hour, found.minute, found.second, found.microsecond)
    return datetime(found.year, month, day, *clock, tzinfo=_zone(found))


def _month_and_day(found: _Found, value: str) -> tuple[int, int]:
    if found.year_day < 0:
        return (1 if found.month < 0 else found.month), (1 if found.day < 0 else found.day)
    if not 1 <= found.year_day <= 365 + calendar.isleap(found.year):
        raise GoTimeError(f"parsing time {_quote(value)}: day-of-year out of range")
    that_day = datetime(found.year, 1, 1, tzinfo=UTC) + timedelta(days=found.year_day - 1)
    if found.month not in (-1, that_day.month):
        raise GoTimeError(f"parsing time {_quote(value)}: day-of-year does not match month")
    if found.day not in (-1, that_day.day):
        raise GoTimeError(f"parsing time {_quote(value)}: day-of-year does not match day")
    return that_day.month, that_day.day


def _zone(found: _Found) -> timezone:
    """Named zones other than UTC are made up, as in Go: offset 0, except GMT+3 and the like."""
    if found.is_utc:
        return UTC
    if found.offset_seconds is not None:
        if found.offset_seconds == 0 and not found.zone:
            return UTC
        return _fixed(found.offset_seconds, found.zone)
    if not found.zone:
        return UTC
    hours = int(found.zone[3:]) if found.zone.startswith("GMT") and len(found.zone) > 3 else 0
    return _fixed(hours * 3600, found.zone)


def _fixed(offset_seconds: int, name: str) -> timezone:
    try:
        offset = timedelta(seconds=offset_seconds)
        return timezone(offset, name) if name else timezone(offset)
    except ValueError as err:  # Go lets +24:00 pass, a datetime cannot hold it
        raise GoTimeError(f"time zone offset of {offset_seconds} seconds out of range") from err


def _quote(text: str) -> str:
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if " " <= c < "\x80" else "".join(f"\\x{b:02x}" for b in _utf8(c)) for c in shown) + '"'


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "replace")
