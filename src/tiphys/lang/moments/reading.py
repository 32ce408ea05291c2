"""Reading moments by a layout: time.Parse and time.ParseInLocation, with their error texts.

The reader walks layout elements and text side by side. What is out of range is told apart from what does not fit,
because the original's messages do. Work is linear in the text.
"""

from __future__ import annotations

import re

from tiphys.lang.moments.layouts import elements
from tiphys.lang.moments.values import DAYS, LOCAL, MONTHS, UTC, Location, Time, date, days_in

_SHORT_MONTHS = tuple(m[:3] for m in MONTHS)
_SHORT_DAYS = tuple(d[:3] for d in DAYS)

_RECOGNISED = (
    "Mon Jan _2 15:04:05 2006",
    "Mon Jan _2 15:04:05 MST 2006",
    "Mon Jan 02 15:04:05 -0700 2006",
    "3:04PM",
    "2006-01-02T15:04:05Z07:00",
    "2006-01-02T15:04:05.999999999Z07:00",
    "2006-01-02",
    "2006-01-02 15:04",
    "2006-01-02 15:04:05",
    "2006-01-02 15:04:05-07:00",
    "2006-01-02T15Z0700",
    "2006-01-02T15:04Z0700",
    "2006-01-02T15:04:05Z0700",
    "2006-01-02T15:04:05.999999999Z0700",
)
"""The layouts that govaluate tries on every quoted string, in its order."""

_LIKELY = re.compile(r"\d{4}-\d\d-\d\d|\d:\d\d")
_LONGEST_RECOGNISED = 64
LENGTH_MAX = 10_000
"""Characters of a layout or text."""


class TimeError(ValueError):
    """Text that does not fit its layout; the message is that of time.ParseError."""


class _Mismatch(ValueError):
    """The text does not have the element that the layout asks for."""


class _OutOfRange(ValueError):
    """The element is there but its value is impossible."""


def recognise(text: str) -> Time | None:
    """The moment that a quoted string of govaluate means, or None for ordinary text."""
    if len(text) > _LONGEST_RECOGNISED or not _LIKELY.search(text):
        return None
    for layout in _RECOGNISED:
        try:
            return parse(layout, text)
        except TimeError:
            continue
    return None


def parse(layout: str, text: str, location: Location | None = None) -> Time:
    """The moment written in ``text``. Raises TimeError.

    Without a zone of its own it is one of ``location`` (None: UTC); a zone that is the same as ``location`` (None: the
    local one) becomes that.
    """
    if max(len(layout), len(text)) > LENGTH_MAX:
        raise TimeError(f"parsing time: text longer than {LENGTH_MAX} characters")
    return _Reader(layout, text).read(location)


