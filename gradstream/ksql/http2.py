"""What the package ksql uses of hyper, an HTTP/2 client that is given up and imports on no Python since 3.10.

hyper asks a server to change from HTTP/1.1 to HTTP/2; this speaks HTTP/2 from the first byte (or by TLS), as ksqlDB
and gradstream's engine both understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import httpx2

from gradstream.ksql import trouble

SECONDS = 60.0


class HTTPResponse:
    """A reply that has come as a whole.

    Attributes:
        status: its number.
    """

    def __init__(self, reply: httpx2.Response) -> None:
        self.status = reply.status_code
        self._content = reply.content

    def read(self) -> bytes:
        return self._content


class HTTPConnection:
    """A connection for one request after the other.

    Args:
        host: ``name:port``; the requests' addresses are whole, and hold it too.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._client = client(SECONDS)
        self._reply: httpx2.Response | None = None

    def __enter__(self) -> HTTPConnection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        with trouble.named(self.host):
            self._reply = self._client.request(
                method, url, content=body, headers=dict(headers or {})
            )

    def get_response(self) -> HTTPResponse:
        if self._reply is None:
            raise RuntimeError("request() comes first")
        return HTTPResponse(self._reply)


def client(timeout: float | None, *, http2: bool = True) -> httpx2.Client:
    """An HTTP client; with http2 it starts with HTTP/2 at once, since no server is asked for another protocol first."""
    return httpx2.Client(timeout=timeout, http1=not http2, http2=http2)
