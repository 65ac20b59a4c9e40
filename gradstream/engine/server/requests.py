"""A request and its reply, whichever HTTP they came by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from gradstream.engine.rows.json_text import to_json
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.replies import generic_error


class RequestError(Exception):
    """A request that is answered with an error entity.

    Args:
        status: HTTP status.
        entity: body, as JSON.
        word: gradstream's own code of the error, such as ``UNKNOWN_COLUMN``; sent as a header, where it disturbs
            no client of ksqlDB.
        headers: more of them.
    """

    def __init__(
        self,
        status: int,
        entity: dict[str, object],
        word: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(str(entity.get("message", "")))
        self.status = status
        self.entity = entity
        self.word = word
        self.headers = headers


class GoneError(ConnectionResetError):
    """The client has gone before its request had come; there is nobody to answer."""


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
            f"the request is larger than {self.limits.body} bytes; send fewer statements at once, or "
            "start the engine with a greater --limit body=BYTES"
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
    """What the handler answers; an iterator is sent chunk by chunk and closed when the client goes away.

    Attributes:
        done: called when nothing more of it is sent, also where sending never began.
    """

    status: int = 200
    content_type: str = "application/json"
    body: bytes | AsyncIterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()
    done: Callable[[], None] = lambda: None


Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]


def error_reply(error: RequestError) -> Reply:
    word = (("X-Gradstream-Error", error.word),) if error.word else ()
    return Reply(error.status, body=to_json(error.entity), headers=word + error.headers)
