"""One HTTP/2 connection, by h2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from gradstream.engine.server.limits import Limits
from gradstream.engine.server.requests import Handler, Reply, Request, RequestError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_RESETS = 1000  # of streams, by one client: more are an attack


class _Stream:
    """One HTTP/2 stream: the request's body as it comes, and the task that answers."""

    def __init__(self, identifier: int) -> None:
        self.id = identifier
        self.chunks: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None


class Http2:
    """Many streams, each a task."""

    def __init__(
        self,
        answer: Handler,
        limits: Limits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.answer = answer
        self.limits = limits
        self.reader = reader
        self.writer = writer
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config=config)
        self._set_limits()
        self.streams: dict[int, _Stream] = {}
        self.window = asyncio.Condition()
        self.idle_from = asyncio.get_running_loop().time()  # where no stream is open
        self.resets = 0

    def _set_limits(self) -> None:
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: self.limits.streams,
                codes.MAX_HEADER_LIST_SIZE: self.limits.head,
            },
        )
        self.connection.decoder.max_header_list_size = self.limits.head

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
                if self.resets > MAX_RESETS:
                    return
                data = await self._read()
        finally:
            await self._cancel_all()

    async def _read(self) -> bytes:
        """What comes next; nothing where the client has gone, or has asked for nothing for too long.

        Frames that ask for nothing, such as pings, do not keep a connection open: each holds a place.
        """
        loop = asyncio.get_running_loop()
        while self.streams or loop.time() < self.idle_from + self.limits.idle_timeout:
            until = self.idle_from + self.limits.idle_timeout
            if self.streams:
                until = loop.time() + self.limits.idle_timeout
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    return await self.reader.read(65536)
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
            reply = await self.answer(request)
            try:
                await self._send(stream.id, reply)
            finally:
                reply.done()
            if stream.chunks.empty() or stream.chunks.get_nowait() is not None:
                self._reset_unread(stream.id)
        except RequestError:  # of a body that streams, when the reply's head has long been sent
            self._reset_unread(stream.id, h2.errors.ErrorCodes.CANCEL)
        except (h2.exceptions.H2Error, ConnectionError, TimeoutError):
            pass
        finally:
            self.streams.pop(stream.id, None)
            self.idle_from = asyncio.get_running_loop().time()

    def _reset_unread(
        self, identifier: int, code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.NO_ERROR
    ) -> None:
        """Tells the client to stop sending a body that nobody reads (RFC 9113, 8.1)."""
        with suppress(h2.exceptions.H2Error):
            self.connection.reset_stream(identifier, code)
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
            async with asyncio.timeout(self.limits.write_timeout), self.window:
                await self.window.wait_for(lambda: self._room(identifier) > 0)
            room = self._room(identifier)
            self.connection.send_data(identifier, data[:room])
            data = data[room:]
            await self._flush()

    def _room(self, identifier: int) -> int:
        """How many bytes the client takes on a stream, in one frame."""
        window: int = self.connection.local_flow_control_window(identifier)
        largest: int = self.connection.max_outbound_frame_size
        return min(window, largest)

    async def _flush(self) -> None:
        if data := self.connection.data_to_send():
            self.writer.write(data)
        async with asyncio.timeout(self.limits.write_timeout):
            await self.writer.drain()
