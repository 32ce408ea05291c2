"""How a node's messages name a pod, and durations as Go prints them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


def full_name(pod: Mapping[str, Any]) -> str:
    """``name_namespace(uid)`` (kubelet util/format.Pod)."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta.get('namespace', '')}({meta.get('uid', '')})"


def go_duration(wait: timedelta) -> str:
    """Whole seconds the way Go prints a duration: ``10s``, ``1m20s``, ``5m0s``."""
    minutes, seconds = divmod(int(wait.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
