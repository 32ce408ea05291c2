"""Go's fmt.Sprintf, Sprint and Sprintln, with every verb and flag.

    format = { text | "%" { flag } [ width ] [ "." precision ] [ "[" number "]" ] verb }
    flag   = "+" | "-" | "#" | " " | "0"
    width  = digits | "*" | "[" number "]" "*"          (precision likewise)
    verb   = v T t | b c d o O q x X U | e E f F g G | s p

What does not fit is no error but shows in the result (``%!d(string=a)``, ``%!s(MISSING)``), as in Go. Values are those
of ``tiphys.lang.govalues``. The text is bounded by `SIZE_MAX`; addresses (``%p``) are always 0x0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tiphys.lang.gofmt import format_float, quote, shortest_digits, sort_key, type_name
from tiphys.lang.gotext import utf8
from tiphys.lang.govalues import CallError, Uint8, kind_of, refuse_size

WIDTH_MAX = 1_000_000
"""Larger widths and precisions are taken for mistakes, as Go does."""

_UNSIGNED = frozenset(("uint", "uint8", "uint16", "uint32", "uint64", "uintptr"))
_PLAIN_TYPES = frozenset(("bool", "int", "int32", "int64", "uint8", "uint64", "float64", "string"))
_DIGITS = "0123456789abcdef"


def sprintf(template: str, arguments: Sequence[Any]) -> str:
    """fmt.Sprintf. Raises CallError where the text would grow beyond bounds."""
    return _Printer(arguments).run(template)


def sprint(arguments: Iterable[Any]) -> str:
    """fmt.Sprint: a blank between two neighbours unless one of them is a string."""
    parts: list[str] = []
    before_is_string = True
    for argument in arguments:
        is_string = isinstance(argument, str)
        if not is_string and not before_is_string:
            parts.append(" ")
        parts.append(_shown(argument))
        before_is_string = is_string
    return "".join(parts)


def sprintln(arguments: Iterable[Any]) -> str:
    """fmt.Sprintln: blanks between all, a line end after the last."""
    return " ".join(map(_shown, arguments)) + "\n"


def _shown(value: Any) -> str:
    return _argument(value, "v", _Flags())


@dataclass(slots=True)
class _Flags:
    plus: bool = False
    minus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    plus_v: bool = False
    sharp_v: bool = False
    width: int | None = None
    precision: int | None = None
    erroring: bool = False
    """Inside ``%!d(…)``: values do not print themselves there."""

    def pad(self, text: str, *, zeros: bool = True) -> str:
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if self.minus:
            return text + " " * missing
        return ("0" if self.zero and zeros else " ") * missing + text


class _Printer:
    """One run over a format. ``at`` is the next character, ``next`` the next argument."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self.arguments = arguments
        self.next = 0
        self.reordered = False
        self.good_number = True

    def run(self, template: str) -> str:
        parts: list[str] = []
        size = at = 0
        while at < len(template):
            percent = template.find("%", at)
            if percent < 0:
                parts.append(template[at:])
                break
            parts.append(template[at:percent])
            at, text = self._directive(template, percent + 1)
            size += len(text)
            refuse_size("printf", size)
            parts.append(text)
        if not self.reordered and self.next < len(self.arguments):
            parts.append(self._extra())
        return "".join(parts)

    def _extra(self) -> str:
        rest = ["<nil>" if one is None else f"{type_name(one)}={_shown(one)}" for one in self.arguments[self.next :]]
        return f"%!(EXTRA {', '.join(rest)})"

    def _directive(self, template: str, at: int) -> tuple[int, str]:
        """Reads what follows a percent sign: the position after it, and its text."""
        flags, complaint = _Flags(), ""
        self.good_number = True
        while at < len(template) and template[at] in "#0+- ":
            _set_flag(flags, template[at])
            at += 1
        after_index, at = self._argument_number(template, at)
        if template[at : at + 1] == "*":
            at += 1
            flags.width = self._number_argument()
            if flags.width is None:
                complaint += "%!(BADWIDTH)"
            elif flags.width < 0:
                flags.width, flags.minus, flags.zero = -flags.width, True, False
            after_index = False
        else:
            flags.width, at = _number(template, at)
            if after_index and flags.width is not None:
                self.good_number = False
        if template[at : at + 1] == "." and at + 1 < len(template):
            at, after_index, wrong = self._precision(template, at + 1, after_index, flags)
            complaint += wrong
        if not after_index:
            _, at = self._argument_number(template, at)
        if at >= len(template):
            return at, complaint + "%!(NOVERB)"
        return at + 1, complaint + self._verb(template[at], flags)

    def _precision(self, template: str, at: int, after_index: bool, flags: _Flags) -> tuple[int, bool, str]:
        if after_index:
            self.good_number = False
        after_index, at = self._argument_number(template, at)
        if template[at : at + 1] != "*":
            found, at = _number(template, at)
            flags.precision = found or 0
            return at, after_index, ""
        found = self._number_argument()
        flags.precision = found if found is not None and found >= 0 else None
        return at + 1, False, "" if flags.precision is not None else "%!(BADPREC)"

    def _verb(self, verb: str, flags: _Flags) -> str:
        if verb == "%":
            return "%"
        if not self.good_number:
            return f"%!{verb}(BADINDEX)"
        if self.next >= len(self.arguments):
            return f"%!{verb}(MISSING)"
        if verb in "vw":
            flags.sharp_v, flags.sharp, flags.plus_v, flags.plus = flags.sharp, False, flags.plus, False
        argument = self.arguments[self.next]
        self.next += 1
        return _argument(argument, verb, flags)

    def _argument_number(self, template: str, at: int) -> tuple[bool, int]:
        """``[3]`` chooses the next argument."""
        if template[at : at + 1] != "[":
            return False, at
        self.reordered = True
        end = template.find("]", at)
        if end < 0:
            self.good_number = False
            return False, at + 1
        number = template[at + 1 : end]
        if number.isdecimal() and number.isascii() and len(number) < 8 and 0 < int(number) <= len(self.arguments):
            self.next = int(number) - 1
            return True, end + 1
        self.good_number = False
        return number.isdecimal(), end + 1

    def _number_argument(self) -> int | None:
        if self.next >= len(self.arguments):
            return None
        value = self.arguments[self.next]
        self.next += 1
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > WIDTH_MAX:
            return None
        return int(value)


