"""One SPDY/3.1 connection as its server sees it: streams that the client opens, with flow control both ways.

    connection = SpdyConnection(send)
    reading: async for chunk in carrier: await connection.feed(chunk) … connection.lost()
    serving: while (stream := await connection.accept()) is not None: …

``feed`` waits while what was received is not read, so that the carrier's own flow control reaches the sender. Windows
of SPDY are given back as bytes are read; the client's are respected once it has shown that it keeps any (kubectl's
library never opens one again: we would wait for ever).
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from tiphys.serving.spdy import frames
from tiphys.serving.spdy.frames import (
    Control,
    Data,
    FrameReader,
    HeaderReader,
    HeaderWriter,
    SpdyError,
    control,
    number,
)

WINDOW_BYTES = 64 << 10
BUFFERED_BYTES_MAX = 256 << 10
DATA_BYTES_MAX = 32 << 10
STREAMS_MAX = 1024
Send = Callable[[bytes], Awaitable[None]]


class StreamReset(ConnectionError):
    """The stream (or its connection) is gone: nothing can be sent any more."""


class SpdyStream:
    """One stream. Read by one task, written by one."""

    def __init__(self, connection: SpdyConnection, identifier: int, headers: Mapping[str, str]) -> None:
        self.identifier = identifier
        self.headers = headers
        self._connection = connection
        self._received: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._input_over = False
        self._output_over = False
        self._is_cut = False
        self._unacknowledged = 0
        self._window = connection.initial_window
        self._writable = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises StreamReset."""
        while not self._received:
            if self._is_cut:
                raise StreamReset(f"stream {self.identifier} was reset")
            if self._input_over:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        chunk = self._received.popleft()
        await self._connection.consumed(self, len(chunk))
        return chunk

    async def write(self, payload: bytes) -> None:
        """Raises StreamReset."""
        rest = memoryview(payload)
        while rest:
            allowed = await self._allowance()
            chunk = rest[: min(allowed, DATA_BYTES_MAX)]
            rest = rest[len(chunk) :]
            self._window -= len(chunk)
            self._connection.window -= len(chunk)
            await self._connection.send(frames.data(self.identifier, bytes(chunk)))

    async def end(self) -> None:
        """Nothing more will be written."""
        if not self._output_over:
            self._output_over = True
            await self._connection.send(frames.data(self.identifier, b"", fin=True))
            self._connection.forget_if_over(self)

    async def reset(self, status: int = frames.CANCEL) -> None:
        """Ends both directions; what was not read is dropped."""
        was_over = self.is_over
        self.cut()
        if not was_over and not self._connection.is_lost:
            await self._connection.send(control(frames.RST_STREAM, struct.pack(">II", self.identifier, status)))
            self._connection.forget_if_over(self)

    @property
    def is_over(self) -> bool:
        return self._input_over and self._output_over

    # What the connection tells

    def receive(self, payload: bytes, *, fin: bool) -> int:
        """How many bytes wait for a reader because of it."""
        taken = 0 if self._input_over else len(payload)
        if taken:
            self._received.append(payload)
        if fin:
            self._input_over = True
        self._arrived.set()
        return taken

    def cut(self) -> None:
        self._is_cut = self._input_over = self._output_over = True
        self._connection.dropped(sum(map(len, self._received)))
        self._received.clear()
        self._arrived.set()
        self._writable.set()

    def widen(self, count: int) -> None:
        self._window += count
        self._writable.set()

    def due(self, count: int) -> int:
        """How much window to give back after ``count`` more bytes were read: half a window at a time."""
        self._unacknowledged += count
        if self._unacknowledged < WINDOW_BYTES // 2 or self._input_over:
            return 0
        given, self._unacknowledged = self._unacknowledged, 0
        return given

    async def _allowance(self) -> int:
        while True:
            if self._output_over:
                raise StreamReset(f"stream {self.identifier} is closed")
            if not self._connection.flows:
                return DATA_BYTES_MAX
            allowed = min(self._window, self._connection.window)
            if allowed > 0:
                return allowed
            self._writable.clear()
            await self._writable.wait()


