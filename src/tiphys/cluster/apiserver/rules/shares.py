"""Numbers or percentages: how many pods may be missing, or be there in addition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tiphys.cluster.apiserver.problems import Complaint, invalid_value
from tiphys.cluster.apiserver.rules.values import AT_LEAST_0


def share(value: Any, at: str) -> Iterator[Complaint]:
    """A number that is not negative, or a percentage."""
    if isinstance(value, str):
        if _percent(value) is None:
            text = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            yield invalid_value(at, value, text)
    elif (value or 0) < 0:
        yield invalid_value(at, value, AT_LEAST_0)


def at_most_all(value: Any, at: str) -> Iterator[Complaint]:
    percent = _percent(value) if isinstance(value, str) else None
    if percent is not None and percent > 100:
        yield invalid_value(at, value, "must not be greater than 100%")


def size(value: Any) -> int:
    """The number, of a percentage its number; what is neither counts as Go's Atoi would have it."""
    if isinstance(value, str):
        percent = _percent(value)
        if percent is not None:
            return percent
        return int(value) if re.fullmatch(r"[+-]?[0-9]+", value) else 0
    return int(value or 0)


def _percent(text: str) -> int | None:
    return int(text[:-1]) if re.fullmatch("[0-9]+%", text, re.ASCII) else None