def _set_flag(flags: _Flags, character: str) -> None:
    match character:
        case "#":
            flags.sharp = True
        case "0":
            flags.zero = True
        case "+":
            flags.plus = True
        case "-":
            flags.minus = True
        case _:
            flags.space = True


def _number(template: str, at: int) -> tuple[int | None, int]:
    end = at
    while end < len(template) and template[end] in "0123456789":
        end += 1
    if end == at:
        return None, at
    found = int(template[at:end]) if end - at < 8 else WIDTH_MAX + 1
    return (found, end) if found <= WIDTH_MAX else (None, end)


def _argument(value: Any, verb: str, flags: _Flags) -> str:
    """One argument, or an element of one, with a verb."""
    if value is None:
        return flags.pad("<nil>") if verb in "Tv" else _bad(verb, None, flags)
    if verb == "T":
        return _text(type_name(value), flags)
    if verb == "p":
        return _pointer(value, verb, flags)
    own = _prints_itself(value, verb, flags)
    return _of_kind(value, verb, flags, 0) if own is None else own


def _prints_itself(value: Any, verb: str, flags: _Flags) -> str | None:
    """Values with a String method show its text where a string would do."""
    if verb == "w" and not flags.erroring and not isinstance(value, bytes):
        return _bad("w", value, flags)
    if flags.erroring or flags.sharp_v or verb not in "vsxXq" or type_name(value) in _PLAIN_TYPES:
        return None
    own = getattr(value, "go_string", None)
    if own is None or kind_of(value) in ("func", "map"):
        return None
    return _string(own(), verb, flags)


