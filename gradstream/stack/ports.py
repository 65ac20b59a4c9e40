"""Ports on 127.0.0.1: the given one, else the last run's, else a free one."""

from __future__ import annotations

import random
import socket

import psutil

from gradstream.errors import RetryError, UsageError

HOST = "127.0.0.1"
# Below the ranges from which systems take ports for outgoing connections (Linux from 32768, others from 49152), so
# that no browser or client sits on a port of ours between down and up.
CANDIDATES = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as listener:
        # As servers do; without it, connections that have just ended would count as busy.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(1)
        except OSError:
            return False
    return True


def choose(flag: str, given: int | None, last: int | None, taken: set[int]) -> int:
    """The port for one listener; it is added to ``taken``.

    Args:
        flag: the user's flag for this port, for the error.
        given: what that flag says, if it does.
        last: the port of the last run, if any.
        taken: ports already chosen in this start.

    Raises:
        UsageError: ``BAD_PORT``, no port number or twice the same.
        RetryError: ``PORT_IN_USE``, given but busy.
    """
    if given is not None:
        if not 1 <= given <= 65_535 or given in taken:
            raise UsageError(
                "BAD_PORT",
                f"{flag} {given}: give a number from 1 to 65535 that no other service has",
            )
        if not is_free(given):
            raise RetryError(
                "PORT_IN_USE",
                f"{flag} {given}: {HOST}:{given} is in use{_by_whom(given)}; stop that program, give another port, "
                f"or leave {flag} out to get a free one",
            )
        port = given
    elif last is not None and last not in taken and is_free(last):
        port = last
    else:
        port = next(
            port
            for port in random.sample(CANDIDATES, len(CANDIDATES))
            if port not in taken and is_free(port)
        )
    taken.add(port)
    return port


def _by_whom(port: int) -> str:
    """`` by NAME (pid N)`` where the system lets us know, else nothing."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr[1:] == (port,)
                and connection.pid
            ):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
