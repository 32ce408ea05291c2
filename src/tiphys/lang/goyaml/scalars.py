"""What a scalar means: the implicit types of go-yaml v2, which are YAML 1.1's with exceptions.

    bool    y Y yes Yes YES true True TRUE on On ON, and their opposites
    null    "" ~ null Null NULL
    int     [-+] decimal, 0x…, 0o…, 0… (octal), 0b…; "_" anywhere; else a float when it is beyond 64 bits
    float   [-+] digits with point or exponent; .inf and .nan, which JSON cannot hold
    str     everything else: also dates, 12:30 (no base 60), 0x1p4, 1e999

Values come out as a JSON reader would see them: a whole float that fits 64 bits is an int (``1e3`` is 1000).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from functools import lru_cache
from typing import Final

from tiphys.lang import gofmt, gojson, gotime

PLAIN_HINTS: Final = frozenset("+-0123456789yYnNtTfFoO~.")
"""Only plain scalars that start so, or are empty, can be anything but strings."""

Value = str | int | float | bool | None


class ScalarError(ValueError):
    """The text cannot be what its tag says, or JSON has no form for it."""


@lru_cache(maxsize=4096)
def resolve(text: str) -> Value:
    """The value of a plain scalar without tag."""
    return _as_json(_implicit(text))


@lru_cache(maxsize=4096)
def resolve_key(text: str) -> str:
    """A plain scalar as the key of a JSON object: ``1.50`` is "1.5" and ``no`` is "false"."""
    return _key_text(_implicit(text))


def resolve_tagged(tag: str, text: str) -> Value:
    """The value of a scalar with an explicit tag."""
    return _as_json(_explicit(tag, text))


def resolve_tagged_key(tag: str, text: str) -> str:
    """A scalar with an explicit tag as the key of a JSON object."""
    return _key_text(_explicit(tag, text))


def typed(tag: str | None, text: str, *, is_plain: bool) -> tuple[str, Value]:
    """Kind and value as Go compares keys: 1, 1.0, true and "1" are four different ones."""
    value = text if tag is None and not is_plain else _implicit(text) if tag is None else _explicit(tag, text)
    return _KINDS[type(value)], value


_NAMED: Final[dict[str, Value]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_KINDS: Final = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}
_STANDARD = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(("bool", "int", "float", "null", "timestamp", "str"))

_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|([1-9][0-9]*|0))")
# "0b" is cut off before the rest is read, so a sign may follow it
_SIGNED_BINARY = re.compile(r"0b([-+][01]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def _implicit(text: str) -> Value:
    if text in _NAMED:
        return _NAMED[text]
    if text[0] not in "+-0123456789.":
        return text
    # an underscore after a leading point is no separator
    number = _number(text if text[0] == "." else text.replace("_", ""))
    return text if number is None else number


def _number(plain: str) -> int | float | None:
    integer = _INTEGER.fullmatch(plain)
    if integer is not None and (value := _int64(integer)) is not None:
        return value
    if _FLOAT.fullmatch(plain):
        value_as_float = float(plain)
        return value_as_float if math.isfinite(value_as_float) else None
    if (binary := _SIGNED_BINARY.fullmatch(plain)) and -(2**63) <= (signed := int(binary[1], 2)) < 2**63:
        return signed
    return None


def _int64(match: re.Match[str]) -> int | None:
    """The integer if it fits int64, or uint64 when it has no sign."""
    sign, *bodies = match.groups()
    body, base = next((digits, base) for digits, base in zip(bodies, (16, 8, 2, 10), strict=True) if digits is not None)
    if base == 10 and len(body) > 20:
        return None
    value = -int(body, base) if sign == "-" else int(body, base)
    return value if -(2**63) <= value < (2**63 if sign else 2**64) else None


def _explicit(tag: str, text: str) -> Value:
    name = tag.removeprefix(_STANDARD) if tag.startswith(_STANDARD) else ""
    if name == "binary":
        return _binary(text)
    if name not in _SCALAR_TAGS or name == "str":
        return text
    value = _implicit(text)
    kind = _KINDS[type(value)]
    if name == "timestamp" and kind == "str" and is_timestamp(text):
        return text
    if name == "float" and isinstance(value, int) and kind == "int" and value < 2**63:
        return float(value)
    if kind != name:
        raise ScalarError(f"cannot decode !!{kind} `{text}` as a !!{name}")
    return value


def _binary(text: str) -> str:
    try:
        data = base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as err:
        raise ScalarError("!!binary value contains invalid base64 data") from err
    # JSON holds text only: every byte that is no UTF-8 becomes U+FFFD
    return re.sub("[\udc80-\udcff]", "\ufffd", data.decode("utf-8", "surrogateescape"))


_TIMESTAMPS = (
    "2006-1-2T15:4:5.999999999Z07:00",
    "2006-1-2t15:4:5.999999999Z07:00",
    "2006-1-2 15:4:5.999999999",
    "2006-1-2",
)


def is_timestamp(text: str) -> bool:
    if not re.match("[0-9]{4}-", text):
        return False
    for layout in _TIMESTAMPS:
        try:
            gotime.parse(layout, text)
        except gotime.GoTimeError:
            continue
        return True
    return False


def _as_json(value: Value) -> Value:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ScalarError(f"json: unsupported value: {gofmt.format_float(value)}")
    if not value.is_integer() or not -(2.0**63) <= value < 2.0**64 or (not value and math.copysign(1, value) < 0):
        return value
    # of a float beyond 2**53 JSON shows the shortest digits, not the exact value
    return int(value) if abs(value) < 2**53 else int(gojson.format_float(value))


def _key_text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if value >= 2**63:  # the original knows no unsigned keys
            raise ScalarError(f"unsupported map key of type: uint64, key: {value}")
        return str(value)
    if isinstance(value, float):
        text = gofmt.format_float(_through_float32(value))
        return {"+Inf": ".inf", "-Inf": "-.inf", "NaN": ".nan"}.get(text, text)
    raise ScalarError("unsupported map key of type: %!s(<nil>), key: <nil>")


def _through_float32(value: float) -> float:
    """The float with the shortest digits that name the same float32."""
    if not math.isfinite(value) or abs(value) > _FLOAT32_MAX:
        return value
    packed = struct.pack("f", value)
    shortest = (float(f"{struct.unpack('f', packed)[0]:.{digits}e}") for digits in range(9))
    return next(text for text in shortest if struct.pack("f", text) == packed)


_FLOAT32_MAX: Final = 3.4028235e38
