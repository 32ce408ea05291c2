"""How long ago, as kubectl prints it: ``45s``, ``2m1s``, ``119m``, ``25h``, ``3d4h``, ``8y``.

Coarser the longer it is (apimachinery ``util/duration.HumanDuration``); a future moment is ``<invalid>``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_INVALID = "<invalid>"


def human_duration(span: timedelta) -> str:
    """A span as two units at most; up to a second in the future counts as now."""
    seconds = int(span.total_seconds())
    if span < timedelta(seconds=-1):
        return _INVALID
    if seconds < 60 * 2:
        return f"{max(seconds, 0)}s"
    minutes = seconds // 60
    if minutes < 10:
        return _joined(minutes, "m", seconds % 60, "s")
    if minutes < 60 * 3:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _joined(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return _joined(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    return _joined(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def age(since: str | None, now: datetime) -> str:
    """The age of a timestamp of the API; ``<unknown>`` without one."""
    if not since:
        return "<unknown>"
    return human_duration(now - datetime.fromisoformat(since))


def _joined(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"
