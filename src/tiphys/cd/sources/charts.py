"""Charts from Helm repositories: the index says which versions there are, archives are kept by digest.

A revision is a version or a constraint on versions (util/helm of argo-cd). Archives come from the URL in the index; the
repository's credentials go along only where host and scheme are the repository's own, or the source says so. A version
that was fetched is not asked for again until somebody wants it hard.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp

from tiphys.cd.sources import https, revisions, urls
from tiphys.cd.sources.archives import unpack
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.shelf import Shelf
from tiphys.lang import goyaml

INDEX_BYTES_MAX = 1024 * 1024 * 1024
ARCHIVE_BYTES_MAX = 100 * 1024 * 1024
DEADLINE_SECONDS = 90.0
KNOWN_MAX = 1_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ChartRepository:
    """A repository of charts and how to get at it. ``passes_credentials``: also to the hosts of its archives."""

    url: str
    credentials: Credentials = field(default=Credentials(), compare=False)
    passes_credentials: bool = field(default=False, compare=False)


class ChartStore:
    """The charts below one directory; each version is unpacked once."""

    def __init__(self, place: Path, session: aiohttp.ClientSession) -> None:
        self.place = place
        self.session = session
        self.shelf = Shelf(place)
        self._unpacking = asyncio.Lock()
        self._known: OrderedDict[tuple[str, str, str], Path] = OrderedDict()

    async def resolve(self, repository: ChartRepository, chart: str, revision: str) -> str:
        """The version of a chart that a revision means. Raises `RenderError`."""
        if revisions.is_version(revision):
            return revision
        entries = await self._entries(repository, chart)
        try:
            return revisions.max_version(revision, [str(entry.get("version", "")) for entry in entries])
        except revisions.NoRevision as err:
            raise RenderError(f"invalid revision '{revision}' of chart {chart}: {err}") from None

    async def checkout(self, repository: ChartRepository, chart: str, version: str, *, hard: bool = False) -> Path:
        """The unpacked chart, not to be changed. Raises `RenderError`."""
        key = (repository.url, chart, version)
        known = self._known.get(key)
        if known is None or hard or not known.exists():
            known = self._known[key] = await self._fetched(repository, chart, version)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        self.shelf.used(known)
        return _chart_in(known, chart)

    async def _fetched(self, repository: ChartRepository, chart: str, version: str) -> Path:
        """The directory of an archive, which holds that of the chart."""
        entry = next((one for one in await self._entries(repository, chart) if one.get("version") == version), None)
        if entry is None or not isinstance(entry.get("urls"), list) or not entry["urls"]:
            raise RenderError(f"chart {chart} {version} is not in {urls.sanitized(repository.url)}")
        wanted = str(entry.get("digest") or "").removeprefix("sha256:")
        # By URL: who knows a digest must not get with it what only others may read.
        place = self.place / hashlib.sha256(repository.url.encode()).hexdigest()[:32]
        if _SHA256.fullmatch(wanted) and (place / wanted).exists():
            return place / wanted
        try:
            url = urljoin(repository.url.rstrip("/") + "/", str(entry["urls"][0]))
        except ValueError as err:
            raise RenderError(f"the URL of chart {chart} {version} cannot be read: {err}") from None
        data = await self._get(url, repository, ARCHIVE_BYTES_MAX)
        digest = hashlib.sha256(data).hexdigest()
        if wanted and digest != wanted:
            raise RenderError(f"chart {chart} {version} has digest {digest}, the index says {wanted}")
        async with self._unpacking:
            return await asyncio.to_thread(_unpacked, data, place / digest)

    async def _entries(self, repository: ChartRepository, chart: str) -> Sequence[Mapping[str, Any]]:
        data = await self._get(repository.url.rstrip("/") + "/index.yaml", repository, INDEX_BYTES_MAX)
        try:
            index = await asyncio.to_thread(goyaml.load, data)  # of a large repository it takes seconds
        except goyaml.YamlError as err:
            raise RenderError(f"the index of {urls.sanitized(repository.url)} is no YAML: {err}") from None
        charts = index.get("entries") if isinstance(index, dict) else None
        listed = charts.get(chart) if isinstance(charts, dict) else None
        entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if not entries:
            raise RenderError(f"chart {chart} is not in the index of {urls.sanitized(repository.url)}")
        return entries

    async def _get(self, url: str, repository: ChartRepository, size_max: int) -> bytes:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        shown, given = urls.sanitized(url), repository.credentials
        try:
            headers = https.authorization(given, url, repository.url, anywhere=repository.passes_credentials)
            trust, way = https.verification(given), https.proxy(given, url)
            async with self.session.get(url, headers=headers, timeout=timeout, ssl=trust, proxy=way) as answer:
                if answer.status != 200:
                    raise RenderError(f"{shown} answered {answer.status} {answer.reason}")
                return await https.body(answer, size_max)
        except RenderError:
            raise
        except (aiohttp.ClientError, TimeoutError, ValueError) as err:
            raise RenderError(f"{shown} could not be fetched: {err or type(err).__name__}") from None


def _unpacked(data: bytes, target: Path) -> Path:
    if not target.exists():
        partial, archive = target.with_suffix(".partial"), target.with_suffix(".tgz")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            archive.write_bytes(data)
            unpack(archive, partial)
            partial.rename(target)
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _chart_in(archive: Path, chart: str) -> Path:
    found = archive / chart.rpartition("/")[2]
    if not (found / "Chart.yaml").is_file():
        raise RenderError(f"the archive of chart {chart} holds no {chart}/Chart.yaml")
    return found
