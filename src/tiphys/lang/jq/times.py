"""jq's times: arrays of eight numbers ("broken down time", UTC), seconds since 1970, and C's strftime and strptime."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tiphys.lang.jq.errors import Failure
from tiphys.lang.jq.values import described, is_number, preview, to_int

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def gmtime(value: Any) -> list[Any]:
    """Year, month from 0, day, hour, minute, seconds, day of the week from Sunday, day of the year from 0."""
    if not is_number(value):
        raise Failure(f"gmtime cannot be applied to: {described(value)}")
    moment = _at(float(value), "gmtime", value)
    seconds = moment.second + moment.microsecond / 1e6
    week_day = moment.isoweekday() % 7
    return [
        *(moment.year, moment.month - 1, moment.day, moment.hour, moment.minute, float(seconds)),
        *(week_day, moment.timetuple().tm_yday - 1),
    ]


def mktime(value: Any) -> Any:
    """Seconds since 1970 of a broken down time."""
    if not isinstance(value, list):
        raise Failure(f"mktime cannot be applied to: {described(value)}")
    try:
        return (_from_parts(value) - _EPOCH).total_seconds()
    except (ValueError, OverflowError) as err:
        raise Failure(f"mktime cannot be applied to {preview(value)}: {_problem(err)}") from err


def strftime(value: Any, layout: Any) -> str:
    """A time, broken down or in seconds, as text."""
    if (not is_number(value) and not isinstance(value, list)) or not isinstance(layout, str):
        raise Failure(f"strftime({preview(layout)}) cannot be applied to: {described(value)}")
    try:
        moment = _from_parts(gmtime(value) if is_number(value) else value)
    except (ValueError, OverflowError) as err:
        if isinstance(err, Failure):
            raise
        raise Failure(f"strftime({preview(layout)}) cannot be applied to {preview(value)}: {_problem(err)}") from err
    return re.sub("%[-_0^]?([a-zA-Z%+])", lambda match: _formatted(match, moment), layout)


def strptime(value: Any, layout: Any) -> list[Any]:
    """A broken down time, read from text."""
    if not isinstance(value, str) or not isinstance(layout, str):
        raise Failure(f"strptime({preview(layout)}) cannot be applied to: {described(value)}")
    try:
        return gmtime((_read(value, layout) - _EPOCH).total_seconds())
    except (ValueError, OverflowError) as err:
        raise Failure(f"strptime({preview(layout)}) cannot be applied to {preview(value)}: {_problem(err)}") from err


def _problem(err: Exception) -> str:
    return str(err) if isinstance(err, _TimeError) else "time out of range"


class _TimeError(ValueError):
    pass


def _at(seconds: float, name: str, value: Any) -> datetime:
    try:
        whole = math.floor(seconds)
        return _EPOCH + timedelta(seconds=whole, microseconds=int((seconds - whole) * 1e6))
    except (ValueError, OverflowError) as err:
        raise Failure(f"{name} cannot be applied to {preview(value)}: time out of range") from err


def _from_parts(parts: list[Any]) -> datetime:
    if not all(map(is_number, parts[:8])):
        raise _TimeError("expected an array of 8 numbers")
    numbers = [0.0 if index >= len(parts) else parts[index] for index in range(6)]
    year, month, day, hour, minute = map(to_int, numbers[:5])
    year, month = year + month // 12, month % 12 + 1
    seconds = float(numbers[5])
    whole = math.floor(seconds)
    first = datetime(year, month, 1, tzinfo=UTC)
    past = timedelta(days=day - 1, hours=hour, minutes=minute, seconds=whole)
    return first + past + timedelta(microseconds=int((seconds - whole) * 1e6))


_COMPOSED: Final = {
    "c": "%a %b %e %H:%M:%S %Y",
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "h": "%b",
    "R": "%H:%M",
    "r": "%I:%M:%S %p",
    "T": "%H:%M:%S",
    "v": "%e-%b-%Y",
    "X": "%H:%M:%S",
    "x": "%m/%d/%y",
    "+": "%a %b %e %H:%M:%S %Z %Y",
}
_PADDED: Final = {
    "e": (2, " "),
    "k": (2, " "),
    "l": (2, " "),
    "j": (3, "0"),
    "Y": (4, "0"),
    "G": (4, "0"),
    "u": (1, ""),
    "w": (1, ""),
    "s": (1, ""),
}


def _formatted(match: re.Match[str], moment: datetime) -> str:
    verb, flag = match[1], match[0][1:-1]
    if verb in _COMPOSED:
        return strftime_of(moment, _COMPOSED[verb])
    number = _number(verb, moment)
    if number is not None:
        width, filler = _PADDED.get(verb, (2, "0"))
        filler = {"_": " ", "0": "0"}.get(flag, filler)
        return str(number) if flag == "-" else str(number).rjust(width, filler or " ")
    text = _word(verb, moment)
    if text is None:
        return match[0]
    return text.upper() if flag == "^" else text


def strftime_of(moment: datetime, layout: str) -> str:
    """A moment by a layout of C's verbs."""
    return re.sub("%[-_0^]?([a-zA-Z%+])", lambda match: _formatted(match, moment), layout)


