"""HTTP/1.1 and HTTP/2 on one port, with limits, on asyncio; without TLS, HTTP/2 by prior knowledge.

Hypercorn and its like bring a framework; the engine needs one handler, chunked replies that end when the client
goes away, and a reason phrase in the status line, which some of ksqlDB's clients insist on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradstream.engine.server.http1 import Http1
from gradstream.engine.server.http2 import PREFACE, Http2
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.requests import (
    Handler,
    Reply,
    Request,
    RequestError,
    error_reply,
    refuse,
)

if TYPE_CHECKING:
    from gradstream.engine.server.access import Users

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(slots=True)
class Listener:
    """A server on one address; ``await start()``, then ``await stop()``.

    Attributes:
        names: host names that a Host or Origin header may carry, against DNS rebinding.
        tls: the certificate; without it connections are in the clear.
        users: who may ask; without them everybody.
    """

    handler: Handler
    host: str
    port: int
    limits: Limits = field(default_factory=Limits)
    names: frozenset[str] = LOOPBACK
    tls: ssl.SSLContext | None = None
    users: Users | None = None
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> int:
        """Binds; returns the port, which the system chose if 0 was given."""
        self._server = await asyncio.start_server(
            self._connected,
            self.host,
            self.port,
            backlog=128,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self, timeout: float = 0.3) -> None:
        """Ends all connections; replies that stream are cancelled and free what they hold."""
        if self._server:
            self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=timeout)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    async def answer(self, request: Request) -> Reply:
        """The handler's reply, or the error's."""
        try:
            self._check_names(request.headers)
            if self.users:
                await self.users.check(request.headers)
            return await self.handler(request)
        except RequestError as error:
            return error_reply(error)

    def _check_names(self, headers: Mapping[str, str]) -> None:
        for header in ("host", "origin"):
            value = headers.get(header)
            if value and value != "null" and not self._is_name(header, _host(value)):
                raise refuse(
                    40300,
                    f"{header.title()} {value!r} is not a name of this server; "
                    "its flag --allow-host tells it more names",
                )

    def _is_name(self, header: str, host: str) -> bool:
        """A host by its number is taken for granted: what a rebound DNS name leads to still is asked for by the name."""
        return host in self.names or (header == "host" and _is_number(host))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            full = len(self._open) > self.limits.connections
            if self.tls:
                if full:
                    return  # a handshake to say so would be one more than there may be
                # Before anything is awaited, or what has come would be read as if it were in the clear.
                await writer.start_tls(self.tls, ssl_handshake_timeout=self.limits.header_timeout)
            if full:
                too_many = refuse(
                    42900,
                    f"{self.limits.connections} connections are open already; close one, or start the engine with a "
                    "greater --limit connections=NUMBER",
                )
                await Http1(self.answer, self.limits, reader, writer).refuse(too_many)
            else:
                await self._serve(reader, writer)
            await _linger(reader, writer)
        except (asyncio.CancelledError, OSError):  # the client has gone, or speaks no TLS
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                async with asyncio.timeout(0.5):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = b""
        try:
            async with asyncio.timeout(self.limits.header_timeout):
                while PREFACE.startswith(first) and len(first) < len(PREFACE):
                    if not (more := await reader.read(65536)):
                        return
                    first += more
        except TimeoutError:
            if first:
                await Http1(self.answer, self.limits, reader, writer).refuse(
                    refuse(40800, "no request in time")
                )
            return
        if first.startswith(PREFACE):
            await Http2(self.answer, self.limits, reader, writer).serve(first)
        else:
            await Http1(self.answer, self.limits, reader, writer).serve(first)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads on for a moment: closing on unread data would reset the connection and lose the reply on its way."""
    if writer.can_write_eof():
        with suppress(OSError):  # it has gone already
            writer.write_eof()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while await reader.read(65536):
                pass


def _host(value: str) -> str:
    """Host name of ``[scheme://]host[:port]``, lower case."""
    bare = value.split("://", 1)[-1].rsplit("@", 1)[-1].split("/", 1)[0].lower()
    if bare.startswith("["):
        return bare[1:].split("]", 1)[0]
    return bare.rsplit(":", 1)[0] if bare.count(":") == 1 else bare


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
