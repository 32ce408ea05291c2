"""Paths in the API's sense: segments of URLs, and names below a domain."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.cluster.apiserver.rules.values import Fields, in_form
from tiphys.lang import name_rules

_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def segment(name: str) -> list[str]:
    """What is wrong with a name that stands between two slashes of a URL."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in name]


def named_segment(owner: Fields, at: str, field: str) -> Iterator[Complaint]:
    if not owner.get(field):
        yield required(f"{at}.{field}")
    else:
        yield from in_form(owner[field], f"{at}.{field}", segment)


def prefixed_path(path: str, at: str) -> Iterator[Complaint]:
    """``domain/path``."""
    if not path:
        yield required(at)
        return
    host, slash, rest = path.partition("/")
    if not slash or not host or not rest:
        yield invalid_value(at, path, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    yield from in_form(host, at, name_rules.dns1123_subdomain)
    if not re.fullmatch(_PATH, rest):
        yield invalid_value(at, rest, f"Invalid path (regex used for validation is '{_PATH}')")
