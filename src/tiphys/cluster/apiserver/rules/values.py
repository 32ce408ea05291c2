"""Complaints about single values, as all rules word them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, shown, unsupported
from tiphys.machinery.equality import same

AT_LEAST_0 = "must be greater than or equal to 0"
Fields = Mapping[str, Any]


def not_negative(owner: Fields, at: str, *fields: str) -> Iterator[Complaint]:
    for field in fields:
        value = owner.get(field)
        if isinstance(value, int) and value < 0:
            yield invalid_value(f"{at}.{field}", value, AT_LEAST_0)


def one_of(owner: Fields, at: str, field: str, supported: Sequence[str]) -> Iterator[Complaint]:
    """Empty means the default, which somebody else fills in."""
    value = owner.get(field)
    if value and value not in supported:
        yield unsupported(f"{at}.{field}", value, supported)


def named(owner: Fields, at: str, field: str, rule: Callable[[str], list[str]]) -> Iterator[Complaint]:
    """A name that must be there and in form."""
    value = owner.get(field)
    if not value:
        yield required(f"{at}.{field}")
    else:
        yield from in_form(value, f"{at}.{field}", rule)


def in_form(value: str, at: str, rule: Callable[[str], list[str]]) -> Iterator[Complaint]:
    for message in rule(value):
        yield invalid_value(at, value, message)


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


def immutable(at: str, value: Any, old: Any) -> Iterator[Complaint]:
    """A value that may not change; empty and absent are the same."""
    if not same(value or None, old or None):
        yield invalid_value(at, value, "field is immutable")


def without_dots(path: str, at: str) -> Iterator[Complaint]:
    if ".." in path.split("/"):
        yield invalid_value(at, path, "must not contain '..'")


def inside(path: str, at: str) -> Iterator[Complaint]:
    """A path below somebody else's folder."""
    if path.startswith("/"):
        yield invalid_value(at, path, "must be a relative path")
    yield from without_dots(path, at)
