"""What a health check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

HealthStatus = Literal["", "Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown"]

HEALTH_ORDER: Final = ("Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown")


@dataclass(frozen=True, slots=True)
class Health:
    """``status`` is "" where a script answered nothing."""

    status: HealthStatus
    message: str = ""


class HealthError(Exception):
    """The check itself failed; the health is Unknown, with this message."""


def is_worse(current: str, new: str) -> bool:
    """Whether ``new`` is worse than ``current``; a status that is not in the order counts as Healthy."""
    ranks = [HEALTH_ORDER.index(each) if each in HEALTH_ORDER else 0 for each in (current, new)]
    return ranks[1] > ranks[0]
