"""Where manifests come from: files, folders, standard input, http(s) addresses. Yields texts, parses nothing.

A folder stands for its ``*.yaml``, ``*.yml`` and ``*.json`` files at any depth, in the order of their paths, without
hidden ones. Everything is bounded: ``BYTES_MAX`` per text, ``FILES_MAX`` per folder, ``FETCH_SECONDS_MAX`` per address.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tiphys.machinery.errors import SpecError

BYTES_MAX = 32 * 1024 * 1024
FILES_MAX = 10_000
FETCH_SECONDS_MAX = 30.0
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Source:
    """A text and the name that messages call it by (path as given, address, or ``<stdin>``)."""

    name: str
    text: str


def read(places: Iterable[str]) -> Iterator[Source]:
    """The texts of ``places`` in order. Raises SpecError naming the place; OSError for files that cannot be read."""
    for place in places:
        if place == "-":
            yield Source("<stdin>", _decoded(_bounded(sys.stdin.buffer, "<stdin>"), "<stdin>"))
        elif place.startswith(("http://", "https://")):
            yield Source(place, _fetch(place))
        elif "://" in place:
            raise SpecError(place, "only http and https addresses can be read")
        else:
            yield from _from_disk(Path(place))


def _from_disk(path: Path) -> Iterator[Source]:
    if not path.is_dir():
        yield _file(path)
        return
    files = sorted(_manifests(path))
    if not files:
        raise SpecError(str(path), f"no manifest in this folder ({', '.join('*' + suffix for suffix in SUFFIXES)})")
    yield from map(_file, files)


def _manifests(folder: Path) -> Iterator[Path]:
    count = 0
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if path.suffix not in SUFFIXES or any(part.startswith(".") for part in inside) or not path.is_file():
            continue
        count += 1
        if count > FILES_MAX:
            raise SpecError(str(folder), f"more than {FILES_MAX} manifests; name a smaller folder")
        yield path


def _file(path: Path) -> Source:
    with path.open("rb") as stream:
        return Source(str(path), _decoded(_bounded(stream, str(path)), str(path)))


def _fetch(address: str) -> str:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    request = Request(address, headers={"Accept": "application/yaml, application/json, text/plain, */*"})
    try:
        with urlopen(request, timeout=FETCH_SECONDS_MAX) as answer:
            return _decoded(_bounded(answer, address), address)
    except HTTPError as err:
        raise SpecError(address, f"the server answered {err.code} {err.reason}") from err
    except URLError as err:
        raise SpecError(address, f"cannot be fetched: {err.reason}") from err
    except (OSError, HTTPException, ValueError) as err:
        raise SpecError(address, f"cannot be fetched: {err}") from err


def _bounded(stream: IO[bytes] | Any, name: str) -> bytes:
    data: bytes = stream.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise SpecError(name, f"longer than {BYTES_MAX // 1024 // 1024} MiB, which no manifest is")
    return data


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise SpecError(f"{name}:{line}", "not UTF-8 text") from err
