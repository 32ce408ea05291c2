"""Complaints about single values, as all rules word them."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.metadata import label_complaints
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, shown, unsupported
from tiphys.lang import name_rules
from tiphys.machinery.equality import same
from tiphys.machinery.quantities import Quantity, is_quantity, parse

AT_LEAST_0: Final = "must be greater than or equal to 0"
ABOVE_0: Final = "must be greater than zero"
IMMUTABLE: Final = "field is immutable"
INT32_MAX: Final = 2**31 - 1
PORT_MAX: Final = 65_535
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
Fields = Mapping[str, Any]
Rule = Callable[[str], list[str]]


# Numbers


def not_negative(owner: Fields, at: str, *fields: str) -> Iterator[Complaint]:
    for field in fields:
        value = owner.get(field)
        if isinstance(value, int) and value < 0:
            yield invalid_value(f"{at}.{field}", value, AT_LEAST_0)


def positive(value: int, at: str) -> Iterator[Complaint]:
    if value <= 0:
        yield invalid_value(at, value, ABOVE_0)


def within(value: int, at: str, low: int, high: int) -> Iterator[Complaint]:
    if not low <= value <= high:
        yield invalid_value(at, value, f"must be between {low} and {high}, inclusive")


def port(value: int, at: str) -> Iterator[Complaint]:
    yield from within(value, at, 1, PORT_MAX)


def port_or_name(value: Any, at: str) -> Iterator[Complaint]:
    if isinstance(value, str):
        yield from in_form(value, at, port_name)
    else:
        yield from port(value or 0, at)


def port_name(name: str) -> list[str]:
    """What is wrong with a port's name (IANA service names)."""
    found = []
    if len(name.encode()) > 15:
        found.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def quantity(value: Any) -> Quantity:
    """Zero for what cannot be read, which the decoder has refused before."""
    text = str(value)
    return parse(text) if is_quantity(text) else parse("0")


# Choices and names


def one_of(owner: Fields, at: str, field: str, supported: Sequence[str]) -> Iterator[Complaint]:
    """Empty means the default, which somebody else fills in."""
    value = owner.get(field)
    if value and value not in supported:
        yield unsupported(f"{at}.{field}", value, supported)


def given_one_of(owner: Fields, at: str, field: str, supported: Sequence[str]) -> Iterator[Complaint]:
    """A choice that must be made where the field is there at all."""
    value = owner.get(field)
    if value is not None and value not in supported:
        yield unsupported(f"{at}.{field}", value, supported)


def chosen(value: Any, at: str, supported: Sequence[str]) -> Iterator[Complaint]:
    """A choice that must be made."""
    if not value:
        yield required(at)
    elif value not in supported:
        yield unsupported(at, value, supported)


def named(owner: Fields, at: str, field: str, rule: Rule) -> Iterator[Complaint]:
    """A name that must be there and in form."""
    value = owner.get(field)
    if not value:
        yield required(f"{at}.{field}")
    else:
        yield from in_form(value, f"{at}.{field}", rule)


def in_form(value: str, at: str, rule: Rule) -> Iterator[Complaint]:
    for message in rule(value):
        yield invalid_value(at, value, message)


def in_form_if_given(owner: Fields, at: str, field: str, rule: Rule) -> Iterator[Complaint]:
    if owner.get(field):
        yield from in_form(owner[field], f"{at}.{field}", rule)


def needed(owner: Fields, at: str, *fields: str) -> Iterator[Complaint]:
    for field in fields:
        if not owner.get(field):
            yield required(f"{at}.{field}")


