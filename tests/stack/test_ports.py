"""Ports: given, last, free; refused with what to type."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gradstream.errors import RetryError, UsageError
from gradstream.stack import ports


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_a_free_port_is_outside_the_range_of_outgoing_connections_and_differs_each_time() -> None:
    taken: set[int] = set()
    chosen = [ports.choose("", None, None, taken) for _ in range(4)]
    assert len(set(chosen)) == 4
    assert taken == set(chosen)
    assert all(20_000 <= port < 32_000 for port in chosen)


def test_the_last_port_is_taken_again_when_free(busy: int) -> None:
    (free,) = [ports.choose("", None, None, set())]
    assert ports.choose("", None, free, set()) == free
    assert ports.choose("", None, busy, set()) != busy
    assert ports.choose("", None, free, {free}) != free


def test_a_busy_port_that_was_given_is_refused_with_the_flag_and_what_to_do(busy: int) -> None:
    with pytest.raises(RetryError) as caught:
        ports.choose("--kafka-port", busy, None, set())
    assert caught.value.code == "PORT_IN_USE"
    assert caught.value.exit_code == 75
    for word in (f"--kafka-port {busy}", f"127.0.0.1:{busy}", "leave --kafka-port out"):
        assert word in caught.value.message


@pytest.mark.parametrize("given", [0, -1, 70_000, 9_092])
def test_no_port_number_and_the_same_twice_are_refused(given: int) -> None:
    with pytest.raises(UsageError, match=f"BAD_PORT: --ksql-port {given}"):
        ports.choose("--ksql-port", given, None, {9_092})


def test_a_port_whose_connections_have_just_ended_is_free() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does
        listener.bind((ports.HOST, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        client = socket.create_connection((ports.HOST, port))
        server, _ = listener.accept()
        server.close()  # the server closes first, so its end waits for stray packets
        client.close()
        assert not ports.is_free(port)
    assert ports.is_free(port)
