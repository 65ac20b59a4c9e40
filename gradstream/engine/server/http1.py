"""One HTTP/1.1 connection, by h11."""

from __future__ import annotations

import asyncio
import http
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing

import h11

from gradstream.engine.rows.json_text import to_json
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.requests import (
    GoneError,
    Handler,
    Reply,
    Request,
    RequestError,
    refuse,
)


class Http1:
    """Requests one after the other."""

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
                reply = await self.answer(request)
            except RequestError as error:
                return await self.refuse(error)
            except h11.RemoteProtocolError as error:
                return await self.refuse(refuse(40000, f"not a valid HTTP request: {error}"))
            try:
                await self._send(reply, head_only=request.method == "HEAD")
            finally:
                reply.done()
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
        try:
            while isinstance(event := await self._next(), h11.Data):
                yield bytes(event.data)
        except h11.RemoteProtocolError as error:
            raise refuse(40000, f"not a valid HTTP request: {error}") from None
        except ConnectionError:
            raise GoneError from None
        if isinstance(event, h11.ConnectionClosed):
            raise GoneError

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


def _reason(status: int) -> bytes:
    try:
        return http.HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Error"


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
