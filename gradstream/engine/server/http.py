"""HTTP/1.1 and HTTP/2 (cleartext, prior knowledge) on one port, with limits, on asyncio.

Hypercorn and its like bring a framework; the engine needs one handler, chunked replies that end when the client
goes away, and a reason phrase in the status line, which some of ksqlDB's clients insist on.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h11

from gradstream.engine.rows.json_text import to_json
from gradstream.engine.server.replies import generic_error

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take from us; sizes in bytes, times in seconds."""

    body: int = 1 << 20
    head: int = 64 << 10
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    connections: int = 256


class RequestError(Exception):
    """A request that is answered with an error entity.

    Args:
        status: HTTP status.
        entity: body, as JSON.
        word: gradstream's own code of the error, such as ``UNKNOWN_COLUMN``; sent as a header, where it disturbs
            no client of ksqlDB.
    """

    def __init__(self, status: int, entity: dict[str, object], word: str = "") -> None:
        super().__init__(str(entity.get("message", "")))
        self.status = status
        self.entity = entity
        self.word = word


def refuse(code: int, message: str) -> RequestError:
    """A generic error with one of ksqlDB's five-digit codes; the status is its first three digits."""
    return RequestError(code // 100, generic_error(code, message))


@dataclass(slots=True)
class Request:
    """One request; header names in lower case, the body read on demand."""

    method: str
    path: str
    headers: dict[str, str]
    http2: bool
    chunks: AsyncIterator[bytes]
    limits: Limits

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            RequestError: 413 beyond the limit, 408 when it does not come in time.
        """
        too_large = (
            f"the request is larger than {self.limits.body} bytes; send fewer statements at once"
        )
        announced = self.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > self.limits.body:
            raise refuse(41300, too_large)
        whole = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_timeout):
                async for chunk in self.chunks:
                    whole += chunk
                    if len(whole) > self.limits.body:
                        raise refuse(41300, too_large)
        except TimeoutError:
            raise refuse(40800, "the request body did not come in time") from None
        return bytes(whole)

    async def lines(self) -> AsyncIterator[list[bytes]]:
        """The body's lines, as many at once as came at once, for requests that stream."""
        rest = b""
        async for chunk in self.chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > self.limits.body:
                raise refuse(41300, f"a line is larger than {self.limits.body} bytes")
            if whole := [line for line in whole if line.strip()]:
                yield whole
        if rest.strip():
            yield [rest]


@dataclass(slots=True)
class Reply:
    """What the handler answers; an iterator is sent chunk by chunk and closed when the client goes away."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes | AsyncIterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()


Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]


def error_reply(error: RequestError) -> Reply:
    headers = (("X-Gradstream-Error", error.word),) if error.word else ()
    return Reply(error.status, body=to_json(error.entity), headers=headers)


@dataclass(slots=True)
class Listener:
    """A server on one address; ``await start()``, then ``await stop()``.

    Attributes:
        names: host names that a Host or Origin header may carry, against DNS rebinding.
    """

    handler: Handler
    host: str
    port: int
    limits: Limits = field(default_factory=Limits)
    names: frozenset[str] = LOOPBACK
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> int:
        """Binds; returns the port, which the system chose if 0 was given."""
        self._server = await asyncio.start_server(
            self._connected, self.host, self.port, backlog=128
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

    async def answer(self, request: Request) -> Reply:
        """The handler's reply, or the error's."""
        try:
            self._check_names(request.headers)
            return await self.handler(request)
        except RequestError as error:
            return error_reply(error)

    def _check_names(self, headers: dict[str, str]) -> None:
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
            if len(self._open) > self.limits.connections:
                await _Http1(self, reader, writer).refuse(refuse(42900, "too many connections"))
            else:
                await self._serve(reader, writer)
            await _linger(reader, writer)
        except (asyncio.CancelledError, ConnectionError, TimeoutError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError, TimeoutError):
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
                await _Http1(self, reader, writer).refuse(refuse(40800, "no request in time"))
            return
        if first.startswith(PREFACE):
            await _Http2(self, reader, writer).serve(first)
        else:
            await _Http1(self, reader, writer).serve(first)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads on for a moment: closing on unread data would reset the connection and lose the reply on its way."""
    if writer.can_write_eof():
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


def _reason(status: int) -> bytes:
    try:
        return http.HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Error"


class _Http1:
    """One HTTP/1.1 connection: requests one after the other."""

    def __init__(
        self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.listener = listener
        self.limits = listener.limits
        self.reader = reader
        self.writer = writer
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head)
        self.head = b""

    async def serve(self, first: bytes) -> None:
        self._receive(first)
        while True:
            try:
                async with asyncio.timeout(self.limits.header_timeout):
                    event = await self._next()
            except TimeoutError:
                return await self.refuse(
                    refuse(40800, "the request's headers did not come in time")
                )
            except h11.RemoteProtocolError as error:
                code = error.error_status_hint * 100
                return await self.refuse(refuse(code, f"not a valid HTTP request: {error}"))
            if not isinstance(event, h11.Request):
                return None
            try:
                request = self._request(event)
                reply = await self.listener.answer(request)
            except RequestError as error:
                return await self.refuse(error)
            except h11.RemoteProtocolError as error:
                return await self.refuse(refuse(40000, f"not a valid HTTP request: {error}"))
            await self._send(reply, head_only=request.method == "HEAD")
            if not await self._ready_for_next():
                return None

    def _request(self, event: h11.Request) -> Request:
        if len(re.findall(rb"(?im)^content-length[ \t]*:", self.head)) > 1:
            raise refuse(40000, "two Content-Length headers")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        self.head = b""
        path = event.target.decode("latin-1")
        if "content-length" not in headers and "transfer-encoding" not in headers:
            self.connection.next_event()  # the end of a body that is not there
        return Request(
            event.method.decode("latin-1"), path, headers, False, self._chunks(), self.limits
        )

    async def refuse(self, error: RequestError) -> None:
        """Answer and close, whatever the connection's state."""
        body = to_json(error.entity)
        head = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.writer.write(head % (error.status, _reason(error.status), len(body)) + body)
        await self.writer.drain()

    def _receive(self, data: bytes) -> None:
        if self.connection.their_state is h11.IDLE:
            self.head = (self.head + data)[: self.limits.head]
        self.connection.receive_data(data)

    async def _next(self) -> object:
        while True:
            event = self.connection.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.connection.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                self.writer.write(self.connection.send(go_on) or b"")
            self._receive(await self.reader.read(65536))

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self.connection.their_state is not h11.SEND_BODY:
            return
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
        if isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError

    async def _send(self, reply: Reply, head_only: bool) -> None:
        headers = [("Content-Type", reply.content_type), *reply.headers]
        if isinstance(reply.body, bytes):
            headers.append(("Content-Length", str(len(reply.body))))
        if self.connection.their_state is h11.SEND_BODY:
            headers.append(("Connection", "close"))  # refused without reading the body to its end
        start = h11.Response(
            status_code=reply.status, headers=headers, reason=_reason(reply.status)
        )
        await self._write(self.connection.send(start))
        if isinstance(reply.body, bytes):
            if reply.body and not head_only:
                await self._write(self.connection.send(h11.Data(data=reply.body)))
        else:
            await self._stream(reply.body)
        await self._write(self.connection.send(h11.EndOfMessage()))

    async def _stream(self, body: AsyncIterator[bytes]) -> None:
        """Sends chunk by chunk while watching for the client's end of the connection."""

        async def send() -> None:
            async with aclosing(body) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    await self._write(self.connection.send(h11.Data(data=chunk)))

        await first_of(send(), self._gone())

    async def _gone(self) -> None:
        extra = 0
        while data := await self.reader.read(65536):  # a pipelined request waits in h11
            extra += len(data)
            if extra > self.limits.body:
                break
            self._receive(data)
        raise ConnectionResetError

    async def _write(self, data: bytes | None) -> None:
        self.writer.write(data or b"")
        async with asyncio.timeout(self.limits.write_timeout):
            await self.writer.drain()

    async def _ready_for_next(self) -> bool:
        if self.connection.our_state is not h11.DONE or self.connection.their_state is not h11.DONE:
            return False
        self.connection.start_next_cycle()
        if not self.connection.trailing_data[0]:
            try:
                async with asyncio.timeout(self.limits.idle_timeout):
                    data = await self.reader.read(65536)
            except TimeoutError:
                return False
            if not data:
                return False
            self._receive(data)
        return True


class _Stream:
    """One HTTP/2 stream: the request's body as it comes, and the task that answers."""

    def __init__(self, identifier: int) -> None:
        self.id = identifier
        self.chunks: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None


class _Http2:
    """One HTTP/2 connection: many streams, each a task."""

    def __init__(
        self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.listener = listener
        self.limits = listener.limits
        self.reader = reader
        self.writer = writer
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config=config)
        self.streams: dict[int, _Stream] = {}
        self.window = asyncio.Condition()
        self.resets = 0

    async def serve(self, first: bytes) -> None:
        self.connection.initiate_connection()
        await self._flush()
        data = first
        try:
            while data:
                try:
                    events = self.connection.receive_data(data)
                except h2.exceptions.ProtocolError:
                    await self._flush()
                    return
                for event in events:
                    await self._handle(event)
                await self._flush()
                if self.resets > 1000:  # a client that opens and resets streams without end
                    return
                data = await self._read()
        finally:
            await self._cancel_all()

    async def _read(self) -> bytes:
        timeout = None if self.streams else self.limits.idle_timeout
        try:
            async with asyncio.timeout(timeout):
                return await self.reader.read(65536)
        except TimeoutError:
            return b""

    async def _cancel_all(self) -> None:
        tasks = [stream.task for stream in self.streams.values() if stream.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                stream = _Stream(event.stream_id)
                self.streams[event.stream_id] = stream
                stream.task = asyncio.create_task(self._run(stream, dict(event.headers)))
            case h2.events.DataReceived():
                if known := self.streams.get(event.stream_id):
                    known.chunks.put_nowait((event.data, event.flow_controlled_length))
                else:
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            case h2.events.StreamEnded():
                if known := self.streams.get(event.stream_id):
                    known.chunks.put_nowait(None)
            case h2.events.StreamReset():
                self.resets += 1
                if (known := self.streams.get(event.stream_id)) and known.task:
                    known.task.cancel()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                async with self.window:
                    self.window.notify_all()

    async def _run(self, stream: _Stream, pseudo: dict[str, str]) -> None:
        headers = {name: value for name, value in pseudo.items() if not name.startswith(":")}
        headers.setdefault("host", pseudo.get(":authority", ""))
        request = Request(
            pseudo.get(":method", ""),
            pseudo.get(":path", "/"),
            headers,
            True,
            self._chunks(stream),
            self.limits,
        )
        try:
            await self._send(stream.id, await self.listener.answer(request))
            if stream.chunks.empty() or stream.chunks.get_nowait() is not None:
                self._reset_unread(stream.id)
        except (h2.exceptions.H2Error, ConnectionError, TimeoutError):
            pass
        finally:
            self.streams.pop(stream.id, None)

    def _reset_unread(self, identifier: int) -> None:
        """Tells the client to stop sending a body that nobody reads (RFC 9113, 8.1)."""
        with suppress(h2.exceptions.H2Error):
            self.connection.reset_stream(identifier, h2.errors.ErrorCodes.NO_ERROR)
            self.writer.write(self.connection.data_to_send())

    async def _chunks(self, stream: _Stream) -> AsyncIterator[bytes]:
        while (item := await stream.chunks.get()) is not None:
            data, length = item
            with suppress(h2.exceptions.H2Error):
                self.connection.acknowledge_received_data(length, stream.id)
                await self._flush()
            yield data
        stream.chunks.put_nowait(None)  # the end stays visible to whoever asks again

    async def _send(self, identifier: int, reply: Reply) -> None:
        headers = [(":status", str(reply.status)), ("content-type", reply.content_type)]
        headers += [(name.lower(), value) for name, value in reply.headers]
        if isinstance(reply.body, bytes):
            headers.append(("content-length", str(len(reply.body))))
        self.connection.send_headers(identifier, headers)
        await self._flush()
        if isinstance(reply.body, bytes):
            await self._data(identifier, reply.body)
        else:
            async with aclosing(reply.body) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    await self._data(identifier, chunk)
        self.connection.end_stream(identifier)
        await self._flush()

    async def _data(self, identifier: int, data: bytes) -> None:
        while data:
            room = min(
                self.connection.local_flow_control_window(identifier),
                self.connection.max_outbound_frame_size,
            )
            if room <= 0:
                async with asyncio.timeout(self.limits.write_timeout), self.window:
                    await self.window.wait()
                continue
            self.connection.send_data(identifier, data[:room])
            data = data[room:]
            await self._flush()

    async def _flush(self) -> None:
        if data := self.connection.data_to_send():
            self.writer.write(data)
        async with asyncio.timeout(self.limits.write_timeout):
            await self.writer.drain()


async def first_of(work: Awaitable[None], other: Awaitable[None]) -> None:
    """Waits for ``work``, or until ``other`` ends or fails first; the loser is cancelled and awaited."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(other)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
