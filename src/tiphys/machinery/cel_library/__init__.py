"""The functions that Kubernetes adds to CEL, and the environment its rules are compiled in.

One module per kind of value: quantities, network addresses, URLs, versions, name formats; `searching` has the regular
expressions. Validation rules of custom resources see all of them.
"""

from __future__ import annotations

from functools import cache

from tiphys.lang.cel import BASE, TYPE_NAMES, Environment, merged
from tiphys.machinery.cel_library import addresses, amounts, formats, searching, urls, versions


@cache
def environment() -> Environment:
    """Functions and types, without variables."""
    libraries = (addresses, amounts, formats, searching, urls, versions)
    functions = merged(BASE, *(library.FUNCTIONS for library in libraries))
    named = (addresses.IP, addresses.CIDR, amounts.TYPE, formats.TYPE, urls.TYPE, versions.TYPE)
    return Environment(functions, {}, {}, {**TYPE_NAMES, **{found.name: found for found in named}})


__all__ = ["environment"]
