"""Stores of sources in a temporary directory."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tiphys.cd.sources.artifacts import ArtifactStore
from tiphys.cd.sources.charts import ChartStore
from tiphys.cd.sources.fetching import Stores
from tiphys.cd.sources.git import GitStore
from tiphys.cd.sources.github_app import GitHubApps
from tiphys.runtime.clock import SystemClock


def stores(place: Path, session: aiohttp.ClientSession, git: GitStore | None = None) -> Stores:
    clock = SystemClock()
    return Stores(
        git or GitStore(place / "git"),
        ChartStore(place / "charts", session),
        ArtifactStore(place / "artifacts", clock),
        GitHubApps(session, clock),
    )
