"""A listener with a handler of three kinds, and small clients, for tests of HTTP without an engine."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events

from gradstream.engine.server.access import Users
from gradstream.engine.server.http import Listener
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.requests import Reply, Request

LIMITS = Limits(body=1000, header_timeout=0.3, body_timeout=0.3, idle_timeout=2.0)


class Server:
    """A listener whose handler echoes, streams, or streams for ever.

    Attributes:
        freed: when a stream without an end has ended.
    """

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None, users: Users | None) -> None:
        self.freed = asyncio.Event()
        self.listener = Listener(self.handle, "127.0.0.1", 0, limits, tls=tls, users=users)

    async def handle(self, request: Request) -> Reply:
        if request.path == "/stream":
            return Reply(body=self.three())
        if request.path == "/endless":
            return Reply(body=self.endless(b"row\n", 0.01))
        if request.path == "/lines":
            return Reply(body=self.lines(request))
        if request.path == "/flood":
            return Reply(body=self.endless(bytes(1 << 16), 0.0))
        return Reply(body=request.method.encode() + b" " + await request.body())

    async def three(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number

    async def lines(self, request: Request) -> AsyncIterator[bytes]:
        yield b"begun\n"
        async for some in request.lines():
            yield b"%d\n" % len(some)

    async def endless(self, chunk: bytes, pause: float) -> AsyncIterator[bytes]:
        try:
            while True:
                yield chunk
                await asyncio.sleep(pause)
        finally:
            self.freed.set()


def with_server(
    test: Callable[[Server], Awaitable[None]],
    limits: Limits = LIMITS,
    tls: ssl.SSLContext | None = None,
    users: Users | None = None,
) -> None:
    """Runs a test beside a server that listens; no connection may end in an error that nobody handles."""
    unhandled: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: unhandled.append(what))
        server = Server(limits, tls, users)
        await server.listener.start()
        try:
            await test(server)
        finally:
            await server.listener.stop()

    asyncio.run(asyncio.wait_for(run(), 15))
    assert not unhandled


async def sent(server: Server, raw: bytes, patience: float = 0.8) -> bytes:
    """All that comes back until the server closes, or for so many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
    writer.write(raw)
    answer = b""
    try:
        async with asyncio.timeout(patience):
            while more := await reader.read(65536):
                answer += more
    except TimeoutError:
        pass
    writer.close()
    return answer


async def leave(port: int, raw: bytes, *, reset: bool) -> None:
    """Sends something and goes, without a good-bye where ``reset``."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    await writer.drain()
    if reset:
        now = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        writer.transport.abort()
    else:
        writer.close()


class H2Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.status: dict[int, str] = {}
        self.body: dict[int, bytes] = {}
        self.reset: set[int] = set()

    def send(
        self, path: str, body: bytes | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> int:
        """Sends a request; returns its stream."""
        stream = self.connection.get_next_available_stream_id()
        method = "GET" if body is None else "POST"
        head = [(":method", method), (":path", path), (":scheme", "http")]
        head += [(":authority", "localhost"), *headers]
        self.connection.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.connection.send_data(stream, body, end_stream=True)
        self.writer.write(self.connection.data_to_send())
        return stream

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            events: list[Any] = self.connection.receive_data(await self.reader.read(65536))
            for event in events:
                if isinstance(event, h2.events.ResponseReceived):
                    self.status[event.stream_id] = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    self.body[event.stream_id] = self.body.get(event.stream_id, b"") + event.data
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                elif isinstance(event, h2.events.StreamReset):
                    self.reset.add(event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.body.setdefault(event.stream_id, b"")
                    self.body[event.stream_id] += b"<end>"
            self.writer.write(self.connection.data_to_send())