class _Reader:
    def __init__(self, layout: str, text: str) -> None:
        self.layout = layout
        self.text = text
        self.rest = text
        self.year = 0
        self.month = self.day = self.yearday = -1
        self.hour = self.minute = self.second = self.nanos = 0
        self.noon = ""
        self.zone: Location | None = None
        self.offset: int | None = None
        self.zone_name = ""

    def read(self, location: Location | None) -> Time:
        for index, (literal, element) in enumerate(elements(self.layout)):
            self._literal(literal)
            if not element:
                break
            held = self.rest
            try:
                self._element(element, elements(self.layout)[index + 1])
            except _Mismatch:
                raise self._error(f": cannot parse {_quoted(held)} as {_quoted(element)}", with_layout=True) from None
            except _OutOfRange as err:
                raise self._error(f": {err} out of range") from None
        if self.rest:
            raise self._error(f": extra text: {_quoted(self.rest)}")
        self._settle()
        return self._moment(location)

    def _error(self, what: str, *, with_layout: bool = False) -> TimeError:
        layout = f" as {_quoted(self.layout)}" if with_layout else ""
        return TimeError(f"parsing time {_quoted(self.text)}{layout}{what}")

    def _literal(self, literal: str) -> None:
        at = 0
        while at < len(literal):
            if literal[at] == " ":
                fits = not self.rest or self.rest[0] == " "
                at += len(literal[at:]) - len(literal[at:].lstrip(" "))
                if fits:
                    self.rest = self.rest.lstrip(" ")
            else:
                fits = self.rest[:1] == literal[at]
                at += 1
                if fits:
                    self.rest = self.rest[1:]
            if not fits:
                # Go shows the whole literal and what was left where it stopped.
                held = _quoted(self.rest)
                raise self._error(f": cannot parse {held} as {_quoted(literal)}", with_layout=True)

    def _element(self, element: str, following: tuple[str, str]) -> None:
        if element[0] in "-Z":
            self._numeric_zone(element)
        elif element[0] in ".,":
            self._fraction(element)
        else:
            _READERS[element](self, element, following)

    # One method per kind of element. Each takes its characters off ``rest`` or raises.

    def _take(self, count: int) -> str:
        if len(self.rest) < count:
            raise _Mismatch
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def _number(self, fixed: bool, most: int = 2) -> int:
        count = 0
        while count < min(most, len(self.rest)) and self.rest[count] in "0123456789":
            count += 1
        if count == 0 or (fixed and count < most):
            raise _Mismatch
        return int(self._take(count))

    def _ranged(self, fixed: bool, low: int, high: int, what: str) -> int:
        value = self._number(fixed)
        if not low <= value <= high:
            raise _OutOfRange(what)
        return value

    def _name(self, names: tuple[str, ...]) -> int:
        for index, name in enumerate(names):
            if self.rest[: len(name)].lower() == name.lower():
                self.rest = self.rest[len(name) :]
                return index
        raise _Mismatch

    def _read_year(self, element: str, following: tuple[str, str]) -> None:
        digits = self._take(len(element) if element == "2006" else 2)
        if not (digits.isascii() and digits.isdigit()):
            raise _Mismatch
        year = int(digits)
        self.year = year if element == "2006" else year + (1900 if year >= 69 else 2000)

    def _read_month(self, element: str, following: tuple[str, str]) -> None:
        if element in ("January", "Jan"):
            self.month = self._name(MONTHS if element == "January" else _SHORT_MONTHS) + 1
        else:
            self.month = self._ranged(element == "01", 1, 12, "month")

    def _read_weekday(self, element: str, following: tuple[str, str]) -> None:
        self._name(DAYS if element == "Monday" else _SHORT_DAYS)

    def _read_day(self, element: str, following: tuple[str, str]) -> None:
        if element == "_2" and self.rest[:1] == " ":
            self.rest = self.rest[1:]
        self.day = self._number(element == "02")

    def _read_yearday(self, element: str, following: tuple[str, str]) -> None:
        for _ in range(2):
            if element == "__2" and self.rest[:1] == " ":
                self.rest = self.rest[1:]
        self.yearday = self._number(element == "002", most=3)

    def _read_hour(self, element: str, following: tuple[str, str]) -> None:
        self.hour = self._ranged(element == "03", 0, 23 if element == "15" else 12, "hour")

    def _read_minute(self, element: str, following: tuple[str, str]) -> None:
        self.minute = self._ranged(element == "04", 0, 59, "minute")

    def _read_second(self, element: str, following: tuple[str, str]) -> None:
        self.second = self._ranged(element == "05", 0, 59, "second")
        fraction_follows = following[1][:1] in (".", ",") and following[1] != "" and not following[0]
        if not fraction_follows and re.match(r"[.,][0-9]", self.rest):
            self._fraction(".9")  # a fraction that the layout does not mention is accepted

    def _read_noon(self, element: str, following: tuple[str, str]) -> None:
        text = self._take(2)
        if text not in (("AM", "PM") if element == "PM" else ("am", "pm")):
            raise _Mismatch
        self.noon = text.upper()

    def _read_zone_name(self, element: str, following: tuple[str, str]) -> None:
        if self.rest.startswith("UTC"):
            self.rest, self.zone = self.rest[3:], UTC
            return
        length = _zone_name_length(self.rest)
        if not length:
            raise _Mismatch
        self.zone_name = self._take(length)

    def _numeric_zone(self, element: str) -> None:
        if element[0] == "Z" and self.rest[:1] == "Z":
            self.rest, self.zone = self.rest[1:], UTC
            return
        text = self._take(len(element))
        colon = ":" in element
        digits = text[1:].replace(":", "") if colon else text[1:]
        places = [at for at, character in enumerate(text) if character == ":"]
        if places != ([3, 6] if len(element) == 9 else [3] if colon else []):
            raise _Mismatch
        if not (digits.isascii() and digits.isdigit()):
            raise _Mismatch
        hours, minutes, seconds = (int(digits[i : i + 2] or "0") for i in (0, 2, 4))
        for value, limit, what in ((hours, 24, "hour"), (minutes, 60, "minute"), (seconds, 60, "second")):
            if value > limit:
                raise _OutOfRange(f"time zone offset {what}")
        if text[0] not in "+-":
            raise _Mismatch
        self.offset = (-1 if text[0] == "-" else 1) * ((hours * 60 + minutes) * 60 + seconds)

    def _fraction(self, element: str) -> None:
        if element[1] == "0":
            text = self._take(len(element))
            if text[0] not in ".," or not (text[1:].isascii() and text[1:].isdigit()):
                raise _Mismatch
        else:
            match = re.match(r"[.,][0-9]+", self.rest)
            if match is None:
                return
            text = self._take(match.end())
        self.nanos = int(text[1:10].ljust(9, "0"))

    def _settle(self) -> None:
        if self.noon == "PM" and self.hour < 12:
            self.hour += 12
        elif self.noon == "AM" and self.hour == 12:
            self.hour = 0
        if self.yearday >= 0:
            self._settle_yearday()
        self.month = 1 if self.month < 0 else self.month
        self.day = 1 if self.day < 0 else self.day
        if not 1 <= self.day <= days_in(self.month, self.year):
            raise self._error(": day out of range")

    def _settle_yearday(self) -> None:
        left, month = self.yearday, 1
        if not 1 <= left <= (366 if days_in(2, self.year) == 29 else 365):
            raise self._error(": day-of-year out of range")
        while left > days_in(month, self.year):
            left -= days_in(month, self.year)
            month += 1
        if self.month not in (-1, month):
            raise self._error(": day-of-year does not match month")
        if self.day not in (-1, left):
            raise self._error(": day-of-year does not match day")
        self.month, self.day = month, left

    def _moment(self, given: Location | None) -> Time:
        location, local = given or UTC, given or LOCAL
        seconds = (self.hour * 60 + self.minute) * 60 + self.second
        if self.zone is not None:
            return date(self.year, self.month, self.day, seconds, self.nanos, self.zone)
        if self.offset is not None:
            unix = date(self.year, self.month, self.day, seconds).unix - self.offset
            name, offset = local.at(unix)
            same = offset == self.offset and self.zone_name in ("", name)
            return Time(unix, self.nanos, local if same else Location(self.zone_name, self.offset))
        if self.zone_name:
            return self._named_zone(seconds, location)
        return date(self.year, self.month, self.day, seconds, self.nanos, location)

    def _named_zone(self, seconds: int, location: Location) -> Time:
        moment = date(self.year, self.month, self.day, seconds, self.nanos, location)
        if location.at(moment.unix)[0] == self.zone_name:
            return moment
        offset = int(self.zone_name[3:]) * 3600 if re.fullmatch(r"GMT[+-]\d+", self.zone_name) else 0
        # Go keeps the wall clock as if it were UTC and only shows it with that name: an unknown zone is not guessed.
        plain = date(self.year, self.month, self.day, seconds)
        return Time(plain.unix, self.nanos, Location(self.zone_name, offset))


