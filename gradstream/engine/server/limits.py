"""What one client may take from the engine, and ``--limit NAME=VALUE``, which changes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from gradstream.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    Attributes:
        body: of a request; a line of a request that streams.
        head: of a request: its first line and headers.
        header_timeout: for a request's head to come, and for the TLS handshake.
        body_timeout: for a body to come to its end, where it does not stream.
        idle_timeout: that a connection may stay without a request.
        write_timeout: for which a client may take nothing of a reply.
        connections: open at once, those in a TLS handshake among them.
        streams: requests open at once on one HTTP/2 connection.
        statement: of one statement.
        statements: in one request.
        depth: levels to which an expression may nest; more than 100 the planner cannot take.
        kept: of what one push query keeps of the rows that it has seen.
        looked_up: of the tables, all together, that are kept for pull queries.
    """

    body: int = 1 << 20
    head: int = 64 << 10
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    connections: int = 256
    streams: int = 100
    statement: int = 1 << 20
    statements: int = 5000
    depth: int = 100
    kept: int = 128 << 20
    looked_up: int = 256 << 20

    def with_(self, texts: Iterable[str]) -> Limits:
        """These limits with others in their place, each as ``NAME=VALUE``.

        Raises:
            UsageError: no such limit, or no number that it may be.
        """
        changed: dict[str, Any] = {}
        for text in texts:
            name, _, value = text.partition("=")
            changed[name] = _number(text, name, value)
        return replace(self, **changed)


_KINDS = {of.name: of.type for of in fields(Limits)}
_HIGHEST = {"depth": 100, "connections": 10_000, "streams": 10_000}


def _number(text: str, name: str, value: str) -> float:
    if name not in _KINDS:
        known = ", ".join(_KINDS)
        raise UsageError("USAGE", f"--limit {text!r}: there is no such limit; there are {known}")
    whole = _KINDS[name] == "int"
    try:
        number: float = int(value) if whole else float(value)
    except ValueError:
        number = -1
    if not 0 < number <= _HIGHEST.get(name, 1 << 31) or math.isinf(number):
        kind = "a whole number" if whole else "seconds"
        highest = f" up to {_HIGHEST[name]}" if name in _HIGHEST else ""
        raise UsageError("USAGE", f"--limit {text!r}: {name} is {kind} above 0{highest}")
    return number
