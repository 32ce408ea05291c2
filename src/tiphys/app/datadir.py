"""The directory that an embedded cluster lives in, and who holds it.

    <data dir>/lock          held (flock) for as long as a process uses the directory: the kernel lets go at its end
               server.json   who holds it and how to reach it, while it is Ready
               kubeconfig    for kubectl, argo and friends
               store.db      all objects
               pki/          certificate authority and keys
               node/         pods: logs, volumes, results, artifacts
               cd/           repositories and charts that applications come from
               server.log    what ``tiphys up --detach`` says

The lock, not the file with the pid, is the truth: a kill -9 leaves the file behind but never the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tiphys.machinery.errors import DriverError


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server that is Ready. ``url`` is empty for one that does not listen (``tiphys run --data-dir``).

    ``s3`` is the URL of the artifact store's S3 endpoint.
    """

    pid: int
    url: str
    kubeconfig: str
    runtime: str
    s3: str = ""


@dataclass(frozen=True)
class DataDir:
    path: Path

    @property
    def store(self) -> Path:
        return self.path / "store.db"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def node(self) -> Path:
        return self.path / "node"

    @property
    def cd(self) -> Path:
        return self.path / "cd"

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def _info(self) -> Path:
        return self.path / "server.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory (made if it is not there); raises DriverError while another process holds it."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DriverError(f"another tiphys uses {self.path}{self._by_whom()}; `tiphys down` ends it") from None
            self._info.unlink(missing_ok=True)
            try:
                yield
            finally:
                self._info.unlink(missing_ok=True)

    def is_held(self) -> bool:
        try:
            with (self.path / "lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def wait_until_free(self) -> None:
        """Blocks until nobody holds the directory: run it in a thread."""
        with contextlib.suppress(FileNotFoundError), (self.path / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)

    def announce(self, info: ServerInfo) -> None:
        """Says that the holder is Ready; replaces the file in one step."""
        draft = self._info.with_suffix(".new")
        draft.write_text(json.dumps(asdict(info)))
        os.replace(draft, self._info)

    def server(self) -> ServerInfo | None:
        """The Ready server that holds the directory, if there is one."""
        if not self.is_held():
            return None
        try:
            return ServerInfo(**json.loads(self._info.read_text()))
        except FileNotFoundError:
            return None

    def _by_whom(self) -> str:
        info = self.server()
        return f" (pid {info.pid})" if info is not None else ""