def duplicate(at: str, value: Any) -> Complaint:
    return Complaint(at, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def missing(at: str, value: Any, text: str = "") -> Complaint:
    return Complaint(at, "FieldValueNotFound", f"Not found: {shown(value)}" + (f": {text}" if text else ""))


def too_long(at: str, limit: int) -> Complaint:
    return Complaint(at, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(at: str, count: int, limit: int) -> Complaint:
    return Complaint(at, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


# Labels and selectors


def labels(owner: Fields, at: str, field: str) -> Iterator[Complaint]:
    yield from label_complaints(owner.get(field) or {}, f"{at}.{field}")


def label_key(key: str, at: str) -> Iterator[Complaint]:
    yield from in_form(key, at, name_rules.qualified_name)


def selector(wanted: Fields | None, at: str) -> Iterator[Complaint]:
    """A label selector."""
    if wanted is None:
        return
    yield from labels(wanted, at, "matchLabels")
    for number, each in enumerate(wanted.get("matchExpressions") or ()):
        here = f"{at}.matchExpressions[{number}]"
        operator, values = each.get("operator") or "", each.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                yield required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden_value(f"{here}.values", text)
        else:
            yield invalid_value(f"{here}.operator", operator, "not a valid selector operator")
        yield from label_key(each.get("key") or "", f"{here}.key")
        for index, value in enumerate(values):
            yield from in_form(value, f"{here}.values[{index}]", name_rules.label_value)


def selects(wanted: Fields, held: Fields) -> bool:
    """Whether a valid label selector fits labels."""
    if any(held.get(key) != value for key, value in (wanted.get("matchLabels") or {}).items()):
        return False
    return all(_requirement_fits(each, held) for each in wanted.get("matchExpressions") or ())


def _requirement_fits(requirement: Fields, held: Fields) -> bool:
    key, values = requirement.get("key") or "", requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return held.get(key) in values and key in held
        case "NotIn":
            return key not in held or held[key] not in values
        case "Exists":
            return key in held
    return key not in held


def is_empty(wanted: Fields | None) -> bool:
    return not wanted or not (wanted.get("matchLabels") or wanted.get("matchExpressions"))


# Addresses


def address(value: str, at: str) -> Iterator[Complaint]:
    if sloppy_address(value) is None:
        yield invalid_value(at, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def cidr(value: str, at: str) -> Iterator[Complaint]:
    if sloppy_network(value) is None:
        yield invalid_value(at, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LEADING_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")


def sloppy_address(text: str) -> Address | None:
    """As Go's old parser read it: decimal numbers may begin with zeros. No zones."""
    plain = _LEADING_ZEROS.sub("", text) if "." in text and ":" not in text else text
    try:
        return None if "%" in text else ipaddress.ip_address(plain)
    except ValueError:
        return None


def sloppy_network(text: str) -> Network | None:
    """None unless it is ``address/bits``."""
    head, slash, bits = text.partition("/")
    found = sloppy_address(head)
    if found is None or not slash or not re.fullmatch(r"[0-9]{1,3}", bits) or int(bits) > found.max_prefixlen:
        return None
    return ipaddress.ip_network((found, int(bits)), strict=False)


# Paths


def without_dots(path: str, at: str) -> Iterator[Complaint]:
    if ".." in path.split("/"):
        yield invalid_value(at, path, "must not contain '..'")


def inside(path: str, at: str) -> Iterator[Complaint]:
    """A path below somebody else's folder."""
    if path.startswith("/"):
        yield invalid_value(at, path, "must be a relative path")
    yield from without_dots(path, at)


def file_below(path: str, at: str) -> Iterator[Complaint]:
    """A file below somebody else's folder, with a name that is not reserved."""
    yield from inside(path, at)
    if path.startswith("..") and not path.startswith("../"):
        yield invalid_value(at, path, "must not start with '..'")


# Changes


def immutable(at: str, value: Any, old: Any, type_name: str = "") -> Iterator[Complaint]:
    """A value that may not change; empty and absent are the same. ``type_name``: the internal type that shows it."""
    if not same(value or None, old or None):
        yield invalid_value(at, internal_names.shown(type_name, value) if type_name else value, IMMUTABLE)


def difference(type_name: str, old: Any, new: Any) -> str:
    """A unified difference of two values as Go shows them."""
    before, after = (
        json.dumps(internal_names.shown(type_name, value), indent=1, ensure_ascii=False).split("\n")
        for value in (old, new)
    )
    lines = list(difflib.unified_diff(before, after, lineterm=""))[2:]
    return "".join(f"{line}\n" for line in lines)
