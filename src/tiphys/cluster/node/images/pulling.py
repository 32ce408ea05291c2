"""Images for containers: from the store, else from a registry, else (said aloud) from the image map.

    at_hand   what needs no waiting: IfNotPresent and Never with an image in the store, a registry known to be away
    pull      asks the registry, unpacks; containers that want the same image wait for the same pull

The image map answers only where no registry does: a registry that says "not found" is an answer. Whether one can be
reached is tried with a short deadline, and remembered for a while, so that a machine without a network loses no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiphys.cluster.node.accounts import parse_accounts
from tiphys.cluster.node.images.map import Image, ImageMap, ImageUnavailable, Pulled, PullRequest, check_name
from tiphys.cluster.node.images.store import Entry, Store
from tiphys.cluster.node.layered import LayeredRoot
from tiphys.oci.credentials import Keyring, read_config, read_secret
from tiphys.oci.manifests import (
    Descriptor,
    ImageError,
    Manifest,
    Missing,
    Unreachable,
    choose_platform,
    is_index,
    parse_manifest,
)
from tiphys.oci.reference import Reference
from tiphys.oci.registries import Registries, reachable, read_registries
from tiphys.runtime.clock import Clock

if TYPE_CHECKING:
    from tiphys.oci.registry import Progress, RegistryClient

# How long a registry may take to show that it is there, before the image map stands in for it.
REACH_SECONDS = 1.0
REMEMBERED_SECONDS = 300.0
# Layers of one image at a time, as containerd and Docker.
DOWNLOADS_MAX = 3
ACCOUNT_FILE_BYTES_MAX = 4 << 20
MODES = ("auto", "registry", "map")


@dataclass(frozen=True, slots=True)
class PullSettings:
    """``mode``: ``auto`` (registry, else image map), ``registry`` (never the map), ``map`` (the map first)."""

    mode: str = "auto"
    docker_config: Path | None = None
    registries: Path | None = None


class Images:
    """The ``ImageSource`` of a node whose containers have roots of their own."""

    def __init__(self, store: Store, image_map: ImageMap, clock: Clock, settings: PullSettings | None = None) -> None:
        self.store = store
        self._map = image_map
        self._clock = clock
        self._settings = settings or PullSettings()
        self._pulls: dict[tuple[str, tuple[str, ...]], asyncio.Task[Pulled]] = {}
        self._reachable: dict[str, tuple[bool, float]] = {}
        self._known: dict[str, Image] = {}

    def at_hand(self, reference: str, policy: str) -> Image | None:
        name = check_name(reference)
        if self._settings.mode == "map" and self._map.entry(reference) is not None:
            return self._map.image(reference)
        if policy != "Always":
            entry = self.store.find(str(name))
            if entry is not None:
                return self._known_image(name, entry)
        if self._settings.mode == "auto" and self._known_away(name.domain) and self._map.entry(reference) is not None:
            return self._map.image(reference)
        if policy == "Never":
            return self._never(reference)
        return None

    def _never(self, reference: str) -> Image:
        if self._settings.mode != "registry" and self._map.entry(reference) is not None:
            return self._map.image(reference)
        said = f'Container image "{reference}" is not present with pull policy of Never'
        raise ImageUnavailable("ErrImageNeverPull", said)

    def _known_image(self, name: Reference, entry: Entry) -> Image | None:
        """None where it has to be unpacked first."""
        known = self._known.get(entry.manifest)
        if known is None or known.root is None or not known.root.exists():
            root = self.store.unpacked(entry)
            if root is None:
                return None
            image = self._known[entry.manifest] = _image(str(name), entry, self.store, root)
            return image
        return known if known.reference == str(name) else _image(str(name), entry, self.store, known.root)

    async def pull(self, request: PullRequest) -> Pulled:
        """Raises ``ImageUnavailable`` with the reason ``ErrImagePull``."""
        name = check_name(request.reference)
        who = tuple(sorted(str(secret.get("metadata", {}).get("uid", "")) for secret in request.secrets))
        key = f"{name} {request.policy}", who
        began = self._clock.monotonic()
        task = self._pulls.get(key)
        if task is None:
            task = self._pulls[key] = asyncio.ensure_future(self._pull(name, request))
            task.add_done_callback(lambda _: self._pulls.pop(key, None))
        pulled = await asyncio.shield(task)
        waited = self._clock.monotonic() - began
        return Pulled(pulled.image, pulled.seconds, max(waited, pulled.seconds), pulled.size_bytes, pulled.note)

    async def _pull(self, name: Reference, request: PullRequest) -> Pulled:
        began = self._clock.monotonic()
        mapped = self._map.entry(request.reference) if self._settings.mode != "registry" else None
        present = self.store.find(str(name))
        try:
            if present is not None and request.policy != "Always":
                image = await self._unpacked(name, present)
                return Pulled(image, self._clock.monotonic() - began)
            if (mapped or present) and not await self._reach(name.domain):
                raise Unreachable(f"{name.domain} does not answer")
            entry = await self.fetch(name, request.secrets)
            image = await self._unpacked(name, entry)
        except Unreachable as err:
            return await self._stand_in(name, request, present, mapped is not None, err)
        except ImageError as err:
            code = "rpc error: code = NotFound desc = " if isinstance(err, Missing) else ""
            raise ImageUnavailable("ErrImagePull", f'{code}failed to pull and unpack image "{name}": {err}') from err
        return Pulled(image, self._clock.monotonic() - began, 0.0, entry.size_bytes)

    async def _stand_in(
        self, name: Reference, request: PullRequest, present: Entry | None, mapped: bool, err: ImageError
    ) -> Pulled:
        """What there is instead, when no registry answers."""
        if present is not None:
            note = f'Image "{request.reference}" is the one in the store: {err}'
            return Pulled(await self._unpacked(name, present), note=note)
        if mapped:
            return Pulled(self._map.image(request.reference))
        raise ImageUnavailable("ErrImagePull", f'failed to pull and unpack image "{name}": {err}') from err

    async def _unpacked(self, name: Reference, entry: Entry) -> Image:
        root = await asyncio.to_thread(self.store.root, entry)
        image = self._known[entry.manifest] = _image(str(name), entry, self.store, root)
        return image

    # Registries.

    async def fetch(
        self, name: Reference, secrets: tuple[Mapping[str, Any], ...] = (), progress: Progress | None = None
    ) -> Entry:
        """Brings an image into the store, as far as it is not there, and names it. Raises ``ImageError``."""
        async with self._client(secrets) as client:
            return await fetch(client, name, self.store, progress or _silent)

    def _client(self, secrets: tuple[Mapping[str, Any], ...]) -> RegistryClient:
        from tiphys.oci.registry import RegistryClient

        keyring = Keyring()
        for secret in secrets:
            keyring = keyring + read_secret(secret)
        if self._settings.docker_config is not None:
            keyring = keyring + read_config(self._settings.docker_config)
        return RegistryClient(self._clock, self._registries(), keyring)

    def _registries(self) -> Registries:
        return read_registries(self._settings.registries) if self._settings.registries else Registries()

    def _known_away(self, domain: str) -> bool:
        there, until = self._reachable.get(domain, (True, 0.0))
        return not there and self._clock.monotonic() < until

    async def _reach(self, domain: str) -> bool:
        """Whether any host of the registry can be connected to."""
        there, until = self._reachable.get(domain, (False, 0.0))
        if self._clock.monotonic() < until:
            return there
        try:
            async with asyncio.timeout(REACH_SECONDS):
                there = await reachable(self._registries(), domain)
        except TimeoutError:
            there = False
        self._reachable[domain] = there, self._clock.monotonic() + REMEMBERED_SECONDS
        return there


async def fetch(client: RegistryClient, name: Reference, store: Store, progress: Progress) -> Entry:
    """A manifest (through an index to this platform's), its configuration and layers. Raises ``ImageError``."""
    digest, data = await client.resolve(name)
    by_digest = f"{name.repository}@{digest}"
    while is_index(data):
        store.put(data)
        chosen = choose_platform(data)
        digest, data = chosen.digest, await client.manifest(name, chosen.digest)
    manifest = parse_manifest(data)
    await _fetch_blobs(client, name, manifest, store, progress)
    return store.add(str(name), store.put(data), by_digest)


async def _fetch_blobs(
    client: RegistryClient, name: Reference, manifest: Manifest, store: Store, progress: Progress
) -> None:
    room = asyncio.Semaphore(DOWNLOADS_MAX)

    async def one(blob: Descriptor) -> None:
        async with room:
            await client.fetch(name, blob, store, progress)

    wanted = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
    try:
        async with asyncio.TaskGroup() as tasks:
            for blob in wanted.values():
                tasks.create_task(one(blob))
    except ExceptionGroup as group:
        first = group.exceptions[0]
        raise first if isinstance(first, ImageError) else ImageError(f"failed to copy: {first}") from group


def _silent(blob: Descriptor, here: int) -> None:
    return


def _image(name: str, entry: Entry, store: Store, root: Path) -> Image:
    config = store.config(store.manifest(entry.manifest))
    return Image(
        reference=name,
        image_id=entry.image_id,
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        env=config.env,
        workdir=config.workdir,
        user=config.user,
        stop_signal=config.stop_signal,
        accounts=parse_accounts(_text(root, "/etc/passwd"), _text(root, "/etc/group")),
        root=root,
        volumes=config.volumes,
    )


def _text(root: Path, path: str) -> str:
    """A file of the image, found as a container would."""
    place = LayeredRoot(None, root, root).resolve(path)
    try:
        with (place or root / "nonexistent").open("rb") as file:
            return file.read(ACCOUNT_FILE_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
