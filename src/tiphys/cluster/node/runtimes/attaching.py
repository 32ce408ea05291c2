"""The agent's side of a container's console (``console.py``): a ``Session`` on its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from pathlib import Path

from tiphys.cluster.node.runtime import STDERR, STDOUT, Container
from tiphys.cluster.node.runtimes.console import END, FRAME_BYTES_MAX, HAS_INPUT, INPUT, SIZE

CONNECT_TRIES, CONNECT_PAUSE_SECONDS = 100, 0.05
FRAMES_MAX = 16
CHUNK_BYTES = 32 << 10


class ConsoleSession:
    """What the container says from now on, and input to it; ends with the container, whatever its exit code.

    ``place`` is the life's; ``has_input``: this one will write.
    """

    def __init__(self, container: Container, place: Path, *, has_input: bool) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._container = container
        self._place = place
        self._has_input = has_input
        self._frames: dict[int, asyncio.Queue[bytes]] = {n: asyncio.Queue(FRAMES_MAX) for n in (STDOUT, STDERR)}
        self._over = {STDOUT: False, STDERR: False}
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._size: bytes = b""
        self._task = asyncio.create_task(self._run())

    async def read(self, stream: int) -> bytes:
        if stream not in self._frames or self._over[stream]:
            return b""
        data = await self._frames[stream].get()
        self._over[stream] = not data
        return data

    async def write(self, data: bytes) -> None:
        await self._connected.wait()
        for start in range(0, len(data), CHUNK_BYTES):
            await self._send(INPUT, data[start : start + CHUNK_BYTES])

    def close_input(self) -> None:
        self._put(END, b"")

    def resize(self, columns: int, rows: int) -> None:
        self._size = f"{columns} {rows}".encode()
        self._put(SIZE, self._size)

    def close(self) -> None:
        self._task.cancel()
        if self._writer is not None:
            self._writer.close()
        self._finish()

    async def _run(self) -> None:
        try:
            reader = await self._connect()
            if reader is not None:
                await self._receive(reader)
        finally:
            for queue in self._frames.values():
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(b"")
            self._connected.set()
            self._finish()

    async def _connect(self) -> asyncio.StreamReader | None:
        """The console may be a moment behind its container's start."""
        for _ in range(CONNECT_TRIES):
            if self._container.ended.done():
                return None
            with contextlib.suppress(OSError):
                link = _linked(self._place)
                reader, self._writer = await asyncio.open_connection(sock=link)
                self._connected.set()
                if self._has_input:
                    self._put(HAS_INPUT, b"")
                if self._size:
                    self._put(SIZE, self._size)
                return reader
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)
        return None

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = struct.unpack(">BI", await reader.readexactly(5))
                if length > FRAME_BYTES_MAX:
                    return
                data = await reader.readexactly(length)
                if kind in self._frames:
                    await self._frames[kind].put(data)

    async def _send(self, kind: int, data: bytes) -> None:
        self._put(kind, data)
        if self._writer is not None:
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()

    def _put(self, kind: int, data: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(struct.pack(">BI", kind, len(data)) + data)

    def _finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(0)


def _linked(place: Path) -> socket.socket:
    """A connection to the console's socket; its name may be longer than such names may be. Raises OSError."""
    link, name = socket.socket(socket.AF_UNIX), f"{place.name}.console"
    try:
        if sys.platform != "linux":
            link.connect(str(place.with_name(name)))
        else:
            folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                link.connect(f"/proc/self/fd/{folder}/{name}")
            finally:
                os.close(folder)
    except OSError:
        link.close()
        raise
    link.setblocking(False)
    return link
