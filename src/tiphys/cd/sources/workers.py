"""A pool of processes that render, started when the first request comes and ended when none came for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from tiphys.cd.sources import worker
from tiphys.cd.sources.request import Rendered, RenderError, Request
from tiphys.runtime.clock import Clock, Timer

DEADLINE_SECONDS = 90.0
IDLE_SECONDS = 60.0
ANSWER_BYTES_MAX = 256 * 1024 * 1024
_KEPT = ("HOME", "LANG", "NO_PROXY", "PATH", "PYTHONPATH", "SSL_CERT_FILE", "TMPDIR", "http_proxy", "https_proxy")


class RenderPool:
    """At most ``size`` renders at once; more wait in order. A render beyond the deadline costs its process."""

    def __init__(self, clock: Clock, scratch: Path, size: int = 2, deadline: float = DEADLINE_SECONDS) -> None:
        self.clock = clock
        self.scratch = scratch
        self.deadline = deadline
        self._free = asyncio.Semaphore(size)
        self._idle: deque[_Process] = deque()
        self._timer: Timer | None = None

    async def render(self, request: Request) -> Rendered:
        """Raises `RenderError`, also when the process died or took too long."""
        async with self._free:
            process = self._idle.pop() if self._idle else await _Process.started(self.scratch)
            try:
                async with asyncio.timeout(self.deadline):
                    found = await process.ask(worker.to_json(request))
            except TimeoutError:
                raise RenderError(f"rendering took longer than {self.deadline:g}s and was stopped") from None
            finally:
                if process.is_asked:
                    await process.kill()
            self._idle.append(process)
            self._rest()
        if "error" in found:
            raise RenderError(found["error"])
        return Rendered(**found)

    async def close(self) -> None:
        """Ends the processes that wait."""
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            await self._idle.pop().kill()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.clock.call_at(self.clock.monotonic() + IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        while self._idle:
            self._idle.pop().end()


class _Process:
    def __init__(self, process: asyncio.subprocess.Process, scratch: Path) -> None:
        self.process = process
        self.scratch = scratch
        self.is_asked = False
        """Whether a question is without its answer: the process is of no further use then."""

    @classmethod
    async def started(cls, below: Path) -> _Process:
        scratch = _new_directory(below)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            worker.__name__,
            str(scratch),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,
            limit=ANSWER_BYTES_MAX,
        )
        return cls(process, scratch)

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.is_asked = True
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            await self.process.stdin.drain()
            line = await self.process.stdout.readline()
        except (ConnectionError, ValueError) as err:
            raise RenderError(f"the process that renders failed: {err}") from None
        if not line:
            raise RenderError("the process that renders ended: it may have needed too much memory")
        self.is_asked = False
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def end(self) -> None:
        """Lets it end by itself: its input ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    async def kill(self) -> None:
        """Kills it with everything it started."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself, and we are not told yet
                os.killpg(self.process.pid, 9)
        await self.process.wait()
        self.end()


def _new_directory(below: Path) -> Path:
    below.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=below))
