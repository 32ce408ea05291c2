"""The image store: blobs by their SHA-256, names for them, and unpacked root filesystems.

    blobs/sha256/<hex>       manifests, configurations and layers as they came, checked before they get this name
    blobs/sha256/<hex>.part  a download that can go on where it stopped; <hex>.lock is held meanwhile
    names/<quoted name>      JSON of an ``Entry``; one file per name, replaced whole
    roots/<chain id>         a root filesystem, complete or not there; never written to afterwards
    roots/<chain id>.used    when it was last asked for
    lock                     held shared by whoever adds, alone by the garbage collector

Several processes use one store at the same time (an agent, ``tiphys image``): files appear by renaming, and nothing is
taken away but by ``collect``, which spares what is young enough to be still on its way to a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from tiphys.cluster.node.images.layers import unpack
from tiphys.cluster.node.layered import copy_tree
from tiphys.oci.manifests import Config, ImageError, Manifest, parse_config, parse_manifest
from tiphys.runtime.clock import SystemClock

# A blob or draft without a name that is younger may belong to a pull that is going on.
YOUNG_SECONDS = 3600.0
CHUNK_BYTES = 1 << 20
# Beside a root: a file whose time says when it was last asked for.
USED = ".used"
_drafts = itertools.count()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for. ``repo_digests`` are the names by digest under which a registry has it."""

    name: str
    manifest: str
    config: str
    size_bytes: int
    repo_digests: tuple[str, ...] = ()
    created: float = 0.0

    @property
    def image_id(self) -> str:
        """What a kubelet with containerd shows: the registry's name by digest, else the configuration's digest."""
        return self.repo_digests[0] if self.repo_digests else self.config


@dataclass(frozen=True, slots=True)
class Collected:
    """What the garbage collector took away."""

    blobs: int = 0
    roots: int = 0
    freed_bytes: int = 0