class SpdyConnection:
    """``send`` puts bytes on the wire and waits while the wire is full; ``flows``: the client keeps windows."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.flows = False
        self.window = self.initial_window = WINDOW_BYTES
        self._frames = FrameReader()
        self._headers = HeaderReader()
        self._writer = HeaderWriter()
        self._streams: dict[int, SpdyStream] = {}
        self._fresh: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self._last = 0
        self._buffered = 0
        self._unacknowledged = 0
        self._room = asyncio.Event()
        self.is_lost = False

    async def accept(self) -> SpdyStream | None:
        """The next stream that the client opens; None when the connection is over."""
        if self.is_lost and self._fresh.empty():
            return None
        return await self._fresh.get()

    async def feed(self, received: bytes) -> None:
        """Takes bytes from the wire; waits while too much is unread. Raises SpdyError."""
        for frame in self._frames.feed(received):
            if isinstance(frame, Data):
                await self._data(frame)
            else:
                await self._control(frame)
        while self._buffered > BUFFERED_BYTES_MAX and not self.is_lost:
            self._room.clear()
            await self._room.wait()

    def lost(self) -> None:
        """The wire is gone. Idempotent."""
        if not self.is_lost:
            self.is_lost = True
            for stream in self._streams.values():
                stream.cut()
            self._streams.clear()
            self._room.set()
            self._fresh.put_nowait(None)

    async def close(self) -> None:
        """Tells the client that nothing more comes."""
        if not self.is_lost:
            await self.send(control(frames.GOAWAY, struct.pack(">II", self._last, 0)))

    # For streams

    async def consumed(self, stream: SpdyStream, count: int) -> None:
        self.dropped(count)
        if self.is_lost:
            return
        given = stream.due(count)
        if given:
            await self.send(control(frames.WINDOW_UPDATE, struct.pack(">II", stream.identifier, given)))
        self._unacknowledged += count
        if self._unacknowledged >= WINDOW_BYTES // 2:
            given, self._unacknowledged = self._unacknowledged, 0
            await self.send(control(frames.WINDOW_UPDATE, struct.pack(">II", 0, given)))

    def dropped(self, count: int) -> None:
        self._buffered -= count
        self._room.set()

    def forget_if_over(self, stream: SpdyStream) -> None:
        if stream.is_over:
            self._streams.pop(stream.identifier, None)

    # Frames

    async def _data(self, frame: Data) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            if frame.stream > self._last or not frame.stream:
                raise SpdyError(f"data for stream {frame.stream}, which was never opened")
            return  # sent before the client saw that we have ended it
        self._buffered += stream.receive(frame.payload, fin=frame.fin)
        self.forget_if_over(stream)

    async def _control(self, frame: Control) -> None:
        match frame.kind:
            case frames.SYN_STREAM:
                await self._open(frame)
            case frames.RST_STREAM:
                stream = self._streams.pop(frame.stream, None)
                if stream is not None:
                    stream.cut()
            case frames.SETTINGS:
                self._settings(frame.payload)
            case frames.PING:
                if number(frame.payload, 0) % 2:  # the client's own; even ones would be answers
                    await self.send(control(frames.PING, frame.payload[:4]))
            case frames.GOAWAY:
                for stream in self._streams.values():
                    stream.receive(b"", fin=True)
            case frames.HEADERS:
                self._headers.read(frame.payload[4:])
            case frames.WINDOW_UPDATE:
                self._widen(frame)
            case frames.SYN_REPLY:
                raise SpdyError("a reply to a stream that we did not open")

    async def _open(self, frame: Control) -> None:
        identifier = frame.stream
        headers = self._headers.read(frame.payload[10:])
        if not identifier % 2 or identifier <= self._last:
            raise SpdyError(f"stream {identifier} cannot be opened after {self._last}")
        self._last = identifier
        if len(self._streams) >= STREAMS_MAX:
            await self.send(control(frames.RST_STREAM, struct.pack(">II", identifier, frames.REFUSED_STREAM)))
            return
        stream = self._streams[identifier] = SpdyStream(self, identifier, headers)
        if frame.flags & frames.FLAG_FIN:
            stream.receive(b"", fin=True)
        await self.send(control(frames.SYN_REPLY, struct.pack(">I", identifier) + self._writer.write({})))
        self._fresh.put_nowait(stream)

    def _settings(self, payload: bytes) -> None:
        for at in range(4, 4 + 8 * min(number(payload, 0), 64), 8):
            if number(payload, at) & 0xFFFFFF == frames.INITIAL_WINDOW_SETTING:
                wanted = number(payload, at + 4)
                for stream in self._streams.values():
                    stream.widen(wanted - self.initial_window)
                self.flows, self.initial_window = True, wanted

    def _widen(self, frame: Control) -> None:
        self.flows = True
        identifier, count = frame.stream, number(frame.payload, 4)
        if identifier:
            stream = self._streams.get(identifier)
            if stream is not None:
                stream.widen(count)
            return
        self.window += count
        for stream in self._streams.values():
            stream.widen(0)
