"""What a product may do around a pod's containers: prepare before the first starts, harvest after the last ended.

The agent knows nothing of workflows; ``app`` injects extensions. An extension never talks to the API itself: what it
wants written comes back as values and goes into the same group as the pod's final status, so that nobody ever sees a
finished pod without its results (``docs/decisions/0001-contracts.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tiphys.machinery.podlife import Exit, Harvest, PodDirs, Staged


class PodExtension(Protocol):
    """Both coroutines must be safe to repeat: a restarted agent calls them again for pods that it finds unfinished."""

    def claims(self, pod: Mapping[str, Any]) -> bool: ...

    async def stage(self, pod: Mapping[str, Any], dirs: PodDirs) -> Staged: ...

    async def collect(self, pod: Mapping[str, Any], dirs: PodDirs, exits: Mapping[str, Exit]) -> Harvest: ...
