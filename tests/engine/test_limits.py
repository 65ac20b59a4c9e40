"""What one client may take: places, time and memory, on a listener by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gradstream.engine.server.limits import Limits
from gradstream.errors import UsageError
from tests.engine.listening import LIMITS, H2Client, Server, sent, with_server

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_limits_are_set_by_name() -> None:
    made = Limits().with_(["body=2000", "idle_timeout=0.5"])
    assert made == replace(Limits(), body=2000, idle_timeout=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "body",
        "body=",
        "body=x",
        "body=0",
        "body=1.5",
        "nix=1",
        "depth=101",
        "idle_timeout=inf",
        "idle_timeout=nan",
        "connections=-1",
    ],
)
def test_what_is_no_limit_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Limits().with_([text])
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_connection_too_many_is_told_and_a_free_place_is_taken() -> None:
    async def test(server: Server) -> None:
        port = server.listener.port
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in held:
            writer.write(GET % b"/endless")
        for reader, _ in held:
            await reader.readuntil(b"row\n")
        answer = await sent(server, GET % b"/x")
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests")
        assert b'"error_code":42900' in answer
        held[0][1].close()
        await asyncio.wait_for(server.freed.wait(), 5)
        while (await sent(server, GET % b"/x")).startswith(b"HTTP/1.1 429"):
            pass
        held[1][1].close()

    with_server(test, replace(LIMITS, connections=2))


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_that_reads_nothing_loses_its_stream(http2: bool) -> None:
    async def test(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
        if http2:
            H2Client(reader, writer).send("/flood")
        else:
            writer.write(GET % b"/flood")
        await asyncio.wait_for(server.freed.wait(), 10)
        writer.close()

    with_server(test, replace(LIMITS, write_timeout=0.2))


def test_a_body_that_trickles_in_is_given_up() -> None:
    async def test(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
        writer.write(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n")

        async def trickle() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(trickle())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        dripping.cancel()
        writer.close()

    with_server(test)


async def ended(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


def test_http2_pings_hold_no_place_for_ever() -> None:
    async def test(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
        client = H2Client(reader, writer)
        stream = client.send("/stream")
        await client.until(lambda: client.body.get(stream, b"").endswith(b"<end>"))

        async def ping() -> None:
            while True:
                client.connection.ping(b"12345678")
                writer.write(client.connection.data_to_send())
                await asyncio.sleep(0.05)

        pinging = asyncio.create_task(ping())
        await asyncio.wait_for(ended(reader), 5)
        pinging.cancel()
        writer.close()

    with_server(test, replace(LIMITS, idle_timeout=0.4))


def test_http2_streams_outlive_the_idle_time() -> None:
    async def test(server: Server) -> None:
        client = H2Client(*await asyncio.open_connection("127.0.0.1", server.listener.port))
        stream = client.send("/endless")
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.6
        await client.until(lambda: loop.time() > until and stream in client.body)
        assert not server.freed.is_set()
        client.writer.close()

    with_server(test, replace(LIMITS, idle_timeout=0.1))


def test_http2_says_how_many_streams_and_how_large_heads_may_be() -> None:
    async def test(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
        client = H2Client(reader, writer)
        stream = client.send("/x")
        await client.until(lambda: stream in client.status)
        assert client.connection.remote_settings.max_concurrent_streams == 3
        assert client.connection.remote_settings.max_header_list_size == 5000
        client.send("/x", headers=[(f"x-{number}", "y" * 400) for number in range(20)])
        await asyncio.wait_for(ended(reader), 5)
        writer.close()

    with_server(test, replace(LIMITS, streams=3, head=5000))
