"""Durations as Go and Argo read and print them, always as whole nanoseconds (int64).

    duration  = ["+" | "-"] ("0" | (decimal unit)+)         Go's time.ParseDuration
    decimal   = digits ["." digits] | "." digits
    unit      = "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h"

Argo has two more readers: `parse_argo` for manifests (a bare integer means seconds) and `parse_since` for command line
flags (``2d``, one whole number and one unit). Printing is `format` (Go's Duration.String) and the `humanize` family of
the command line and of retry messages. Retry back-off is in `backoff`.
"""

from __future__ import annotations

import math
import re

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


class DurationError(ValueError):
    """The text is no duration, or one that does not fit 64 bits of nanoseconds."""


def parse(text: str) -> int:
    """Nanoseconds of ``1h30m``, ``-1.5s``, ``.5h``, ``0``; at least one number with a unit is needed.

    Fractions are cut off (not rounded) below a nanosecond, as time.ParseDuration does.
    """
    if len(text) > _LENGTH_MAX:
        raise DurationError(f"time: invalid duration {_quote(text[:40])}… ({len(text)} characters)")
    negative = text[:1] == "-"
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = 0
    position = 0
    while position < len(rest) or not rest:
        part = _PART.match(rest, position)
        if part is None or not (part["whole"] or part["fraction"]):
            raise DurationError(f"time: invalid duration {_quote(text)}")
        total += _part_ns(part, text)
        if total > 2**63:
            raise DurationError(f"time: invalid duration {_quote(text)}")
        position = part.end()
    if total == 2**63 and not negative:
        raise DurationError(f"time: invalid duration {_quote(text)}")
    return -total if negative else total


def parse_argo(text: str) -> int:
    """Nanoseconds of a manifest's duration: a bare integer counts seconds, anything else is Go's form (no days)."""
    if _INTEGER.fullmatch(text) and INT64_MIN <= (seconds := int(text)) <= INT64_MAX:
        return _wrap(seconds * SECOND)
    try:
        return parse(text)
    except DurationError as err:
        raise DurationError(f"unable to parse {text[:_LENGTH_MAX]} as a duration: {err}") from err


def parse_since(text: str) -> int:
    """Nanoseconds of a ``--since`` or ``--older`` flag: digits and one of s, m, h, d; no sign, fraction or sum."""
    match = _SINCE.fullmatch(text)
    if match is None or int(match[1]) > INT64_MAX:
        shown = text[:_LENGTH_MAX]
        raise DurationError(f"Invalid since format '{shown}'. Expected format <duration><unit> (e.g. 3h)\n")
    return _wrap(int(match[1]) * _SINCE_UNITS[match[2]])


def parse_metav1(value: object) -> int:
    """Nanoseconds of a metav1.Duration field: a string in Go's form; null reads as the empty string, hence an error."""
    if value is None:
        return parse("")
    if not isinstance(value, str):
        raise DurationError(f"json: cannot unmarshal {_json_kind(value)} into Go value of type string")
    return parse(value)


def format(ns: int) -> str:
    """``1h30m0s``, ``1.5s``, ``2µs``, ``0s``: Go's Duration.String."""
    sign, left = ("-", -ns) if ns < 0 else ("", ns)
    if left < SECOND:
        return sign + _format_small(left)
    seconds, fraction = divmod(left, SECOND)
    minutes, seconds = divmod(seconds, 60)
    text = f"{seconds}{_fraction(fraction, 9)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def seconds(ns: int) -> float:
    """Duration.Seconds: whole seconds and the rest are converted apart, which decides the last binary digit."""
    return _in_unit(ns, SECOND)


def round_to(ns: int, unit: int) -> int:
    """The nearest multiple of ``unit``, halves away from zero; what would overflow stays at the limit."""
    if unit <= 0:
        return ns
    rest = abs(ns) % unit
    nearest = abs(ns) - rest if rest + rest < unit else abs(ns) - rest + unit
    return max(INT64_MIN, -nearest) if ns < 0 else min(INT64_MAX, nearest)


def truncate(ns: int, unit: int) -> int:
    """The next multiple of ``unit`` towards zero."""
    rest = abs(ns) % unit if unit > 0 else 0
    return ns + rest if ns < 0 else ns - rest


def humanize(ns: int) -> str:
    """Two units at most: ``1 hour 30 minutes``, ``2 days 2 hours``; as in "Backoff for …" and ``argo list``."""
    largest = humanize_truncated(ns)
    if _in_unit(ns, SECOND) < 60.0:
        return largest
    if _in_unit(ns, MINUTE) < 60.0:
        return f"{largest} {int(math.fmod(_in_unit(ns, SECOND), 60))} seconds"
    if _in_unit(ns, HOUR) < 24.0:
        return f"{largest} {int(math.fmod(_in_unit(ns, MINUTE), 60))} minutes"
    return f"{largest} {int(math.fmod(_in_unit(ns, HOUR), 24))} hours"