def _number(verb: str, moment: datetime) -> int | None:
    year, week, week_day = moment.isocalendar()
    day_of_year = moment.timetuple().tm_yday
    sunday_based = moment.isoweekday() % 7
    numbers = {
        "Y": moment.year,
        "C": moment.year // 100,
        "y": moment.year % 100,
        "m": moment.month,
        "d": moment.day,
        "e": moment.day,
        "j": day_of_year,
        "H": moment.hour,
        "k": moment.hour,
        "I": moment.hour % 12 or 12,
        "l": moment.hour % 12 or 12,
        "M": moment.minute,
        "S": moment.second,
        "u": week_day,
        "w": sunday_based,
        "G": year,
        "g": year % 100,
        "V": week,
        "U": (day_of_year - 1 + 7 - sunday_based) // 7,
        "W": (day_of_year - 1 + 7 - moment.weekday()) // 7,
        "s": int((moment - _EPOCH).total_seconds() // 1),
    }
    return numbers.get(verb)


def _word(verb: str, moment: datetime) -> str | None:
    words = {
        "A": calendar.day_name[moment.weekday()],
        "a": calendar.day_abbr[moment.weekday()],
        "B": calendar.month_name[moment.month],
        "b": calendar.month_abbr[moment.month],
        "p": "PM" if moment.hour >= 12 else "AM",
        "P": "pm" if moment.hour >= 12 else "am",
        "f": f"{moment.microsecond:06d}",
        "L": f"{moment.microsecond // 1000:03d}",
        "Z": "UTC",
        "z": "+0000",
        "n": "\n",
        "t": "\t",
        "%": "%",
    }
    return words.get(verb)


_NUMBERS: Final = {
    "Y": ("year", 4),
    "m": ("month", 2),
    "d": ("day", 2),
    "e": ("day", 2),
    "H": ("hour", 2),
    "k": ("hour", 2),
    "I": ("hour", 2),
    "l": ("hour", 2),
    "M": ("minute", 2),
    "S": ("second", 2),
    "j": ("year_day", 3),
}


def _read(text: str, layout: str) -> datetime:
    found: dict[str, int] = {}
    rest = text
    position = 0
    layout = _spelled_out(layout)
    while position < len(layout):
        if layout[position] == "%" and position + 1 < len(layout):
            rest = _read_verb(layout[position + 1], rest, found, text, layout)
            position += 2
        elif layout[position].isspace():
            rest = rest.lstrip()
            position += 1
        elif rest.startswith(layout[position]):
            rest = rest[1:]
            position += 1
        else:
            raise _TimeError(_mismatch(text, layout, f"expected '{layout[position]}'"))
    if rest:
        raise _TimeError(_mismatch(text, layout, "unexpected trailing input"))
    return _assembled(found, text, layout)


def _spelled_out(layout: str) -> str:
    return re.sub("%([cDFhRrTvXx])", lambda match: _spelled_out(_COMPOSED[match[1]]), layout)


def _mismatch(text: str, layout: str, problem: str) -> str:
    return f'failed to parse "{text}" with "{layout}": {problem}'


def _read_verb(verb: str, rest: str, found: dict[str, int], text: str, layout: str) -> str:
    if verb in _NUMBERS:
        name, width = _NUMBERS[verb]
        match = re.match(rf" ?[0-9]{{1,{width}}}" if verb in "ekl" else rf"[0-9]{{1,{width}}}", rest)
        if match is None:
            raise _TimeError(_mismatch(text, layout, f"cannot parse %{verb}"))
        found[name] = int(match.group())
        return rest[match.end() :]
    if verb in "bB":
        return _read_name(list(calendar.month_name)[1:], "month", 1, rest, found)
    if verb in "aA":
        return _read_name(list(calendar.day_name), "week_day", 0, rest, found)
    if verb in "pP":
        if rest[:2].lower() not in ("am", "pm"):
            raise _TimeError(_mismatch(text, layout, f"cannot parse %{verb}"))
        found["is_pm"] = rest[:2].lower() == "pm"
        return rest[2:]
    pattern = _PATTERNS.get(verb)
    match = pattern.match(rest) if pattern else None
    if match is None:
        raise _TimeError(_mismatch(text, layout, f"cannot parse %{verb}"))
    _TAKERS[verb](match.group(), found)
    return rest[match.end() :]


def _read_name(names: list[str], field: str, base: int, rest: str, found: dict[str, int]) -> str:
    for number, name in enumerate(names):
        for spelled in (name, name[:3]):
            if rest[: len(spelled)].lower() == spelled.lower():
                found[field] = number + base
                return rest[len(spelled) :]
    raise _TimeError("cannot parse a name")


def _take_offset(text: str, found: dict[str, int]) -> None:
    if text != "Z":
        digits = text[1:].replace(":", "")
        minutes = int(digits[:2]) * 60 + int(digits[2:4] or 0)
        found["offset"] = -minutes if text[0] == "-" else minutes


def _take_short_year(text: str, found: dict[str, int]) -> None:
    found["year"] = int(text) + (1900 if int(text) >= 69 else 2000)


_PATTERNS: Final = {
    "y": re.compile("[0-9]{2}"),
    "z": re.compile("Z|[+-][0-9]{2}(?::?[0-9]{2})?"),
    "Z": re.compile("[A-Za-z]+"),
    "s": re.compile("-?[0-9]{1,12}"),
    "f": re.compile("[0-9]{1,9}"),
    "%": re.compile("%"),
    "n": re.compile(r"\s*"),
    "t": re.compile(r"\s*"),
    "u": re.compile("[1-7]"),
    "w": re.compile("[0-6]"),
    "U": re.compile("[0-9]{1,2}"),
    "W": re.compile("[0-9]{1,2}"),
}
_TAKERS: Final[dict[str, Callable[[str, dict[str, int]], None]]] = {
    **dict.fromkeys(_PATTERNS, lambda text, found: None),
    "y": _take_short_year,
    "z": _take_offset,
    "s": lambda text, found: found.update(epoch=int(text)),
    "f": lambda text, found: found.update(microsecond=int(text[:6].ljust(6, "0"))),
}


def _assembled(found: dict[str, int], text: str, layout: str) -> datetime:
    if "epoch" in found:
        return _EPOCH + timedelta(seconds=found["epoch"])
    hour = found.get("hour", 0)
    if "is_pm" in found:
        hour = hour % 12 + 12 * found["is_pm"]
    try:
        day = datetime(found.get("year", 1900), found.get("month", 1), found.get("day", 1), tzinfo=UTC)
        if "year_day" in found:
            day = datetime(day.year, 1, 1, tzinfo=UTC) + timedelta(days=found["year_day"] - 1)
        clock = (hour, found.get("minute", 0), found.get("second", 0), found.get("microsecond", 0))
        moment = day.replace(hour=clock[0], minute=clock[1], second=clock[2], microsecond=clock[3])
    except ValueError as err:
        raise _TimeError(_mismatch(text, layout, str(err))) from err
    return moment - timedelta(minutes=found.get("offset", 0))
