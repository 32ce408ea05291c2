"""Kubernetes' channels over one WebSocket: the first byte of a message says which stream the rest belongs to.

v5.channel.k8s.io                binary; channel 255 with a channel's number: that one is closed
v4.channel.k8s.io                binary; the status of the end is JSON
channel.k8s.io, no protocol      binary; the status is text, empty for success
v4.base64.channel.k8s.io, base64.channel.k8s.io      text messages: a digit, then base64
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Final

from aiohttp import WSMsgType, web

from tiphys.cluster.apiserver.http.streams.carriers import close_socket, web_socket

CLOSED: Final = 255
PROTOCOLS: Final = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
]
# Messages of one channel that nobody has read yet; a sender who goes on must wait.
MESSAGES_MAX: Final = 16
CHANNEL_BYTES_MAX: Final = 32 << 10


class Channels:
    """``inputs`` are the channels that the client may send on."""

    def __init__(self, response: web.WebSocketResponse, inputs: frozenset[int]) -> None:
        self.response = response
        protocol = response.ws_protocol or ""
        self.is_text = "base64" in protocol
        self.can_close = protocol.startswith("v5.")
        self.has_json_status = protocol.startswith(("v4.", "v5."))
        self._inputs: dict[int, asyncio.Queue[bytes]] = {n: asyncio.Queue(MESSAGES_MAX) for n in inputs}

    async def receive(self) -> None:
        """Sorts what comes until the client is gone."""
        try:
            while (message := await self.response.receive()).type in (WSMsgType.BINARY, WSMsgType.TEXT):
                # The protocol decides, not the type of the message: kubernetes' Python client sends stdin as text.
                payload = message.data.encode() if message.type is WSMsgType.TEXT else message.data
                data = _decoded(payload) if self.is_text else payload
                if not data:
                    continue
                if data[0] == CLOSED and self.can_close:
                    await self._put(data[1] if len(data) > 1 else CLOSED, b"")
                elif len(data) > 1:
                    await self._put(data[0], bytes(data[1:]))
        except binascii.Error:
            return

    async def read(self, channel: int) -> bytes:
        """The next bytes of a channel, b"" once the client has closed it."""
        queue = self._inputs.get(channel)
        return b"" if queue is None else await queue.get()

    async def write(self, channel: int, data: bytes) -> None:
        """Raises ConnectionError."""
        for start in range(0, len(data) or 1, CHANNEL_BYTES_MAX):
            part = data[start : start + CHANNEL_BYTES_MAX]
            if self.is_text:
                await self.response.send_str(f"{channel}{base64.b64encode(part).decode()}")
            else:
                await self.response.send_bytes(bytes((channel,)) + part)

    async def close(self) -> None:
        await close_socket(self.response)

    async def _put(self, channel: int, data: bytes) -> None:
        queue = self._inputs.get(channel)
        if queue is not None:
            await queue.put(data)


async def open_channels(request: web.BaseRequest, inputs: frozenset[int]) -> Channels:
    """Answers the handshake with the best protocol that both sides speak."""
    wanted = request.headers.get("Sec-WebSocket-Protocol", "")
    asked = [word.strip() for word in wanted.split(",")]
    best = next((each for each in PROTOCOLS if each in asked), None)
    response = web_socket([best] if best else [])
    await response.prepare(request)
    return Channels(response, inputs)


def _decoded(text: bytes) -> bytes:
    """The digit as a number, then what is behind it."""
    return bytes((int(text[:1]) if text[:1].isdigit() else CLOSED - 1,)) + base64.b64decode(text[1:], validate=True)
