"""Requests to stores that speak HTTP: streamed from and to files, tried again where that may help.

One request is one connection: artifacts are few and large. What is transient is a lost connection, a busy server (408,
429, 5xx); each try waits twice as long as the one before. A file is sent piece by piece and never held in memory.
"""

from __future__ import annotations

import http.client
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

from tiphys.workflows.executor.errors import ExecutorError, network_reason
from tiphys.workflows.executor.trees import CHUNK

T = TypeVar("T")
TIMEOUT_SECONDS = 60.0
ATTEMPTS_MAX = 5
# As the original's default: 1, 2, 4, 8 seconds (workflow/artifacts, wait.Backoff).
FIRST_WAIT_SECONDS = 1.0
ANSWER_BYTES_MAX = 16 << 20
REDIRECTS_MAX = 10
TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)


class Transient(ExecutorError):
    """May well go away when asked again."""


class Refusal(ExecutorError):
    """The server said no. ``body`` is the beginning of its answer."""

    def __init__(self, status: int, reason: str, body: bytes, message: str = "") -> None:
        super().__init__(message or f"{status} {reason}: {_first_line(body)}".rstrip(": "), missing=status == 404)
        self.status = status
        self.body = body

    @property
    def transient(self) -> bool:
        return self.status in TRANSIENT_STATUS


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file."""

    place: Path
    offset: int
    length: int

    def blocks(self) -> Iterator[bytes]:
        left = self.length
        with self.place.open("rb") as file:
            file.seek(self.offset)
            while left and (block := file.read(min(CHUNK, left))):
                left -= len(block)
                yield block


Body = bytes | Slice | None


def whole(place: Path) -> Slice:
    return Slice(place, 0, place.stat().st_size)


def slices(place: Path, part_bytes: int) -> Iterator[Slice]:
    """The file in parts; an empty file has one."""
    size = place.stat().st_size
    for offset in range(0, max(size, 1), part_bytes):
        yield Slice(place, offset, min(part_bytes, size - offset))


@contextmanager
def send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Body = None,
    *,
    tls: ssl.SSLContext | None = None,
    accept: tuple[int, ...] = (),
) -> Iterator[http.client.HTTPResponse]:
    """The answer to one request, its status below 300 or in ``accept``. Raises ``Refusal`` and ``Transient``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ExecutorError(f'{method.title()} "{url}": unsupported protocol scheme "{parts.scheme}"')
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {**headers, "Content-Length": str(_length(body))} if body is not None else dict(headers)
    with closing(connect(parts.scheme, parts.netloc, tls)) as connection:
        try:
            connection.request(method, target, body.blocks() if isinstance(body, Slice) else body, sent)
            response = connection.getresponse()
        except http.client.InvalidURL as err:
            raise ExecutorError(f'{method.title()} "{url}": {err}') from err
        except (OSError, http.client.HTTPException) as err:
            raise Transient(f'{method.title()} "{url}": {network_reason(err, parts.netloc)}') from err
        if response.status >= 300 and response.status not in accept:
            raise Refusal(response.status, response.reason, response.read(ANSWER_BYTES_MAX))
        yield response


def ask(method: str, url: str, headers: Mapping[str, str], body: Body = None) -> bytes:
    """A short answer, whole."""
    with send(method, url, headers, body) as response:
        return read(response)


def read(response: http.client.HTTPResponse) -> bytes:
    try:
        data = response.read(ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as err:
        raise Transient(str(err)) from err
    if len(data) > ANSWER_BYTES_MAX:
        raise ExecutorError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
    return data


def download(response: http.client.HTTPResponse, target: Path) -> None:
    """All of an answer to a file. Raises ``Transient`` where it breaks off."""
    expected = response.length
    with target.open("wb") as file:
        try:
            shutil.copyfileobj(response, file, CHUNK)
        except (OSError, http.client.HTTPException) as err:
            raise Transient(f"reading {target.name}: {err}") from err
        if expected is not None and file.tell() < expected:
            raise Transient("unexpected EOF")


def patiently(action: Callable[[], T], attempts: int = ATTEMPTS_MAX) -> T:
    """The action's result; what is transient is tried again."""
    wait = FIRST_WAIT_SECONDS
    for attempt in range(attempts):
        try:
            return action()
        except (Transient, Refusal) as err:
            if attempt + 1 == attempts or (isinstance(err, Refusal) and not err.transient):
                raise
        threading.Event().wait(wait)
        wait *= 2
    raise AssertionError("there is at least one attempt")


def connect(scheme: str, netloc: str, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = tls or ssl.create_default_context()
        return http.client.HTTPSConnection(netloc, timeout=TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(netloc, timeout=TIMEOUT_SECONDS)


def files_below(directory: Path) -> list[tuple[str, Path]]:
    """(name with slashes, place) of the regular files in a directory, sorted; links are not followed."""
    found = [p for p in directory.rglob("*") if p.is_file() and not p.is_symlink()]
    return sorted((place.relative_to(directory).as_posix(), place) for place in found)


def place_below(target: Path, name: str) -> Path:
    """Where an object of a store's "directory" goes; its directories are made. Raises ``ExecutorError``."""
    place = target / name
    if not place.resolve().is_relative_to(target.resolve()):
        raise ExecutorError(f"failed to get directory: illegal key: {name}")
    missing = [p for p in (place.parent, *place.parent.parents) if not p.exists()]
    for directory in reversed(missing):
        directory.mkdir(mode=0o700)
    return place


def element_text(element: ElementTree.Element, name: str) -> str:
    found = next((e for e in element.iter() if e.tag.rpartition("}")[2] == name), None)
    return (found.text or "") if found is not None else ""


def parse_xml(data: bytes) -> ElementTree.Element:
    """Raises ``ExecutorError``. Documents with a definition of their own are refused: they are never needed."""
    if b"<!DOCTYPE" in data[:1024] or b"<!ENTITY" in data[:1024]:
        raise ExecutorError("an answer with a document type of its own")
    try:
        return ElementTree.fromstring(data.removeprefix(b"\xef\xbb\xbf"))
    except ElementTree.ParseError as err:
        raise ExecutorError(f"an answer that is no XML: {err}") from err


def _length(body: Body) -> int:
    return body.length if isinstance(body, Slice) else len(body or b"")


def _first_line(body: bytes) -> str:
    return body.decode("utf-8", "replace").strip().partition("\n")[0][:200]
