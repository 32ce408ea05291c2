"""Pods that use more of the node's disk than they said they would: looked at from time to time, and evicted.

Limits are those of ``emptyDir.sizeLimit`` and of ``ephemeral-storage`` (kubernetes pkg/kubelet/eviction, local storage
limits; its words). Memory-backed volumes are limited by their file system already. Pods without such limits cost
nothing; measuring walks a directory, so it is bounded by time between looks, not by us.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiphys.cluster.node.amounts import amount

Object = Mapping[str, Any]
LOOK_SECONDS = 10.0


def is_limited(pod: Object) -> bool:
    """Whether there is anything to look at."""
    volumes = any(_size_limit(volume) for volume in pod["spec"].get("volumes") or ())
    return volumes or any(_storage_limit(container) is not None for container in pod["spec"]["containers"])


def complaint(pod: Object, volumes: Mapping[str, Path], written: Mapping[str, Sequence[Path]]) -> str:
    """What the pod has exceeded; "" if nothing. ``written`` are the places that each container writes to itself."""
    shared = 0
    for volume in pod["spec"].get("volumes") or ():
        place = volumes.get(volume["name"])
        if "emptyDir" not in volume or place is None or (volume["emptyDir"] or {}).get("medium"):
            continue
        used = disk_usage(place)
        shared += used
        limit = _size_limit(volume)
        if limit is not None and used > amount(limit):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    return _over_containers(pod, shared, written)


def _over_containers(pod: Object, shared: int, written: Mapping[str, Sequence[Path]]) -> str:
    limits = {c["name"]: limit for c in pod["spec"]["containers"] if (limit := _storage_limit(c)) is not None}
    if not limits:
        return ""
    used = {c["name"]: sum(map(disk_usage, written.get(c["name"], ()))) for c in pod["spec"]["containers"]}
    if len(limits) == len(used) and sum(used.values()) + shared > sum(map(amount, limits.values())):
        total = next(iter(limits.values())) if len(limits) == 1 else str(int(sum(map(amount, limits.values()))))
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for name, limit in limits.items():
        if used[name] > amount(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _size_limit(volume: Object) -> str | None:
    limit = (volume.get("emptyDir") or {}).get("sizeLimit")
    return str(limit) if limit not in (None, "", "0", 0) and not (volume["emptyDir"] or {}).get("medium") else None


def _storage_limit(container: Object) -> str | None:
    limit = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
    return None if limit is None else str(limit)


def disk_usage(place: Path) -> int:
    """Bytes that a directory (or file) takes on the disk; links are not followed."""
    try:
        total = place.lstat().st_blocks * 512
    except OSError:
        return 0
    for directory, folders, files in os.walk(place):
        for name in (*folders, *files):
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                continue
    return total