def _bad(verb: str, value: Any, flags: _Flags) -> str:
    if value is None:
        return f"%!{verb}(<nil>)"
    before, flags.erroring = flags.erroring, True
    try:
        return f"%!{verb}({type_name(value)}={_of_kind(value, 'v', flags, 0)})"
    finally:
        flags.erroring = before


def _of_kind(value: Any, verb: str, flags: _Flags, depth: int) -> str:
    if depth > 100:
        raise CallError("printf: nested deeper than 100")
    if isinstance(value, bool):
        return flags.pad("true" if value else "false") if verb in "tv" else _bad(verb, value, flags)
    if isinstance(value, int):
        return _integer(value, verb, flags)
    if isinstance(value, float):
        return _float(value, verb, flags)
    if isinstance(value, complex):
        return _complex(value, verb, flags)
    if isinstance(value, str):
        return _string(value, verb, flags)
    if isinstance(value, bytes):
        return _bytes(value, verb, flags, depth)
    if isinstance(value, dict):
        return _map(value, verb, flags, depth)
    if isinstance(value, list | tuple):
        return _list(value, verb, flags, depth)
    kind = kind_of(value)
    own = getattr(value, "go_string", None)
    if kind == "func" or own is None:
        return _pointer(value, verb, flags)
    return str(own()) if kind == "map" or flags.sharp_v or flags.erroring else _string(own(), verb, flags)


def _element(value: Any, verb: str, flags: _Flags, depth: int) -> str:
    if value is None:
        return "interface {}(nil)" if flags.sharp_v else "<nil>"
    own = _prints_itself(value, verb, flags)
    return _of_kind(value, verb, flags, depth + 1) if own is None else own


def _map(value: dict[Any, Any], verb: str, flags: _Flags, depth: int) -> str:
    items = sorted(value.items(), key=lambda item: sort_key(item[0]))
    shown = [f"{_element(key, verb, flags, depth)}:{_element(item, verb, flags, depth)}" for key, item in items]
    if flags.sharp_v:
        return f"{type_name(value)}{{{', '.join(shown)}}}"
    return f"map[{' '.join(shown)}]"


def _list(value: Sequence[Any], verb: str, flags: _Flags, depth: int) -> str:
    shown = [_element(item, verb, flags, depth) for item in value]
    if flags.sharp_v:
        return f"{type_name(value)}{{{', '.join(shown)}}}"
    return f"[{' '.join(shown)}]"


def _bytes(value: bytes, verb: str, flags: _Flags, depth: int) -> str:
    if verb in "vd":
        if flags.sharp_v:
            return f"[]byte{{{', '.join(_base(byte, 16, 'x', _with_sharp(flags), signed=False) for byte in value)}}}"
        return f"[{' '.join(_base(byte, 10, 'd', flags, signed=False) for byte in value)}]"
    if verb in "sxXq":
        return _string(value.decode("utf-8", "surrogateescape"), verb, flags)
    return f"[{' '.join(_integer(Uint8(byte), verb, flags) for byte in value)}]"


def _pointer(value: Any, verb: str, flags: _Flags) -> str:
    if kind_of(value) not in ("func", "map", "ptr", "slice"):
        return _bad(verb, value, flags)
    if verb in "vp" and flags.sharp_v:
        return f"({type_name(value)})(0x0)"
    return flags.pad("0x0") if verb in "vpxXobd" else _bad(verb, value, flags)


def _string(text: str, verb: str, flags: _Flags) -> str:
    match verb:
        case "v" if flags.sharp_v:
            return _quoted(text, flags)
        case "v" | "s":
            return _text(text, flags)
        case "q":
            return _quoted(text, flags)
        case "x" | "X":
            return _hexadecimal(utf8(text), verb, flags)
        case _:
            return _bad(verb, text, flags)


def _text(text: str, flags: _Flags) -> str:
    return flags.pad(text if flags.precision is None else text[: flags.precision])


