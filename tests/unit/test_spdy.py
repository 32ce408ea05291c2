"""SPDY/3.1: frames and headers as bytes, streams over a wire that the test holds in its hand."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.serving.spdy import frames
from tiphys.serving.spdy.connection import WINDOW_BYTES, SpdyConnection, SpdyStream, StreamReset
from tiphys.serving.spdy.frames import Control, Data, FrameReader, HeaderReader, HeaderWriter, SpdyError


class Wire:
    """What the server has sent, read as frames; and what a client would send."""

    def __init__(self) -> None:
        self.connection = SpdyConnection(self.send)
        self.frames: list[Data | Control] = []
        self.headers = HeaderWriter()
        self._reader = FrameReader()

    async def send(self, data: bytes) -> None:
        self.frames += self._reader.feed(data)

    async def open(self, identifier: int, fin: bool = False, **headers: str) -> SpdyStream:
        block = struct.pack(">IIH", identifier, 0, 0) + self.headers.write(headers)
        await self.connection.feed(frames.control(frames.SYN_STREAM, block, int(fin)))
        stream = await self.connection.accept()
        assert stream is not None
        return stream

    def kinds(self) -> list[int]:
        return [frame.kind if isinstance(frame, Control) else 0 for frame in self.frames]


def test_the_dictionary_is_the_one_of_the_draft() -> None:
    assert (len(frames.DICTIONARY), zlib.adler32(frames.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8), st.integers(1, 64))
def test_frames_survive_any_cut(sent: list[tuple[bytes, bool]], size: int) -> None:
    wire = b"".join(frames.data(n + 1, payload, fin=fin) for n, (payload, fin) in enumerate(sent))
    reader = FrameReader()
    got = [frame for at in range(0, len(wire), size) for frame in reader.feed(wire[at : at + size])]
    assert got == [Data(n + 1, payload, fin) for n, (payload, fin) in enumerate(sent)]


@given(st.lists(st.dictionaries(st.from_regex(r"[a-z-]{1,10}", fullmatch=True), st.text(max_size=50)), max_size=5))
def test_headers_of_one_connection_share_a_window(blocks: list[dict[str, str]]) -> None:
    writer, reader = HeaderWriter(), HeaderReader()
    for headers in blocks:
        assert reader.read(writer.write(headers)) == {k: v.replace("\0", ",") for k, v in headers.items()}


@given(st.binary(max_size=400))
def test_noise_is_refused_and_nothing_else(noise: bytes) -> None:
    async def feed() -> None:
        wire = Wire()
        try:
            await wire.connection.feed(noise)
        except SpdyError:
            return

    asyncio.run(feed())


def test_a_header_bomb_is_refused() -> None:
    bomb = zlib.compressobj(zdict=frames.DICTIONARY)
    block = bomb.compress(b"\0" * (8 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(SpdyError, match="too long"):
        HeaderReader().read(block)


async def test_a_stream_both_ways() -> None:
    wire = Wire()
    stream = await wire.open(1, streamtype="data", port="80")
    assert stream.headers == {"streamtype": "data", "port": "80"}
    await wire.connection.feed(frames.data(1, b"ques") + frames.data(1, b"tion", fin=True))
    assert [await stream.read() for _ in range(3)] == [b"ques", b"tion", b""]
    await stream.write(b"answer")
    await stream.end()
    assert wire.kinds() == [frames.SYN_REPLY, 0, 0]
    assert wire.frames[1:] == [Data(1, b"answer"), Data(1, b"", fin=True)]
    with pytest.raises(StreamReset):
        await stream.write(b"more")


async def test_pings_are_answered_and_odd_frames_ignored() -> None:
    wire = Wire()
    await wire.connection.feed(frames.control(frames.PING, struct.pack(">I", 7)))
    await wire.connection.feed(frames.control(99, b"whatever"))
    assert wire.frames == [Control(frames.PING, 0, struct.pack(">I", 7))]


async def test_reading_gives_the_window_back() -> None:
    wire = Wire()
    stream = await wire.open(1)
    await wire.connection.feed(frames.data(1, b"x" * WINDOW_BYTES))
    await stream.read()
    given = [struct.unpack(">II", f.payload) for f in wire.frames if isinstance(f, Control) and f.kind == 9]
    assert given == [(1, WINDOW_BYTES), (0, WINDOW_BYTES)]


async def test_the_window_of_a_client_that_keeps_one_is_respected() -> None:
    wire = Wire()
    stream = await wire.open(1)
    await wire.connection.feed(frames.control(frames.SETTINGS, struct.pack(">III", 1, 7, 10)))
    writing = asyncio.create_task(stream.write(b"0123456789abc"))
    await asyncio.sleep(0)
    assert [f.payload for f in wire.frames if isinstance(f, Data)] == [b"0123456789"]
    await wire.connection.feed(frames.control(frames.WINDOW_UPDATE, struct.pack(">II", 1, 100)))
    await writing
    assert [f.payload for f in wire.frames if isinstance(f, Data)] == [b"0123456789", b"abc"]


async def test_what_nobody_reads_holds_the_sender_up() -> None:
    wire = Wire()
    stream = await wire.open(1)
    sent = b"".join(frames.data(1, b"x" * 60_000) for _ in range(8))
    feeding = asyncio.create_task(wire.connection.feed(sent))
    await asyncio.sleep(0)
    assert not feeding.done()
    for _ in range(4):
        await stream.read()
    assert await feeding is None


async def test_a_reset_stream_raises_and_frees_what_it_held() -> None:
    wire = Wire()
    stream = await wire.open(1)
    await wire.connection.feed(frames.data(1, b"x" * 1000))
    await wire.connection.feed(frames.control(frames.RST_STREAM, struct.pack(">II", 1, frames.CANCEL)))
    with pytest.raises(StreamReset):
        await stream.read()
    await wire.connection.feed(frames.data(1, b"late"))  # no error: it crossed the reset


async def test_a_lost_connection_ends_everything() -> None:
    wire = Wire()
    stream = await wire.open(1)
    wire.connection.lost()
    assert await wire.connection.accept() is None
    with pytest.raises(StreamReset):
        await stream.read()


@pytest.mark.parametrize(
    "sent",
    [
        frames.data(5, b"never opened"),
        frames.control(frames.SYN_REPLY, struct.pack(">I", 1)),
        b"\x80\x02\0\1\0\0\0\0",
        frames.control(frames.SYN_STREAM, struct.pack(">IIH", 2, 0, 0) + HeaderWriter().write({})),
        b"\x80\x03\0\1\xff\xff\xff\xff",
    ],
)
async def test_what_breaks_the_rules(sent: bytes) -> None:
    with pytest.raises(SpdyError):
        await Wire().connection.feed(sent)