def humanize_truncated(ns: int) -> str:
    """One unit, rounded down: ``2 weeks``; months have 30 days, years 12 of those. The sign is dropped."""
    return _largest_unit(abs(ns), _LONG_UNITS)


def humanize_short(ns: int) -> str:
    """One short unit: ``5s``, ``2h``, ``14d``. The sign is dropped."""
    return _largest_unit(abs(ns), _SHORT_UNITS)


_LENGTH_MAX = 1_000
"""No duration of 64 bits needs so many characters; longer texts are refused unread."""

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,  # U+00B5 micro sign
    "μs": MICROSECOND,  # U+03BC Greek mu
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_PART = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^.0-9]*)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,25}")
_SINCE = re.compile(r"([0-9]{1,4000})([smhd])")
_SINCE_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}

_MONTH = 30 * DAY
_YEAR = 12 * _MONTH
_LONG_UNITS: tuple[tuple[int, str, int], ...] = (
    # below, text, divisor (0: the text has no number)
    (SECOND, "0 seconds", 0),
    (2 * SECOND, "1 second", 0),
    (MINUTE, "{} seconds", SECOND),
    (2 * MINUTE, "1 minute", 0),
    (HOUR, "{} minutes", MINUTE),
    (2 * HOUR, "1 hour", 0),
    (DAY, "{} hours", HOUR),
    (2 * DAY, "1 day", 0),
    (7 * DAY, "{} days", DAY),
    (14 * DAY, "1 week", 0),
    (_MONTH, "{} weeks", 7 * DAY),
    (2 * _MONTH, "1 month", 0),
    (_YEAR, "{} months", _MONTH),
    (18 * _MONTH, "1 year", 0),
    (2 * _YEAR, "2 years", 0),
    (37 * _YEAR, "{} years", _YEAR),
    (INT64_MAX, "a long while", 0),
)
_SHORT_UNITS: tuple[tuple[int, str, int], ...] = (
    (SECOND, "0s", 0),
    (MINUTE, "{}s", SECOND),
    (HOUR, "{}m", MINUTE),
    (DAY, "{}h", HOUR),
    (7 * DAY, "{}d", DAY),
)


def _part_ns(part: re.Match[str], text: str) -> int:
    unit = _UNITS.get(part["unit"])
    if unit is None:
        problem = f"unknown unit {_quote(part['unit'])}" if part["unit"] else "missing unit"
        # Go notices a number that overflows before it looks at the unit
        if int(part["whole"] or 0) > 2**63:
            raise DurationError(f"time: invalid duration {_quote(text)}")
        raise DurationError(f"time: {problem} in duration {_quote(text)}")
    fraction, scale = _go_fraction(part["fraction"] or "")
    # the fraction goes through a float64, as in the original
    return int(part["whole"] or 0) * unit + int(float(fraction) * (float(unit) / scale))


def _go_fraction(digits: str) -> tuple[int, float]:
    """Digits after the point as integer and scale; digits beyond 63 bits are dropped."""
    value, scale = 0, 1.0
    for digit in digits:
        longer = value * 10 + int(digit)
        if longer > 2**63 or value > INT64_MAX // 10:
            break
        value, scale = longer, scale * 10
    return value, scale


def _format_small(ns: int) -> str:
    if ns == 0:
        return "0s"
    if ns < MICROSECOND:
        return f"{ns}ns"
    if ns < MILLISECOND:
        return f"{ns // MICROSECOND}{_fraction(ns % MICROSECOND, 3)}µs"
    return f"{ns // MILLISECOND}{_fraction(ns % MILLISECOND, 6)}ms"


def _fraction(value: int, width: int) -> str:
    return f".{value:0{width}d}".rstrip("0") if value else ""


def _in_unit(ns: int, unit: int) -> float:
    whole, rest = divmod(abs(ns), unit)
    value = float(whole) + float(rest) / unit
    return -value if ns < 0 else value


def _largest_unit(ns: int, units: tuple[tuple[int, str, int], ...]) -> str:
    text, divisor = next(((t, d) for below, t, d in units if ns < below), units[-1][1:])
    return text.format(ns // divisor) if divisor else text


def _wrap(ns: int) -> int:
    """int64 arithmetic: Go multiplies without looking."""
    return (ns + 2**63) % 2**64 - 2**63


def _quote(text: str) -> str:
    """Go's time package quotes on its own: control and non-ASCII characters as ``\\x`` bytes."""
    return '"' + "".join(map(_quote_character, text)) + '"'


def _quote_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if " " <= character < "\x80":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "replace"))


def _json_kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "array" if isinstance(value, list) else "object"
