"""Go's reference-time layouts and printing with them.

A layout is literal text with elements named by what they show for Mon Jan 2 15:04:05 MST 2006:

    year    2006 06            hour    15 3 03           zone   MST -0700 -07:00 -07 -070000 -07:00:00
    month   January Jan 1 01   minute  4 04                     Z0700 Z07:00 Z07 Z070000 Z07:00:00 ("Z" for UTC)
    day     2 _2 02 002 __2    second  5 05              noon   PM pm
    weekday Monday Mon         part    .000 ,000 (fixed) .999 ,999 (trailing zeros dropped)
"""

from __future__ import annotations

import re
from functools import lru_cache

from tiphys.lang.moments.values import DAYS, MONTHS, Time

_ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|002|0[1-6]|15|__2|_2(?!006)|PM|pm"
    r"|[-Z]07:00:00|[-Z]070000|[-Z]07:00|[-Z]0700|[-Z]07|[.,](?:0+|9+)(?![0-9])|[12345]"
)


@lru_cache(maxsize=256)
def elements(layout: str) -> tuple[tuple[str, str], ...]:
    """The layout as ``(literal before, element)`` pairs; the last element is ``""``."""
    found: list[tuple[str, str]] = []
    at = 0
    for match in _ELEMENT.finditer(layout):
        found.append((layout[at : match.start()], match.group()))
        at = match.end()
    return (*found, (layout[at:], ""))


def format_time(moment: Time, layout: str) -> str:
    """The moment, in its own zone, printed by ``layout``."""
    return "".join(literal + (_shown(moment, element) if element else "") for literal, element in elements(layout))


def _shown(moment: Time, element: str) -> str:
    first = element[0]
    if first in "-Z" or element == "MST":
        return _zone(moment, element)
    if first in ".,":
        return _fraction(moment, element)
    if element in ("15", "3", "03", "4", "04", "5", "05", "PM", "pm"):
        return _clock(moment, element)
    return _date(moment, element)


def _clock(moment: Time, element: str) -> str:
    hour, minute, second = moment.clock()
    if element in ("PM", "pm"):
        return ("AP"[hour >= 12] + "M") if element == "PM" else ("ap"[hour >= 12] + "m")
    value = {"15": hour, "3": hour % 12 or 12, "4": minute, "5": second}[element.lstrip("0")]
    return f"{value:02d}" if len(element) == 2 else str(value)


def _date(moment: Time, element: str) -> str:
    year, month, day = moment.civil()
    match element:
        case "2006":
            return f"{year:04d}" if year >= 0 else f"-{-year:04d}"
        case "06":
            return f"{abs(year) % 100:02d}"
        case "January" | "Jan":
            return MONTHS[month - 1][: None if element == "January" else 3]
        case "1":
            return str(month)
        case "01":
            return f"{month:02d}"
        case "Monday" | "Mon":
            return DAYS[moment.weekday()][: None if element == "Monday" else 3]
        case "2":
            return str(day)
        case "_2":
            return f"{day:2d}"
        case "02":
            return f"{day:02d}"
        case "__2":
            return f"{moment.yearday():3d}"
    return f"{moment.yearday():03d}"


def _zone(moment: Time, element: str) -> str:
    name, offset = moment.location.at(moment.unix)
    if element == "MST":
        if name:
            return name
        element = "-0700"
    if element[0] == "Z" and offset == 0:
        return "Z"
    hours, rest = divmod(abs(offset), 3600)
    minutes, seconds = divmod(rest, 60)
    # Go decides the sign by whole minutes, so -00:00:30 prints with a plus.
    sign = "-" if offset <= -60 else "+"
    colon = ":" if ":" in element else ""
    text = f"{sign}{hours:02d}"
    if len(element) > 3:
        text += f"{colon}{minutes:02d}"
    if len(element) > 6:
        text += f"{colon}{seconds:02d}"
    return text


def _fraction(moment: Time, element: str) -> str:
    digits = f"{moment.nanos:09d}"[: len(element) - 1].ljust(len(element) - 1, "0")
    if element[1] == "9":
        digits = digits.rstrip("0")
        return element[0] + digits if digits else ""
    return element[0] + digits
