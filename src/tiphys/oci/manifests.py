"""The documents of an image: index, manifest, configuration (OCI image specification; Docker's schema 2 alike)."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiphys.machinery.errors import DriverError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
DOCUMENT_BYTES_MAX = 8 << 20
LAYERS_MAX = 1000
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "AMD64": "amd64"}


class ImageError(DriverError):
    """An image is not what it should be, or cannot be had."""


class Unreachable(ImageError):
    """No registry answered: the network, not the image, is what is wrong."""


class Missing(ImageError):
    """The registry answered that it has no such image."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    digest: str
    size: int
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says of the containers made from it."""

    diff_ids: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()


def parse_manifest(data: bytes) -> Manifest:
    """Raises ``ImageError``."""
    document = parse_document(data)
    if "config" not in document or "layers" not in document:
        raise ImageError(f"not an image manifest: {document.get('mediaType') or 'no media type'}")
    layers = tuple(_descriptor(row) for row in _rows(document, "layers"))
    if len(layers) > LAYERS_MAX:
        raise ImageError(f"a manifest with {len(layers)} layers; {LAYERS_MAX} are allowed")
    return Manifest(_descriptor(document["config"]), layers)


def is_index(data: bytes) -> bool:
    return "manifests" in parse_document(data)


def choose_platform(data: bytes, machine: str = "") -> Descriptor:
    """The manifest in an index for this kind of machine. Raises ``ImageError`` naming those that there are."""
    wanted = _MACHINES.get(machine or platform.machine(), machine or platform.machine())
    rows = _rows(parse_document(data), "manifests")
    offered = []
    for row in rows:
        kind = row.get("platform") or {}
        if not kind or (kind.get("os", "linux"), kind.get("architecture", wanted)) == ("linux", wanted):
            return _descriptor(row)
        offered.append(f"{kind.get('os', '?')}/{kind.get('architecture', '?')}")
    raise ImageError(f"no match for platform in manifest: wanted linux/{wanted}, it has {', '.join(offered) or 'none'}")


def parse_config(data: bytes) -> Config:
    """Raises ``ImageError``."""
    document = parse_document(data)
    config, rootfs = document.get("config") or {}, document.get("rootfs") or {}
    if not isinstance(config, dict) or not isinstance(rootfs, dict):
        raise ImageError("not an image configuration")
    return Config(
        diff_ids=_strings(rootfs.get("diff_ids")),
        entrypoint=_strings(config.get("Entrypoint")),
        cmd=_strings(config.get("Cmd")),
        env=dict(word.split("=", 1) for word in _strings(config.get("Env")) if "=" in word),
        user=str(config.get("User") or ""),
        workdir=str(config.get("WorkingDir") or ""),
        stop_signal=str(config.get("StopSignal") or ""),
        volumes=tuple(sorted(config.get("Volumes") or ())),
    )


def parse_document(data: bytes) -> dict[str, Any]:
    if len(data) > DOCUMENT_BYTES_MAX:
        raise ImageError(f"a manifest of {len(data)} bytes; {DOCUMENT_BYTES_MAX} are allowed")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise ImageError(f"a manifest that is no JSON: {err}") from err
    if not isinstance(document, dict):
        raise ImageError("a manifest that is no JSON object")
    return document


def _rows(document: Mapping[str, Any], name: str) -> Sequence[dict[str, Any]]:
    rows = document.get(name) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ImageError(f"a manifest whose {name} are no list of objects")
    return rows


def _descriptor(row: Any) -> Descriptor:
    try:
        found = Descriptor(str(row["digest"]), int(row["size"]), str(row.get("mediaType") or ""))
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        raise ImageError(f"a descriptor without digest or size: {row!r:.100}") from err
    if found.size < 0:
        raise ImageError(f"a descriptor whose size is negative: {row!r:.100}")
    return found


def _strings(value: Any) -> tuple[str, ...]:
    """A list of strings; Docker's older configurations have null, or one string, for some of them."""
    if isinstance(value, str):
        return (value,)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ImageError(f"not a list of strings in an image's configuration: {value!r:.100}")
    return tuple(value)
