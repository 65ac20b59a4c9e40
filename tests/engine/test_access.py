"""TLS and users on a listener by itself, and what the command line asks for beyond loopback."""

from __future__ import annotations

import asyncio
import base64
import io
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from gradstream.engine.__main__ import main
from gradstream.engine.server import access
from gradstream.errors import ConfigError, GradstreamError, UsageError
from tests.engine.listening import LIMITS, H2Client, Server, sent, with_server


def users(**passwords: str) -> access.Users:
    lines = [access.user_line(name, password) for name, password in passwords.items()]
    found = {name: access.Hashed.parse(hashed) for name, _, hashed in map(_halves, lines)}
    return access.Users(found, "test_")


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def basic(text: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(text.encode()) + b"\r\n"


GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n%s\r\n"


def test_only_users_are_let_in() -> None:
    async def test(server: Server) -> None:
        wrong = ["ann:wrong", "bob:pw ö:1", "ann", ":pw", "ann:" + "x" * 5000]
        bad = [b"", *map(basic, wrong), b"Authorization: Basic ???\r\n"]
        bad += [b"Authorization: Bearer x\r\n"]
        for header in bad:
            answer = await sent(server, GET % (header + b"Connection: close\r\n"), 10)
            assert answer.startswith(b"HTTP/1.1 401 Unauthorized"), header
            assert b'www-authenticate: basic realm="test_"' in answer.lower()
            assert b'"error_code":40100' in answer
        for _ in range(2):  # the second time it is remembered
            right = GET % (basic("ann:pw ö:1") + b"Connection: close\r\n")
            assert (await sent(server, right, 10)).startswith(b"HTTP/1.1 200")

    with_server(test, users=users(ann="pw ö:1"))


def test_a_stranger_is_told_over_http2_too() -> None:
    async def test(server: Server) -> None:
        client = H2Client(*await asyncio.open_connection("127.0.0.1", server.listener.port))
        stranger = client.send("/x")
        given = base64.b64encode(b"ann:pw").decode()
        friend = client.send("/x", headers=[("authorization", f"Basic {given}")])
        await client.until(lambda: {stranger, friend} <= set(client.status))
        assert (client.status[stranger], client.status[friend]) == ("401", "200")
        client.writer.close()

    with_server(test, users=users(ann="pw"))


@pytest.mark.parametrize("http2", [False, True])
def test_tls_speaks_both_protocols_by_alpn(certificate: tuple[Path, Path], http2: bool) -> None:
    async def test(server: Server) -> None:
        trusted = ssl.create_default_context(cafile=certificate[0])
        assert server.listener.url == f"https://127.0.0.1:{server.listener.port}"
        async with httpx2.AsyncClient(http2=http2, verify=trusted, trust_env=False) as client:
            answer = await client.post(f"{server.listener.url}/x", content=b"ab")
            assert (answer.status_code, answer.content) == (200, b"POST ab")
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            rows = await client.get(f"{server.listener.url}/stream")
            assert rows.content == b"0\n1\n2\n"
        assert await sent(server, GET % b"") == b""  # no TLS, no answer

    with_server(test, tls=access.tls(*certificate))


def test_a_tls_client_that_goes_frees_its_stream(certificate: tuple[Path, Path]) -> None:
    async def test(server: Server) -> None:
        trusted = ssl.create_default_context(cafile=certificate[0])
        port = server.listener.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"row\n")
        writer.transport.abort()
        await asyncio.wait_for(server.freed.wait(), 5)

    with_server(test, tls=access.tls(*certificate))


def test_handshakes_that_do_not_end_count_as_connections_and_are_given_up(
    certificate: tuple[Path, Path],
) -> None:
    async def test(server: Server) -> None:
        trusted = ssl.create_default_context(cafile=certificate[0])
        port = server.listener.port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
        writer.write(GET % b"")
        assert (await reader.read(12)).startswith(b"HTTP/1.1 200")
        writer.close()

    limits = replace(LIMITS, connections=2, header_timeout=3.0)
    with_server(test, limits, tls=access.tls(*certificate))


def test_a_users_file_is_what_hash_password_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("s3cret\n"))
    assert main(["--hash-password", "ann"]) == 0
    line = capsys.readouterr().out
    assert "s3cret" not in line
    file = tmp_path / "users"
    file.write_text(f"# who may\n\n{line}")
    (hashed,) = access.read_users(file).values()
    assert hashed.is_of("s3cret")
    assert not hashed.is_of("s3cret ")
    assert str(access.Hashed.parse(str(hashed))) == str(hashed)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "#a"])
def test_names_that_no_header_could_carry_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="BAD_USER"):
        access.user_line(name, "pw")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nobody\n",
        "ann\n",
        "ann:pw\n",
        "ann:$scrypt$ln=30,r=8,p=1$AAAA$" + "A" * 43 + "\n",
        "ann:$scrypt$ln=4,r=8,p=1$AAAA$AAAA\n",
    ],
)
def test_a_file_without_users_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"BAD_USERS: .*users"):
        access.read_users(file)


BEYOND = ["--listen", "0.0.0.0:0"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], "NOT_LOOPBACK"),
        (["--allow-host", "ksql"], "NOT_LOOPBACK"),
        (["--tls-cert", "CERT", "--tls-key", "KEY"], "NOT_LOOPBACK"),
        (["--users", "USERS"], "NOT_LOOPBACK"),
        (["--tls-cert", "CERT"], "USAGE"),
        (["--tls-cert", "USERS", "--tls-key", "KEY"], "BAD_CERTIFICATE"),
        (["--tls-cert", "nowhere.pem", "--tls-key", "KEY"], "NO_FILE"),
        (["--tls-cert", "CERT", "--tls-key", "KEY", "--users", "KEY"], "BAD_USERS"),
    ],
)
def test_beyond_loopback_tls_and_users_are_asked_for(
    certificate: tuple[Path, Path], tmp_path: Path, given: list[str], code: str
) -> None:
    (tmp_path / "users").write_text(access.user_line("ann", "pw") + "\n")
    names = dict(zip(("CERT", "KEY"), map(str, certificate), strict=True))
    names["USERS"] = str(tmp_path / "users")
    with pytest.raises(GradstreamError) as caught:
        main([*BEYOND, *(names.get(of, of) for of in given)])
    assert caught.value.code == code
    assert isinstance(caught.value, UsageError) == (code == "USAGE")
    assert "\n" not in str(caught.value)
