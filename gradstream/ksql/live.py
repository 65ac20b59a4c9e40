"""The rows of KSQLAPI.query(), over HTTP/1.1 from /query or over HTTP/2 from /query-stream, a line of text each.

This takes the place of two functions of ksql 0.10.2. Theirs read through urllib and hyper, which have one time-out for
the beginning of an answer and for the next row, and take the death of a server for the end of the rows.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx2

from gradstream.ksql import http2, trouble
from gradstream.shell.arrivals import Arrivals
from gradstream.shell.client import DELIMITED, hang_up, lines_of

V1 = "application/vnd.ksql.v1+json"
PAUSE_SECONDS = 0.1  # between looks at the idle time-out


def over_http1(
    api: Any,
    query_string: str,
    encoding: str = "utf-8",
    chunk_size: int = 128,
    stream_properties: Mapping[str, object] | None = None,
    idle_timeout: float | None = None,
) -> Iterator[str]:
    """``BaseAPI.query``: the lines of /query, the header first, each with its comma."""
    body = {"ksql": query_string, "streamsProperties": stream_properties}
    return _lines(api, "query", body, V1, encoding, idle_timeout)


def over_http2(
    api: Any,
    query_string: str,
    encoding: str = "utf-8",
    chunk_size: int = 128,
    stream_properties: Mapping[str, object] | None = None,
    idle_timeout: float | None = None,
) -> Iterator[str]:
    """``BaseAPI.query2``: the lines of /query-stream, the header first, then an array a row."""
    body = {"sql": query_string, "properties": stream_properties}
    return _lines(api, "query-stream", body, DELIMITED, encoding, idle_timeout)


def _lines(
    api: Any,
    endpoint: str,
    body: dict[str, Any],
    accept: str,
    encoding: str,
    idle_timeout: float | None,
) -> Iterator[str]:
    """Lines as they come; ends with the answer, or silently when none came for ``idle_timeout`` seconds.

    Raises:
        KSQLError: the server refused; ServerGoneError: it is not there, or not any more.
    """
    limits = dict.fromkeys(("connect", "read", "write", "pool"), api.timeout)
    auth = (api.api_key, api.secret) if api.api_key and api.secret else None
    with (
        trouble.named(api.url),
        http2.client(api.timeout, http2=endpoint == "query-stream") as client,
        client.stream(
            "POST",
            f"{api.url}/{endpoint}",
            content=json.dumps(body).encode(encoding),
            headers={**api.headers, "Accept": accept},
            auth=auth,
            extensions={"timeout": limits},
        ) as reply,
    ):
        limits["read"] = None  # the answer has begun in time; a row may take as long as it likes
        if reply.status_code != 200:
            raise _refused(reply)
        with closing(Arrivals(lines_of(reply), lambda: hang_up(reply))) as arrivals:
            yield from _until_idle(arrivals, encoding, idle_timeout)


def _until_idle(
    arrivals: Arrivals[list[bytes]], encoding: str, idle_timeout: float | None
) -> Iterator[str]:
    last = time.monotonic()
    for group in arrivals.each(PAUSE_SECONDS):
        for line in group or []:
            if line.strip():  # blank ones say that the server lives
                yield line.decode(encoding) + "\n"
                last = time.monotonic()
        if idle_timeout and time.monotonic() - last > idle_timeout:
            logging.debug("query ended, no row for %s s", idle_timeout)
            return


def _refused(reply: httpx2.Response) -> Exception:
    """The package's own error for an answer that is one."""
    reply.read()
    try:
        found = json.loads(reply.text)
        return trouble.ksql_error(
            found["message"], found.get("error_code"), found.get("stackTrace")
        )
    except (ValueError, KeyError, TypeError):
        return trouble.ksql_error(f"{reply.url} answered {reply.status_code}: {reply.text[:200]}")
