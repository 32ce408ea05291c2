"""Artifacts from registries: charts that are kept in one, and directories that are (``repoURL: oci://…``).

    tag, digest or constraint ─► digest ─► manifest ─► its one content layer ─► unpacked, kept by digest

Which layers count, and how many there may be, is as in util/oci of argo-cd. A registry's tag has ``_`` where a version
has ``+``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from tiphys.cd.sources import https, revisions
from tiphys.cd.sources.archives import unpack
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.shelf import Shelf
from tiphys.oci.credentials import Credential, Keyring
from tiphys.oci.manifests import Descriptor, ImageError, Manifest, choose_platform, is_index, parse_manifest
from tiphys.oci.reference import InvalidReference, Reference, parse
from tiphys.oci.registries import Registries
from tiphys.oci.registry import RegistryClient
from tiphys.runtime.clock import Clock

SCHEME: Final = "oci://"
DEADLINE_SECONDS = 90.0
LAYERS_MAX = 10
LAYER_BYTES_MAX = 1024 * 1024 * 1024
CHART_LAYER: Final = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_CHART_CONFIG: Final = "application/vnd.cncf.helm.config.v1+json"
_ALLOWED: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    CHART_LAYER,
)
_CONTENT_ENDINGS: Final = ("tar+gzip", "tar.gzip", "tar")


def is_artifact(url: str) -> bool:
    """Whether a source's URL is that of an artifact."""
    return url.startswith(SCHEME)


def is_chart_registry(url: str) -> bool:
    """Whether the URL of a source with a chart is that of a registry, which has no scheme."""
    return "://" not in url


class ArtifactStore:
    """The artifacts below one directory; each is fetched and unpacked once."""

    def __init__(self, place: Path, clock: Clock) -> None:
        self.place = place
        self.shelf = Shelf(place)
        self._clock = clock
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def resolve(self, url: str, revision: str, credentials: Credentials) -> str:
        """The digest that a tag, a digest or a constraint on tags means. Raises `RenderError`."""
        try:
            async with self._client(url, credentials) as (client, repository):
                try:
                    return await _digest(client, repository, revision)
                except ImageError:
                    if not revisions.is_constraint(revision):
                        raise
                tag = revisions.max_version(revision, _versions(await client.tags(repository)))
                return await _digest(client, repository, tag)
        except (ImageError, revisions.NoRevision) as err:
            raise RenderError(f'failed to resolve revision "{revision}": {err}') from None

    async def version(self, registry: str, chart: str, revision: str, credentials: Credentials) -> str:
        """The version of a chart in a registry that a revision means. Raises `RenderError`."""
        if revisions.is_version(revision):
            return revision
        try:
            async with self._client(f"{registry}/{chart}", credentials) as (client, repository):
                return revisions.max_version(revision, _versions(await client.tags(repository)))
        except ImageError as err:
            raise RenderError(f"unable to get tags: {err}") from None
        except revisions.NoRevision as err:
            raise RenderError(f"invalid revision '{revision}' of chart {chart}: {err}") from None

    async def chart(self, registry: str, chart: str, version: str, credentials: Credentials) -> Path:
        """The directory of a version of a chart, not to be changed. Raises `RenderError`."""
        url = f"{registry.rstrip('/')}/{chart}"
        return await self.checkout(url, await self.resolve(url, version, credentials), credentials)

    async def checkout(self, url: str, digest: str, credentials: Credentials) -> Path:
        """The files of an artifact, not to be changed. Raises `RenderError`."""
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise RenderError(f"{digest} is no digest")
        # By URL: who knows a digest must not get with it what only others may read.
        target = self.place / hashlib.sha256(url.encode()).hexdigest()[:32] / found[1]
        lock = self._fetching.setdefault(str(target), asyncio.Lock())
        async with lock:
            if not target.exists():
                try:
                    await self._fetch(url, digest, credentials, target)
                except ImageError as err:
                    raise RenderError(f"{url} at {digest}: {err}") from None
        self.shelf.used(target)
        return target

    async def _fetch(self, url: str, digest: str, credentials: Credentials, target: Path) -> None:
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            async with self._client(url, credentials) as (client, repository):
                text = await client.manifest(repository, digest)
                if is_index(text):
                    text = await client.manifest(repository, choose_platform(text).digest)
                manifest = parse_manifest(text)
                layer = content_layer(manifest)
                await client.fetch(repository, layer, _Download(partial), lambda _blob, _here: None)
            files = await asyncio.to_thread(_unpacked, partial, layer, manifest.config.media_type == _CHART_CONFIG)
            files.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @asynccontextmanager
    async def _client(self, url: str, credentials: Credentials) -> AsyncIterator[tuple[RegistryClient, Reference]]:
        """Raises `RenderError` for what names no repository, and where the registry takes too long."""
        text = url.removeprefix(SCHEME)
        try:
            repository = parse(text)
        except InvalidReference as err:
            raise RenderError(f"failed to initialize repository: {text}: {err}") from None
        domain, given = repository.domain, credentials
        known = given.username or given.password
        keyring = Keyring([(domain, Credential(given.username, given.password))] if known else [])
        # Without a word on certificates a registry on this machine is spoken to in plain text, as Docker does.
        is_secure = not given.plain_http and bool(given.ca_certificates or given.client_certificate or given.insecure)
        registries = Registries(
            plain=frozenset([domain] if given.plain_http else ()), secure=frozenset([domain] if is_secure else ())
        )
        way = https.proxy(given, f"https://{domain}")
        context = https.tls(given) if is_secure else None
        try:
            async with (
                asyncio.timeout(DEADLINE_SECONDS),
                RegistryClient(self._clock, registries, keyring, tls=context, proxy=way) as client,
            ):
                yield client, repository
        except TimeoutError:
            raise RenderError(f"{text} did not answer within {DEADLINE_SECONDS:g}s") from None


