"""Images from files: an OCI layout (directory or tar, perhaps compressed) or what ``docker save`` writes.

``docker save`` of Docker 25 and later writes both at once; the layout then counts. Names come from the annotations of
the layout's index, or from ``RepoTags``. Member names are only ever compared, never used as paths.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from tiphys.cluster.node.images.layers import decompressed
from tiphys.cluster.node.images.store import Entry, Store
from tiphys.oci.manifests import (
    DOCKER_MANIFEST,
    DOCUMENT_BYTES_MAX,
    OCI_MANIFEST,
    Descriptor,
    ImageError,
    choose_platform,
    is_index,
    parse_config,
    parse_document,
    parse_manifest,
)
from tiphys.oci.reference import InvalidReference, parse

REF_NAME, CONTAINERD_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
MEMBERS_MAX = 100_000


class _Files(Protocol):
    """The files of a layout or an archive."""

    def names(self) -> set[str]: ...

    def open(self, name: str) -> BinaryIO: ...


def load(path: Path, store: Store, name: str = "") -> list[Entry]:
    """Brings the images of a file or directory into the store. ``name``: what to call the only one.

    Raises ``ImageError``; names already recorded stay.
    """
    with _opened(path) as files:
        names = files.names()
        if "index.json" in names:
            found = _load_layout(files, store, name)
        elif "manifest.json" in names:
            found = _load_saved(files, store, name)
        else:
            raise ImageError(f"{path}: neither an OCI layout (index.json) nor a `docker save` archive (manifest.json)")
    if not found:
        raise ImageError(f"{path}: no image in it has a name; give one with --name")
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Directory(path)
        return
    try:
        with (
            path.open("rb") as file,
            _seekable(file) as plain,
            tarfile.open(fileobj=cast(IO[bytes], plain), mode="r:") as archive,
        ):
            yield _Archive(archive)
    except tarfile.TarError as err:
        raise ImageError(f"{path}: not a tar archive: {err}") from err
    except OSError as err:
        raise ImageError(f"{path}: {err.strerror or err}") from err


@contextlib.contextmanager
def _seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """The archive itself, or a copy on disk of what it unpacks to."""
    head = file.read(6)
    file.seek(0)
    if not head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        yield file
        return
    with tempfile.TemporaryFile() as plain:
        shutil.copyfileobj(decompressed(file), plain)
        plain.seek(0)
        yield cast(BinaryIO, plain)


class _Directory:
    def __init__(self, place: Path) -> None:
        self._place = place

    def names(self) -> set[str]:
        return {name for name in ("index.json", "manifest.json") if (self._place / name).is_file()}

    def open(self, name: str) -> BinaryIO:
        if ".." in Path(name).parts or name.startswith("/"):
            raise ImageError(f"a name that leads out of the layout: {name}")
        try:
            return (self._place / name).open("rb")
        except OSError as err:
            raise ImageError(f"{self._place / name}: {err.strerror}") from err


class _Archive:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(archive):
            if number >= MEMBERS_MAX:
                raise ImageError(f"an archive of more than {MEMBERS_MAX} files")
            self._members[member.name.removeprefix("./")] = member

    def names(self) -> set[str]:
        return set(self._members)

    def open(self, name: str) -> BinaryIO:
        member = self._members.get(name.removeprefix("./"))
        # `docker save` may say that a layer is another image's: a link inside the archive
        for _ in range(8):
            if member is None or not (member.issym() or member.islnk()):
                break
            target = member.linkname if member.islnk() else str(Path(member.name).parent / member.linkname)
            member = self._members.get(_plain(target))
        file = self._archive.extractfile(member) if member is not None and member.isreg() else None
        if file is None:
            raise ImageError(f"the archive has no file {name}")
        return cast(BinaryIO, file)


def _plain(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _document(files: _Files, name: str) -> bytes:
    with files.open(name) as file:
        data = file.read(DOCUMENT_BYTES_MAX + 1)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise ImageError(f"{name} has more than {DOCUMENT_BYTES_MAX} bytes")
    return data


def _load_layout(files: _Files, store: Store, name: str) -> list[Entry]:
    rows = parse_document(_document(files, "index.json")).get("manifests") or []
    found = []
    for row in rows:
        notes = row.get("annotations") or {}
        said = name if len(rows) == 1 and name else str(notes.get(CONTAINERD_NAME) or notes.get(REF_NAME) or name)
        full = _full_name(said) if said else ""
        if full:
            found.append(store.add(full, _take_manifest(files, store, str(row.get("digest", "")))))
    return found


def _take_manifest(files: _Files, store: Store, digest: str) -> str:
    data = _document(files, _blob(digest))
    if is_index(data):
        return _take_manifest(files, store, choose_platform(data).digest)
    manifest = parse_manifest(data)
    for blob in (manifest.config, *manifest.layers):
        if not store.has(blob.digest):
            with files.open(_blob(blob.digest)) as file:
                store.put_stream(file, blob.digest)
    if store.put(data) != digest:
        raise ImageError(f"the layout's manifest {digest} is not what it is called")
    return digest


def _blob(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _full_name(name: str) -> str:
    """A whole name; a bare tag, which layouts often have, names nothing."""
    try:
        return str(parse(name))
    except InvalidReference as err:
        raise ImageError(f'"{name}" in the layout is no image name ({err}); give one with --name') from err


def _load_saved(files: _Files, store: Store, name: str) -> list[Entry]:
    try:
        rows = json.loads(_document(files, "manifest.json"))
        found: list[Entry] = []
        for row in rows:
            names = [name] if name and len(rows) == 1 else list(row.get("RepoTags") or [])
            digest = _take_saved(files, store, str(row["Config"]), [str(layer) for layer in row["Layers"]])
            found += [store.add(_full_name(each), digest) for each in names]
    except (ValueError, KeyError, TypeError) as err:
        raise ImageError(f"manifest.json of the archive is not what `docker save` writes: {err!r}") from err
    return found


def _take_saved(files: _Files, store: Store, config: str, layers: list[str]) -> str:
    """The archive has plain layers and no manifest: one is written for them."""
    text = _document(files, config)
    diff_ids = parse_config(text).diff_ids
    if len(diff_ids) != len(layers):
        raise ImageError(f"{config} speaks of {len(diff_ids)} layers, the archive has {len(layers)}")
    kept = []
    for layer in layers:
        with files.open(layer) as file:
            digest = store.put_stream(file)
        kept.append(Descriptor(digest, store.blob(digest).stat().st_size, "application/vnd.oci.image.layer.v1.tar"))
    return store.put(manifest_of(Descriptor(store.put(text), len(text)), kept))


def manifest_of(config: Descriptor, layers: list[Descriptor], *, docker: bool = False) -> bytes:
    """The text of a manifest, always the same for the same image."""
    rows = [{"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size} for layer in layers]
    kind = "application/vnd.oci.image.config.v1+json"
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": {"mediaType": config.media_type or kind, "digest": config.digest, "size": config.size},
        "layers": rows,
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
