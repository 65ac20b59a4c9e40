"""The listener by itself: both protocols, and what it refuses."""

from __future__ import annotations

import asyncio

import pytest

from gradstream.engine.server.requests import Reply, Request
from tests.engine.listening import H2Client, Server, leave, sent, with_server

HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\nab", b"200 OK"),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", b"400 Bad Request"),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nab", b"400 Bad Request"),
        (HEAD + b"Content-Length: 2000\r\n\r\n", b"413 "),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"3ff\r\n" + b"x" * 1023 + b"\r\n",
            b"413 ",
        ),
        (HEAD + b"Content-Length: 20\r\n\r\nab", b"408 Request Timeout"),
        (HEAD, b"408 Request Timeout"),
        (b"no http at all\r\n\r\n", b"400 Bad Request"),
        (b"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403 Forbidden"),
        (b"GET /x HTTP/1.1\r\nHost: 172.17.0.1:99\r\n\r\n", b"200 OK"),
        (b"GET /x HTTP/1.1\r\nHost: 172.17.0.1\r\nOrigin: http://172.17.0.1\r\n\r\n", b"403 "),
        (b"GET /x HTTP/1.1\r\nHost: localhost:99\r\nOrigin: http://evil.example\r\n\r\n", b"403 "),
        (b"GET /x HTTP/1.1\r\nHost: [::1]:99\r\nOrigin: http://127.0.0.1:3\r\n\r\n", b"200 OK"),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 140000, b"431 "),
    ],
)
def test_status_of_requests(raw: bytes, status: bytes) -> None:
    async def test(server: Server) -> None:
        answer = await sent(server, raw)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]

    with_server(test)


def test_two_requests_on_one_connection() -> None:
    async def test(server: Server) -> None:
        one = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = await sent(server, one + one)
        assert answer.count(b"HTTP/1.1 200 OK") == 2

    with_server(test)


def test_chunks_of_a_stream_come_one_by_one() -> None:
    async def test(server: Server) -> None:
        answer = await sent(server, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.endswith(b"2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n")

    with_server(test)


def test_a_client_that_goes_frees_its_stream() -> None:
    async def test(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await reader.readuntil(b"row\n")
        writer.close()
        await asyncio.wait_for(server.freed.wait(), 2)

    with_server(test)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"POST /x HTTP/1.1\r\nHost: loc",
        HEAD + b"Content-Length: 20\r\n\r\n",
        HEAD + b"Content-Length: 20\r\n\r\nab",
        HEAD + b"Content-Length: 20\r\nExpect: 100-continue\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\na",
        HEAD.replace(b"/x", b"/endless") + b"Content-Length: 20\r\n\r\n",
    ],
)
def test_a_client_that_goes_in_the_middle_of_its_request(raw: bytes, reset: bool) -> None:
    async def test(server: Server) -> None:
        await leave(server.listener.port, raw, reset=reset)
        whole = HEAD + b"Content-Length: 2\r\n\r\nab"
        assert (await sent(server, whole)).startswith(b"HTTP/1.1 200 OK")

    with_server(test)


def test_http2_streams_side_by_side() -> None:
    async def test(server: Server) -> None:
        client = H2Client(*await asyncio.open_connection("127.0.0.1", server.listener.port))
        endless = client.send("/endless")
        posted = client.send("/x", b"z" * 900)
        streamed = client.send("/stream")
        too_large = client.send("/x", b"z" * 1100)
        await client.until(
            lambda: (
                client.body.get(streamed, b"").endswith(b"<end>")
                and client.body.get(posted, b"").endswith(b"<end>")
                and too_large in client.status
            )
        )
        assert client.body[posted] == b"POST " + b"z" * 900 + b"<end>"
        assert client.body[streamed] == b"0\n1\n2\n<end>"
        assert client.status[too_large] == "413"
        client.connection.reset_stream(endless)
        client.writer.write(client.connection.data_to_send())
        await asyncio.wait_for(server.freed.wait(), 2)
        client.writer.close()

    with_server(test)


def test_a_line_too_long_ends_an_http2_stream_that_is_being_answered() -> None:
    async def test(server: Server) -> None:
        client = H2Client(*await asyncio.open_connection("127.0.0.1", server.listener.port))
        good = client.send("/lines", b"a\nb\n" + b"z" * 900)
        bad = client.send("/lines", b"z" * 1100)
        await client.until(lambda: bad in client.reset and b"<end>" in client.body.get(good, b""))
        assert client.body[good] == b"begun\n2\n1\n<end>"
        assert client.body[bad] == b"begun\n"
        client.writer.close()

    with_server(test)


def test_a_large_http2_reply_waits_for_the_clients_window() -> None:
    async def test(server: Server) -> None:
        async def large(request: Request) -> Reply:
            return Reply(body=b"x" * 300_000)

        server.listener.handler = large
        client = H2Client(*await asyncio.open_connection("127.0.0.1", server.listener.port))
        stream = client.send("/large")
        await client.until(lambda: client.body.get(stream, b"").endswith(b"<end>"))
        assert len(client.body[stream]) == 300_005
        client.writer.close()

    with_server(test)