def content_layer(manifest: Manifest) -> Descriptor:
    """The layer with the files. Raises `RenderError` where there is not exactly one of an allowed type."""
    if len(manifest.layers) > LAYERS_MAX:
        raise RenderError(f"expected no more than {LAYERS_MAX} oci layers, got {len(manifest.layers)}")
    is_chart = manifest.config.media_type == _CHART_CONFIG
    content = [each for each in manifest.layers if _is_content(each.media_type, is_chart)]
    for each in content:
        if each.media_type not in _ALLOWED:
            raise RenderError(f"oci layer media type {each.media_type} is not in the list of allowed media types")
    if len(content) != 1:
        raise RenderError(f"expected only a single oci content layer, got {len(content)}")
    if content[0].size > LAYER_BYTES_MAX:
        raise RenderError(f"the layer is larger than {LAYER_BYTES_MAX} bytes")
    return content[0]


def _is_content(media_type: str, is_chart: bool) -> bool:
    return media_type == CHART_LAYER if is_chart else media_type.endswith(_CONTENT_ENDINGS)


class _Download:
    """One blob in an empty directory."""

    def __init__(self, place: Path) -> None:
        self._place = place

    @asynccontextmanager
    async def downloading(self, digest: str) -> AsyncIterator[bool]:
        yield True

    def part(self, digest: str) -> Path:
        return self._place / "layer"

    def complete(self, digest: str) -> None:
        with self.part(digest).open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != digest:
            self.part(digest).unlink()
            raise ImageError(f"content is not what it is called: expected {digest}, got {found}")


def _unpacked(place: Path, layer: Descriptor, is_chart: bool) -> Path:
    files = place / "files"
    files.mkdir()
    unpack(place / "layer", files, is_gzipped="gzip" in layer.media_type)
    if not is_chart:
        return files
    found = list(files.iterdir())
    if len(found) != 1 or not found[0].is_dir():
        raise RenderError(f"expected 1 directory, found {len(found)}")
    return found[0]


async def _digest(client: RegistryClient, repository: Reference, revision: str) -> str:
    """Raises ImageError."""
    wanted = f"{repository.repository}{'@' if ':' in revision else ':'}{revision.replace('+', '_')}"
    try:
        named = parse(wanted)
    except InvalidReference as err:
        raise ImageError(f"{revision}: {err}") from None
    return (await client.resolve(named))[0]


def _versions(tags: Iterable[str]) -> list[str]:
    return [tag.replace("_", "+") for tag in tags]