class Store:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._downloads: dict[str, asyncio.Lock] = {}
        self._blobs = directory / "blobs" / "sha256"
        self._names = directory / "names"
        self._roots = directory / "roots"
        for place in (self._blobs, self._names, self._roots):
            place.mkdir(parents=True, exist_ok=True)
        self._roots.chmod(0o711)

    # Blobs.

    def blob(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises ``ImageError`` for a digest of another kind."""
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or not all(c in "0123456789abcdef" for c in value):
            raise ImageError(f"unsupported digest {digest!r}")
        return self._blobs / value

    def has(self, digest: str) -> bool:
        return self.blob(digest).exists()

    def read(self, digest: str) -> bytes:
        """A small blob whole. Raises ``ImageError`` where it is not there."""
        try:
            return self.blob(digest).read_bytes()
        except FileNotFoundError:
            raise ImageError(f"content {digest} is not in the store") from None

    def put(self, data: bytes) -> str:
        """Keeps bytes; their digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        place = self.blob(digest)
        if not place.exists():
            draft = self._draft(place)
            draft.write_bytes(data)
            draft.replace(place)
        return digest

    def put_stream(self, source: BinaryIO, digest: str = "") -> str:
        """Keeps what a file has, checked against ``digest`` if there is one. Raises ``ImageError``."""
        total = hashlib.sha256()
        draft = self._draft(self._blobs / "stream")
        try:
            with draft.open("wb") as file:
                while chunk := source.read(CHUNK_BYTES):
                    total.update(chunk)
                    file.write(chunk)
            found = f"sha256:{total.hexdigest()}"
            if digest and found != digest:
                raise ImageError(f"content is not what it is called: expected {digest}, got {found}")
            draft.replace(self.blob(found))
        finally:
            draft.unlink(missing_ok=True)
        return found

    def part(self, digest: str) -> Path:
        """Where a download of the blob collects what it has."""
        return self.blob(digest).with_suffix(".part")

    @contextlib.asynccontextmanager
    async def downloading(self, digest: str) -> AsyncIterator[bool]:
        """The right to download a blob, one at a time among all processes; False where it is here (by then)."""
        if self.has(digest):
            yield False
            return
        lock = self._downloads.setdefault(digest, asyncio.Lock())
        async with lock:
            with self.blob(digest).with_suffix(".lock").open("ab") as file:
                await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
                yield not self.has(digest)
        self._downloads.pop(digest, None)

    def complete(self, digest: str) -> None:
        """Checks a finished download and gives it its name. Raises ``ImageError``; the download then begins anew."""
        part = self.part(digest)
        with part.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != digest:
            part.unlink()
            raise ImageError(f"content is not what it is called: expected {digest}, got {found}")
        part.replace(self.blob(digest))

    def _draft(self, place: Path) -> Path:
        return place.with_name(f"{place.name}.{os.getpid()}.{next(_drafts)}.draft")

    # Names.

    def record(self, entry: Entry) -> None:
        """Gives an image its name; whatever had it before loses it."""
        place = self._names / quote(entry.name, safe="")
        draft = self._draft(place)
        draft.write_text(json.dumps(asdict(entry)), encoding="utf-8")
        draft.replace(place)

    def find(self, name: str) -> Entry | None:
        """By full name (tag or digest), or by the configuration's digest; None where it is not (wholly) here."""
        with contextlib.suppress(FileNotFoundError, OSError):
            return _entry((self._names / quote(name, safe="")).read_text(encoding="utf-8"))
        return next((e for e in self.entries() if name == e.config or name in e.repo_digests), None)

    def entries(self) -> list[Entry]:
        """All names, sorted."""
        found = []
        for place in sorted(self._names.iterdir()):
            if not place.name.endswith(".draft"):
                with contextlib.suppress(FileNotFoundError):
                    found.append(_entry(place.read_text(encoding="utf-8")))
        return found

    def forget(self, name: str) -> bool:
        """Takes the name away; the contents go with the next collection."""
        try:
            (self._names / quote(name, safe="")).unlink()
        except FileNotFoundError:
            return False
        return True

    def add(self, name: str, manifest: str, repo_digest: str = "", *, now: float | None = None) -> Entry:
        """Names an image whose blobs are all here. Raises ``ImageError``."""
        document = self.manifest(manifest)
        config = self.config(document)
        for layer in document.layers:
            if not self.has(layer.digest):
                raise ImageError(f"layer {layer.digest} is not in the store")
        if len(config.diff_ids) != len(document.layers):
            raise ImageError(f"manifest {manifest} has {len(document.layers)} layers, its configuration another number")
        size = sum(layer.size for layer in document.layers) + document.config.size + self.blob(manifest).stat().st_size
        digests = (repo_digest,) if repo_digest else ()
        entry = Entry(name, manifest, document.config.digest, size, digests, _now() if now is None else now)
        self.record(entry)
        return entry

    def manifest(self, digest: str) -> Manifest:
        return parse_manifest(self.read(digest))

    def config(self, manifest: Manifest) -> Config:
        return parse_config(self.read(manifest.config.digest))

    # Root filesystems.

    def unpacked(self, entry: Entry) -> Path | None:
        """The image's root filesystem, if it was made before."""
        chains = chain_ids(self.config(self.manifest(entry.manifest)).diff_ids)
        target = self._roots / (chains[-1] if chains else "empty")
        return target if target.exists() else None

    def root(self, entry: Entry) -> Path:
        """The image's unpacked root filesystem, made if need be (minutes for a large image). Raises ``ImageError``."""
        manifest = self.manifest(entry.manifest)
        config = self.config(manifest)
        chains = chain_ids(config.diff_ids)
        name = chains[-1] if chains else "empty"
        target = self._roots / name
        self._roots.joinpath(f"{name}{USED}").touch()
        if target.exists():
            return target
        with self._shared():
            draft = self._draft(self._roots / name)
            draft.mkdir(mode=0o700)
            try:
                done = self._begin_with_parent(chains, draft)
                for layer, diff_id in list(zip(manifest.layers, config.diff_ids, strict=True))[done:]:
                    with self.blob(layer.digest).open("rb") as file:
                        unpack(file, draft, diff_id=diff_id)
                draft.chmod(0o755)
                with contextlib.suppress(OSError):  # somebody else was first
                    draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return target

    def _begin_with_parent(self, chains: list[str], draft: Path) -> int:
        """Takes over the longest beginning of the image that is unpacked already; how many layers that is."""
        for count in range(len(chains) - 1, 0, -1):
            parent = self._roots / chains[count - 1]
            if parent.exists():
                copy_tree(parent, draft, link=True)
                draft.chmod(0o700)
                return count
        return 0

    # Garbage.

    def collect(self, *, used: Iterable[str] = (), now: float | None = None, all_names: bool = False) -> Collected:
        """Takes away what no name needs: blobs and roots that are not new, and roots in which no container runs.

        ``all_names``: first forgets every image in which no container runs. ``used`` are names of roots to keep.
        """
        moment, keep = _now() if now is None else now, {*used, *roots_in_use(self._roots)}
        with self._alone():
            wanted, roots = set[str](), set(keep)
            for entry in self.entries():
                chain = self._chain(entry)
                if all_names and chain not in keep:
                    self.forget(entry.name)
                    continue
                roots.add(chain)
                manifest = self.manifest(entry.manifest)
                wanted |= {entry.manifest, entry.config, *(layer.digest for layer in manifest.layers)}
            old = moment - YOUNG_SECONDS
            blobs = self._sweep(self._blobs, lambda p: f"sha256:{p.name}" not in wanted and p.stat().st_mtime < old)
            trees = self._sweep(self._roots, lambda p: p.stem not in roots and self._last_use(p) < old)
        return Collected(len(blobs), len(trees), sum(blobs) + sum(trees))

    def _last_use(self, root: Path) -> float:
        """When the root was last asked for, as a time; of anything else there, when it was last written."""
        mark = root.with_name(f"{root.stem}{USED}")
        return (mark if mark.exists() else root).stat().st_mtime

    def _chain(self, entry: Entry) -> str:
        try:
            chains = chain_ids(self.config(self.manifest(entry.manifest)).diff_ids)
        except ImageError:
            return ""
        return chains[-1] if chains else "empty"

    def _sweep(self, folder: Path, unwanted: Callable[[Path], bool]) -> list[int]:
        """The sizes of what was taken away."""
        freed = []
        for place in list(folder.iterdir()):
            if not unwanted(place):
                continue
            if place.suffix == USED:
                place.unlink()
            elif place.is_dir():
                freed.append(sum(f.lstat().st_size for f in place.rglob("*") if f.lstat().st_nlink == 1))
                doomed = place.with_name(f"{place.name}.{os.getpid()}.draft")  # never half there under its own name
                place.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
            else:
                freed.append(place.stat().st_size)
                place.unlink()
        return freed

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self.directory / "lock").open("ab") as file:
            fcntl.flock(file, how)
            yield


def roots_in_use(folder: Path) -> set[str]:
    """The names of roots that lie under some container here: overlay mounts in any mount namespace name them."""
    found = set()
    mark = re.compile(rf"lowerdir={re.escape(str(folder))}/([0-9a-z]+)")
    for process in Path("/proc").glob("[0-9]*/mounts"):
        with contextlib.suppress(OSError):
            found.update(mark.findall(process.read_text(encoding="utf-8", errors="replace")))
    return found


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """Names for the root after each layer (OCI image specification, ChainID), without ``sha256:``."""
    chains: list[str] = []
    for diff_id in diff_ids:
        text = f"sha256:{chains[-1]} {diff_id}" if chains else diff_id
        chains.append(hashlib.sha256(text.encode()).hexdigest() if chains else diff_id.removeprefix("sha256:"))
    return chains


def _entry(text: str) -> Entry:
    row = json.loads(text)
    return Entry(**{**row, "repo_digests": tuple(row.get("repo_digests", ()))})


def _now() -> float:
    return SystemClock().now().timestamp()
