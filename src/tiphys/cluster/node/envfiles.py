"""Environment variables that a container finds in a file of a volume (``fileKeyRef``).

    line := "" | "#" anything | NAME "=" ( "'" value "'" | value )

A value in single quotes is taken as it stands; the file is opened inside its volume and read to a bound.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.cluster.node.runtime import ConfigError

FILE_BYTES_MAX = 64 << 10


def value_of(reference: Mapping[str, Any], volumes: Mapping[str, Path]) -> str | None:
    """The variable's value; None for an optional one that is not there. Raises ``ConfigError``."""
    volume, path, key = reference.get("volumeName", ""), reference.get("path", ""), reference.get("key", "")
    optional = bool(reference.get("optional"))
    if volume not in volumes:
        raise ConfigError(f'cannot find the volume "{volume}" referenced by FileKeyRef')
    text = _read(volumes[volume], path)
    if text is None:
        if optional:
            return None
        raise ConfigError(f'couldn\'t parse env file: file "{path}" of volume "{volume}" cannot be read')
    value = parse(text).get(key)
    if value is None and not optional:
        raise ConfigError(f'environment variable key "{key}" not found in file "{path}"')
    return value


def parse(text: str) -> dict[str, str]:
    """The variables of a file; the last one of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or name.startswith("#"):
            continue
        quoted = len(value) >= 2 and value[0] == value[-1] == "'"
        found[name] = value[1:-1] if quoted else value
    return found


def _read(volume: Path, path: str) -> str | None:
    relative = PurePosixPath(path)
    place = volume / relative
    if relative.is_absolute() or ".." in relative.parts or not place.resolve().is_relative_to(volume.resolve()):
        raise ConfigError(f'file "{path}" leads out of its volume')
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(FILE_BYTES_MAX).decode("utf-8", "replace")