_READERS = {
    **dict.fromkeys(("2006", "06"), _Reader._read_year),
    **dict.fromkeys(("January", "Jan", "1", "01"), _Reader._read_month),
    **dict.fromkeys(("Monday", "Mon"), _Reader._read_weekday),
    **dict.fromkeys(("2", "_2", "02"), _Reader._read_day),
    **dict.fromkeys(("002", "__2"), _Reader._read_yearday),
    **dict.fromkeys(("15", "3", "03"), _Reader._read_hour),
    **dict.fromkeys(("4", "04"), _Reader._read_minute),
    **dict.fromkeys(("5", "05"), _Reader._read_second),
    **dict.fromkeys(("PM", "pm"), _Reader._read_noon),
    "MST": _Reader._read_zone_name,
}


def _zone_name_length(text: str) -> int:
    """Characters of the zone abbreviation that ``text`` starts with; 0 for none."""
    if text[:4] in ("ChST", "MeST"):
        return 4
    if text.startswith("GMT"):
        return 3 + _signed_hours_length(text[3:])
    if text[:1] in ("+", "-"):
        return _signed_hours_length(text)
    match = re.match(r"[A-Z]{3,6}", text)
    letters = match.group() if match else ""
    if len(letters) == 3 or (len(letters) == 5 and letters[4] == "T"):
        return len(letters)
    return 4 if len(letters) == 4 and (letters[3] == "T" or letters == "WITA") else 0


def _signed_hours_length(text: str) -> int:
    match = re.match(r"[+-](\d{1,18})(?!\d)", text)
    return match.end() if match and int(match.group(1)) <= 23 else 0


def _quoted(text: str) -> str:
    """time.quote: like strconv.Quote, but everything outside printable ASCII as bytes."""
    out: list[str] = []
    for character in text:
        if character < " " or character >= "\x80":
            out.extend(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
        else:
            out.append("\\" + character if character in '"\\' else character)
    return '"' + "".join(out) + '"'
