"""Timestamps as Kubernetes writes them: ``Time`` (RFC 3339, whole seconds, Z) and ``MicroTime`` (six decimals)."""

from __future__ import annotations

from datetime import UTC, datetime


def to_time(moment: datetime) -> str:
    """``2024-01-01T00:00:00Z``; fractions are cut off. ``moment`` must be aware."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Reads RFC 3339 with any offset; raises ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    return moment.astimezone(UTC)