def _quoted(text: str, flags: _Flags) -> str:
    if flags.precision is not None:
        text = text[: flags.precision]
    if flags.sharp and all(character == "\t" or (character.isprintable() and character != "`") for character in text):
        return flags.pad(f"`{text}`")
    shown = quote(text)
    return flags.pad(_to_ascii(shown) if flags.plus else shown)


def _to_ascii(text: str) -> str:
    return "".join(
        one if one.isascii() else f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}" for one in text
    )


def _hexadecimal(data: bytes, verb: str, flags: _Flags) -> str:
    if flags.precision is not None:
        data = data[: flags.precision]
    lead = "0" + verb if flags.sharp else ""
    if flags.space:
        text = " ".join(f"{lead}{byte:02{verb}}" for byte in data)
    else:
        text = (lead if data else "") + "".join(f"{byte:02{verb}}" for byte in data)
    return flags.pad(text)


def _integer(value: int, verb: str, flags: _Flags) -> str:
    is_unsigned = type_name(value) in _UNSIGNED
    match verb:
        case "v" if flags.sharp_v and is_unsigned:
            return _base(value, 16, "x", _with_sharp(flags), signed=False)
        case "v" | "d":
            return _base(value, 10, verb, flags, signed=not is_unsigned)
        case "b":
            return _base(value, 2, verb, flags, signed=not is_unsigned)
        case "o" | "O":
            return _base(value, 8, verb, flags, signed=not is_unsigned)
        case "x" | "X":
            return _base(value, 16, verb, flags, signed=not is_unsigned)
        case "c":
            return flags.pad(_character(value))
        case "q":
            return flags.pad(_quoted_character(value, flags))
        case "U":
            return _unicode(value, flags)
        case _:
            return _bad(verb, value, flags)


def _with_sharp(flags: _Flags) -> _Flags:
    return replace(flags, sharp=True)


def _base(value: int, base: int, verb: str, flags: _Flags, *, signed: bool) -> str:
    negative = signed and value < 0
    if flags.precision == 0 and value == 0:
        return " " * (flags.width or 0)
    digits = _in_base(abs(int(value)), base)
    wanted = flags.precision
    if wanted is None and flags.zero and not flags.minus and flags.width is not None:
        wanted = flags.width - (negative or flags.plus or flags.space)
    if wanted is not None:
        digits = digits.rjust(wanted, "0")
    if flags.sharp:
        digits = {2: "0b", 16: "0" + ("X" if verb == "X" else "x")}.get(base, "") + digits
        if base == 8 and not digits.startswith("0"):
            digits = "0" + digits
    if verb == "O":
        digits = "0o" + digits
    digits = digits.upper() if verb == "X" else digits
    sign = "-" if negative else "+" if flags.plus else " " if flags.space else ""
    return flags.pad(sign + digits, zeros=False)


def _in_base(value: int, base: int) -> str:
    match base:
        case 10:
            return str(value)
        case 16:
            return f"{value:x}"
        case 8:
            return f"{value:o}"
        case _:
            return f"{value:b}"


def _character(value: int) -> str:
    point = value if 0 <= value <= 0x10FFFF else 0xFFFD
    return "\ufffd" if 0xD800 <= point <= 0xDFFF else chr(point)


def _quoted_character(value: int, flags: _Flags) -> str:
    character = _character(value)
    shown = {"'": "\\'", '"': '"'}.get(character) or quote(character)[1:-1]
    return f"'{_to_ascii(shown) if flags.plus else shown}'"


def _unicode(value: int, flags: _Flags) -> str:
    digits = max(4, flags.precision or 0)
    text = f"U+{value & 0xFFFFFFFFFFFFFFFF:0{digits}X}"
    if flags.sharp and 0 <= value <= 0x10FFFF and _character(value).isprintable():
        text += f" '{_character(value)}'"
    return flags.pad(text, zeros=False)


