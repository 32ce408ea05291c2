"""The image map: programs of this machine that stand for well-known images where no registry answers.

Explicit and visible: the entries are a data file (``map.toml``), an image that matches none is not run
(``ErrImagePull``), and the pod's status names the entry that served it. A container that gives its own ``command`` on
an image that the map does not know is refused too: guessing would run something else than the manifest says.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from tiphys.cluster.node.accounts import NO_ACCOUNTS, Accounts
from tiphys.machinery.errors import DriverError, SpecError
from tiphys.oci.reference import InvalidReference, Reference, parse

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageUnavailable(DriverError):
    """The image cannot be had; ``reason`` is a kubelet's (ErrImagePull, InvalidImageName …)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Image:
    """What a container needs to know of its image. ``programs`` are container path → path on this machine.

    ``root`` is its unpacked file system; an image without one is a host-derived root with ``programs``.
    """

    reference: str
    image_id: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    programs: Mapping[str, Path] = field(default_factory=dict)
    mapped_by: str = ""
    user: str = ""
    stop_signal: str = ""
    accounts: Accounts = NO_ACCOUNTS
    root: Path | None = None
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One container's wish for an image. ``secrets`` are the documents of the pod's image pull secrets."""

    reference: str
    policy: str
    secrets: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Pulled:
    """``size_bytes`` is 0 where nothing came from a registry; ``note`` is what the user should know of it."""

    image: Image
    seconds: float = 0.0
    waited_seconds: float = 0.0
    size_bytes: int = 0
    note: str = ""


class ImageSource(Protocol):
    """Where containers' images come from."""

    def at_hand(self, reference: str, policy: str) -> Image | None:
        """The image without waiting; None where it must be pulled first. Raises ``ImageUnavailable``."""
        ...

    async def pull(self, request: PullRequest) -> Pulled:
        """Raises ``ImageUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    match: tuple[str, ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    needs: tuple[str, ...]
    provides: Mapping[str, tuple[str, ...]]


class ImageMap:
    """Finds the entry for an image. ``search_path`` is where this machine's programs are looked for."""

    def __init__(self, entries: tuple[Entry, ...] | None = None, search_path: str | None = None) -> None:
        self._entries = load_entries() if entries is None else entries
        self._search_path = search_path
        self._known: dict[str, Image] = {}

    def at_hand(self, reference: str, policy: str) -> Image:
        """An ``ImageSource`` of its own, where there is no other: what is not in the map cannot be had."""
        return self.image(reference)

    async def pull(self, request: PullRequest) -> Pulled:
        return Pulled(self.image(request.reference))

    def image(self, reference: str) -> Image:
        """Raises ``ImageUnavailable``."""
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self._find(reference)
        return known

    def _find(self, reference: str) -> Image:
        check_name(reference)
        entry = self.entry(reference)
        if entry is not None:
            return self._serve(entry, reference)
        raise ImageUnavailable(
            "ErrImagePull",
            f'image "{reference}" cannot be pulled: no registry is configured, and the image map has no entry for it',
        )

    def entry(self, reference: str) -> Entry | None:
        """The first entry that fits."""
        name = repository(reference)
        fits = (entry for entry in self._entries if any(fnmatchcase(name, pattern) for pattern in entry.match))
        return next(fits, None)

    def _serve(self, entry: Entry, reference: str) -> Image:
        missing = [program for program in entry.needs if self._which(program) is None]
        if missing:
            raise ImageUnavailable(
                "ErrImagePull",
                f'image "{reference}" cannot be pulled: no registry is configured, and its entry "{entry.name}" in the'
                f" image map needs {', '.join(missing)}, which this machine has not",
            )
        programs = {}
        for target, sources in entry.provides.items():
            place = next((p for p in map(self._source, sources) if p is not None), None)
            if place is None:
                raise ImageUnavailable("ErrImagePull", f'image "{reference}": this machine has no {sources[0]}')
            programs[target] = place
            if place == _interpreter():  # it finds its library where it was built to be
                programs[sys.base_prefix] = Path(sys.base_prefix)
        return Image(
            reference,
            f"tiphys-map://{entry.name}",
            entry.entrypoint,
            entry.cmd,
            entry.env,
            entry.workdir,
            programs,
            entry.name,
        )

    def _source(self, name: str) -> Path | None:
        if name == "@interpreter":
            return _interpreter()
        if name.startswith("@"):
            return Path(str(resources.files(__package__).joinpath("programs", name[1:])))
        found = self._which(name)
        return Path(found) if found else None

    def _which(self, program: str) -> str | None:
        return shutil.which(program, path=self._search_path)


def check_name(reference: str) -> Reference:
    """Raises ``ImageUnavailable`` for what is no image name, in a kubelet's words."""
    try:
        return parse(reference)
    except InvalidReference as err:
        said = f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": {err}'
        raise ImageUnavailable("InvalidImageName", said) from err


def _interpreter() -> Path:
    """The Python that runs tiphys, outside of any virtual environment."""
    return Path(sys.executable).resolve()


def search_path(*, isolated: bool) -> str:
    """Where programs for images are looked for: containers with a root of their own see only the system's places."""
    return SYSTEM_PATH if isolated else f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}"


def repository(reference: str) -> str:
    """The name without registry defaults, tag and digest: ``docker.io/library/alpine:3`` → ``alpine``."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    for default in ("docker.io/", "index.docker.io/", "registry-1.docker.io/"):
        name = name.removeprefix(default)
    return name.removeprefix("library/")


@lru_cache(maxsize=1)
def load_entries() -> tuple[Entry, ...]:
    return _entries(resources.files(__package__).joinpath("map.toml").read_text(encoding="utf-8"))


def entries_with(file: Path | None) -> tuple[Entry, ...]:
    """The entries of a user's file, if any, before the built-in ones. Raises ``SpecError`` naming the file."""
    if file is None:
        return load_entries()
    try:
        return (*_entries(file.read_text(encoding="utf-8")), *load_entries())
    except KeyError as err:
        raise SpecError(str(file), f"an entry of the image map has no {err}") from err
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise SpecError(str(file), f"is no image map: {err}") from err


def _entries(text: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            name=row["name"],
            match=tuple(row["match"]),
            entrypoint=tuple(row.get("entrypoint", ())),
            cmd=tuple(row.get("cmd", ())),
            env=row.get("env", {}),
            workdir=row.get("workdir", ""),
            needs=tuple(row.get("needs", ())),
            provides={target: tuple(sources) for target, sources in row.get("provides", {}).items()},
        )
        for row in tomllib.loads(text).get("entry", ())
    )
