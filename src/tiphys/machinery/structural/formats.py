"""The string formats of OpenAPI that a definition may name (go-openapi/strfmt); others are not checked."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import date
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Final
from urllib.parse import urlsplit

_UUID: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}", re.I)
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_DURATION: Final = re.compile(r"[+-]?(0|([0-9]*(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h|d|w))+)")
_WORDED_DURATION: Final = re.compile(
    r"\s*([0-9.]+)\s*(nanoseconds?|microseconds?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?)\s*"
)
_RGB: Final = re.compile(r"rgb\(\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*\)")


def fits(name: str, text: str) -> bool:
    """Whether ``text`` has the format; True for a format that is not known."""
    check = _CHECKS.get(name.replace("-", ""))
    return check is None or check(text)


def _is_date(text: str) -> bool:
    try:
        return re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is not None and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_date_time(text: str) -> bool:
    return _DATE_TIME.fullmatch(text) is not None and _is_date(text[:10])


def _is_uri(text: str) -> bool:
    """Absolute, or an absolute path (url.ParseRequestURI)."""
    if not text or re.search(r"[\x00-\x20\x7f]", text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    return bool(at and local and domain) and not re.search(r"\s", domain)


def _is_hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    return len(text) <= 255 and all(_LABEL.fullmatch(label) for label in labels)


def _is_ipv4(text: str) -> bool:
    try:
        return bool(IPv4Address(text)) or True
    except AddressValueError:
        return False


def _is_ipv6(text: str) -> bool:
    try:
        return bool(IPv6Address(text)) or True
    except AddressValueError:
        return False


def _is_cidr(text: str) -> bool:
    if "/" not in text:
        return False
    try:
        return bool(ip_network(text, strict=False)) or True
    except ValueError:
        return False


def _is_mac(text: str) -> bool:
    return any(
        re.fullmatch(pattern, text)
        for pattern in (
            r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5,7}",
            r"[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5,7}",
            r"[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2,3}",
        )
    )


def _is_uuid(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        match = _UUID.fullmatch(text)
        return match is not None and (not version or (match[1] == version and (version == "3" or match[2] in "89abAB")))

    return check


def _is_byte(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError:
        return False
    return True


def _is_duration(text: str) -> bool:
    if text and _DURATION.fullmatch(text) and re.search(r"[0-9]", text):
        return True
    return _WORDED_DURATION.fullmatch(text) is not None


def _is_isbn10(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        return False
    return sum((10 - at) * (10 if d == "X" else int(d)) for at, d in enumerate(digits)) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if not re.fullmatch(r"[0-9]{13}", digits):
        return False
    return sum(int(d) * (3 if at % 2 else 1) for at, d in enumerate(digits)) % 10 == 0


def _is_credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [int(d) * (2 if at % 2 else 1) for at, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_rgb(text: str) -> bool:
    match = _RGB.fullmatch(text)
    return match is not None and all(int(part) <= 255 for part in match.groups())


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "date": _is_date,
    "datetime": _is_date_time,
    "uri": _is_uri,
    "email": _is_email,
    "hostname": _is_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "cidr": _is_cidr,
    "mac": _is_mac,
    "uuid": _is_uuid(""),
    "uuid3": _is_uuid("3"),
    "uuid4": _is_uuid("4"),
    "uuid5": _is_uuid("5"),
    "byte": _is_byte,
    "duration": _is_duration,
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "creditcard": _is_credit_card,
    "ssn": lambda text: re.fullmatch(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}", text) is not None,
    "hexcolor": lambda text: re.fullmatch(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text) is not None,
    "rgbcolor": _is_rgb,
    "bsonobjectid": lambda text: re.fullmatch(r"[0-9a-fA-F]{24}", text) is not None,
}