def _complex(value: complex, verb: str, flags: _Flags) -> str:
    if verb not in "vbgGxXfFeE":
        return _bad(verb, value, flags)
    real = _float(value.real, verb, flags)
    before, flags.plus = flags.plus, True
    imaginary = _float(value.imag, verb, flags)
    flags.plus = before
    return f"({real}{imaginary}i)"


def _float(value: float, verb: str, flags: _Flags) -> str:
    shape: str
    match verb:
        case "v" | "g" | "G" | "b" | "x" | "X":
            precision = flags.precision
            shape = "g" if verb == "v" else verb
        case "e" | "E" | "f" | "F":
            precision = 6 if flags.precision is None else flags.precision
            shape = "f" if verb == "F" else verb
        case _:
            return _bad(verb, value, flags)
    sign = "-" if math.copysign(1, value) < 0 and not math.isnan(value) else "+"
    digits = go_float(abs(value), shape, precision)
    if not math.isfinite(value):
        shown = sign if sign == "-" or flags.plus else " " if flags.space else "+" if math.isinf(value) else ""
        return flags.pad(shown + digits.lstrip("+"), zeros=False)
    if flags.sharp and shape != "b":
        digits = _with_point(digits, shape, precision)
    shown = sign if sign == "-" or flags.plus else " " if flags.space else ""
    if shown and flags.zero and not flags.minus and flags.width is not None:
        return shown + digits.rjust(flags.width - 1, "0")
    return flags.pad(shown + digits)


def _with_point(digits: str, shape: str, precision: int | None) -> str:
    """The ``#`` flag: always a decimal point, and for %g all digits of the precision."""
    mark = next((one for one in digits if one in ("pP" if shape in "xX" else "eE")), "")
    body, _, tail = digits.partition(mark) if mark else (digits, "", "")
    wanted = 0
    if shape in "gGx":
        wanted = 6 if precision is None else precision
        significant = body.replace(".", "").lstrip("0")
        wanted -= len(significant) or (1 if body == "0" else 0)
    if "." not in body:
        body += "."
    return body + "0" * max(0, wanted) + mark + tail


def go_float(value: float, shape: str, precision: int | None) -> str:
    """strconv.FormatFloat of a value that is not negative; ``precision`` None is the shortest that reads back."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf"
    match shape:
        case "g" | "G" if precision is None:
            text = format_float(value)
        case "g" | "G":
            text = f"{value:.{max(precision or 0, 1)}g}"
        case "e" | "E" if precision is None:
            _, digits, exponent = shortest_digits(value)
            fraction = f".{digits[1:]}" if len(digits) > 1 else ""
            text = f"{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
        case "e" | "E":
            text = f"{value:.{precision}e}"
        case "f":
            text = f"{value:.{precision}f}"
        case "b":
            mantissa, power = math.frexp(value)
            lost = max(0, -1021 - power) if value else 53  # small numbers have fewer than 53 bits
            return f"{int(mantissa * (1 << (53 - lost)))}p{power - 53 + lost if value else -1074:+d}"
        case _:
            text = _hexadecimal_float(value, precision)
    return text.upper() if shape in "GEX" else text


def _hexadecimal_float(value: float, precision: int | None) -> str:
    """``0x1.8p+01``: one digit before the point, two for the exponent."""
    if value == 0:
        fraction = "." + "0" * precision if precision else ""
        return f"0x0{fraction}p+00"
    mantissa, exponent = math.frexp(value)
    bits = int(mantissa * (1 << 53))  # 53 bits, the first is 1
    exponent -= 1
    if precision is not None and precision < 13:
        drop = 52 - 4 * precision
        bits, rest = divmod(bits, 1 << drop)
        half = 1 << (drop - 1)
        bits += rest > half or (rest == half and bits & 1)
        if bits >> (4 * precision + 1):
            bits >>= 1
            exponent += 1
        digits = f"{bits:x}".rjust(precision + 1, "0")
    else:
        digits = f"{bits:014x}"
        digits = digits.rstrip("0") if precision is None else digits.ljust(precision + 1, "0")
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"0x{digits[0] or '1'}{fraction}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
