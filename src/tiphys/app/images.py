"""Images as a part of the program: what a node's containers are made from, and what ``tiphys image`` does with them.

Runtimes whose containers have roots of their own take images from the store (``cluster/node/images/pulling.py``); the
others have only the image map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiphys.app.settings import Settings, image_places
from tiphys.machinery.errors import SpecError

if TYPE_CHECKING:
    from tiphys.cluster.node.images.map import ImageMap, ImageSource
    from tiphys.cluster.node.images.pulling import Images
    from tiphys.cluster.node.images.store import Entry, Store
    from tiphys.cluster.node.runtime import Runtime
    from tiphys.runtime.clock import Clock

# Runtimes that can run a container over an unpacked image.
OVER_IMAGES = ("sandbox", "oci")

Progress = Callable[[str, int, int], None]
"""Called with a layer's digest, how many bytes of it are here, and of how many."""


def image_source(clock: Clock, settings: Settings, runtime: Runtime) -> ImageSource:
    if runtime.name == "engine":
        from tiphys.cluster.node.runtimes.engine import EngineImages, EngineRuntime

        assert isinstance(runtime, EngineRuntime)
        return EngineImages(runtime)
    mapped = _image_map(settings, isolated=runtime.isolated)
    if runtime.name not in OVER_IMAGES:
        return mapped
    return _images(clock, settings, mapped)


def _images(clock: Clock, settings: Settings, mapped: ImageMap | None = None) -> Images:
    from tiphys.cluster.node.images.pulling import Images, PullSettings

    places = image_places(settings)
    wishes = PullSettings(settings.images, places.docker_config, places.registries)
    return Images(image_store(settings), mapped or _image_map(settings, isolated=True), clock, wishes)


def _image_map(settings: Settings, *, isolated: bool) -> ImageMap:
    from tiphys.cluster.node.images.map import ImageMap, entries_with, search_path

    return ImageMap(entries_with(settings.image_map), search_path(isolated=isolated))


def image_store(settings: Settings) -> Store:
    from tiphys.cluster.node.images.store import Store

    return Store(image_places(settings).store)


@dataclass(frozen=True)
class ImageRow:
    """One name in the store, for people and programs."""

    name: str
    digest: str
    image_id: str
    size_bytes: int
    created: float


async def pull(settings: Settings, name: str, progress: Progress) -> ImageRow:
    """Brings an image into the store and unpacks it. Raises ``SpecError`` for what is no name, ``ImageError``."""
    import asyncio

    from tiphys.oci.reference import InvalidReference, parse
    from tiphys.runtime.clock import SystemClock

    try:
        reference = parse(name)
    except InvalidReference as err:
        raise SpecError(name, str(err)) from err
    images = _images(SystemClock(), settings)
    entry = await images.fetch(reference, progress=lambda blob, here: progress(blob.digest, here, blob.size))
    await asyncio.to_thread(images.store.root, entry)
    return _row(entry)


def load(settings: Settings, file: Path, name: str = "") -> list[ImageRow]:
    """Brings the images of a file or directory into the store. Raises ``ImageError``."""
    from tiphys.cluster.node.images.archives import load as load_archive

    return [_row(entry) for entry in load_archive(file, image_store(settings), name)]


def rows(settings: Settings) -> list[ImageRow]:
    return [_row(entry) for entry in image_store(settings).entries()]


def remove(settings: Settings, name: str) -> str:
    """Takes a name away; the whole name that it was. Raises ``SpecError`` where there is none."""
    from tiphys.oci.reference import InvalidReference, parse

    store = image_store(settings)
    try:
        full = str(parse(name))
    except InvalidReference:
        full = name
    entry = store.find(full) or next(
        (e for e in store.entries() if e.image_id.partition(":")[2].startswith(name)), None
    )
    if entry is None or not store.forget(entry.name):
        raise SpecError(name, "no such image in the store")
    return entry.name


def collect(settings: Settings, *, every: bool) -> Mapping[str, int]:
    """Takes away what no name needs; ``every``: all images in which no container runs."""
    done = image_store(settings).collect(all_names=every)
    return {"blobs": done.blobs, "roots": done.roots, "freedBytes": done.freed_bytes}


def mapping(settings: Settings, name: str = "") -> Iterator[Mapping[str, Any]]:
    """The entries of the image map, or the one that serves ``name``."""
    from tiphys.cluster.node.images.map import ImageMap, entries_with

    entries = entries_with(settings.image_map)
    wanted = [ImageMap(entries).entry(name)] if name else entries
    for entry in wanted:
        if entry is not None:
            yield {"name": entry.name, "match": list(entry.match), "needs": list(entry.needs)}


def _row(entry: Entry) -> ImageRow:
    return ImageRow(entry.name, entry.manifest, entry.image_id, entry.size_bytes, entry.created)
