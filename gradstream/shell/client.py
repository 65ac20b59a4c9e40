"""A small client of ksqlDB's REST API; it works on ksqlDB and on gradstream's engine."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2
import orjson

from gradstream.errors import DataError, RetryError, SqlError, UnavailableError
from gradstream.shell.arrivals import Arrivals

STATEMENT = 60.0  # seconds that one may take
DELIMITED = "application/vnd.ksqlapi.delimited.v1"
QUEUED = frozenset({"QUEUED", "PARSING", "EXECUTING"})  # taken, and not yet carried out
LOOK_SECONDS = 0.2
_PASSWORD = re.compile(r"//[^/@]*@")
_PLACE = re.compile(r"line (\d+):(\d+):\s*")


class RefusedStatementError(SqlError):
    """The server did not accept a statement.

    Args:
        entity: the server's error entity.
        code: what gradstream's engine calls it; without one it is guessed from ksqlDB's words.
    """

    def __init__(self, entity: Mapping[str, Any], code: str = "") -> None:
        text = str(entity.get("message", entity))
        first, *rest = text.splitlines() or [""]
        place = _PLACE.search(first)
        line, column = (int(place[1]), int(place[2])) if place else (0, 0)
        carets = [number for number, shown in enumerate(rest) if re.fullmatch(r"\s*\^+\s*", shown)]
        underlined = "\n".join(rest[carets[0] - 1 : carets[0] + 1]) if carets and carets[0] else ""
        message = _PLACE.sub("", first).strip()
        # ksqlDB repeats the statement and underlines in it; the file's own line is shown instead.
        told = list(itertools.takewhile(lambda more: not more.startswith("Statement:"), rest))
        if carets:
            told = told[: carets[0] - 1]
        if message == "Syntax Error" and not any(map(str.strip, told)):
            told = ["what is underlined does not fit here; check the word before it, too"]
        message = "; ".join([message, *(more.strip() for more in told if more.strip())])
        message = message.replace(".; ", "; ").replace(":; ", ": ")  # what ends a line goes on
        super().__init__(code or _code(message), message, line, column, underlined)
        self.entity = dict(entity)


def _code(message: str) -> str:
    if "already exists" in message:
        return "ALREADY_EXISTS"
    if "does not exist" in message:
        return "DOES_NOT_EXIST"
    return "STATEMENT_REFUSED"


@dataclass(slots=True)
class Rows:
    """The rows of a query as they come; iterate, and leave the ``with`` block to end the query.

    Attributes:
        query_id: for close_query; empty for a query that ended before it had one.
        names, types: of the columns.
    """

    query_id: str
    names: list[str]
    types: list[str]
    _reply: httpx2.Response = field(repr=False)
    _groups: Iterator[list[bytes]] = field(repr=False)

    def __iter__(self) -> Iterator[list[Any]]:
        for group in self._groups:
            yield from self._read(group)

    def groups(self) -> Iterator[list[list[Any]]]:
        """The rows that came at once, list by list."""
        for group in self._groups:
            rows: list[list[Any]] = []
            try:
                for row in self._read(group):
                    rows.append(row)  # noqa: PERF402  what came before an error counts
            except RefusedStatementError:
                if rows:
                    yield rows
                raise
            if rows:
                yield rows

    def arriving(self, pause: float) -> Iterator[list[list[Any]]]:
        """The rows in the groups in which they come; an empty one whenever none came for so many seconds.

        Close the iterator, or take it to its end, before the ``with`` block is left.
        """
        with closing(Arrivals(self._groups, lambda: hang_up(self._reply))) as arrivals:
            for group in arrivals.each(pause):
                yield list(self._read(group or []))

    def _read(self, group: list[bytes]) -> Iterator[list[Any]]:
        # Digits that a float would lose are looked for only where there can be any: it costs most of the time.
        exact = any("DECIMAL" in type_ for type_ in self.types)
        for line in group:
            row = _loads(line) if exact else _loads_fast(line)
            if isinstance(row, list):
                yield row
            elif "error_code" in row:
                raise RefusedStatementError(row)


def lines_of(reply: httpx2.Response) -> Iterator[list[bytes]]:
    """The lines of a body that streams, without their ends: those that came at once are one item."""
    rest = b""
    for chunk in reply.iter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        if whole:
            yield whole
    if rest:
        yield [rest]


def hang_up(reply: httpx2.Response) -> None:
    """Ends the connection of a reply that another thread is reading, which a mere close would not wake."""
    with suppress(OSError):
        reply.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class KsqlClient:
    """A connection to a server that speaks ksqlDB's REST API.

    Args:
        url: its address, such as ``http://127.0.0.1:8088``, or ``https://user:password@host``; the attribute of that
            name is without the password, for messages.
        timeout: seconds that a statement may take; connecting may take 5.

    Every method raises UnavailableError when nobody answers at that address, RefusedStatementError when the server
    refuses.
    """

    def __init__(self, url: str, timeout: float = STATEMENT) -> None:
        self.url = _PASSWORD.sub("//", url.rstrip("/"))
        limits = httpx2.Timeout(timeout, connect=5.0)
        self._http = httpx2.Client(base_url=url.rstrip("/"), timeout=limits, trust_env=False)

    def __enter__(self) -> KsqlClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def info(self) -> dict[str, Any]:
        """``version``, ``kafkaClusterId``, ``ksqlServiceId``, ``serverStatus``."""
        found: dict[str, Any] = self._get("/info")["KsqlServerInfo"]
        return found

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self._get("/healthcheck")
        return found

    def execute(
        self,
        text: str,
        properties: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Runs statements; returns one entity for each that has one, when it has been carried out."""
        body = {
            "ksql": text,
            "streamsProperties": dict(properties or {}),
            "sessionVariables": dict(variables or {}),
        }
        with self._errors():
            reply = self._http.post("/ksql", json=body)
            self._check(reply)
            entities: list[dict[str, Any]] = _loads(reply.text)
        return [self._carried_out(entity) for entity in entities]

    def _carried_out(self, entity: dict[str, Any]) -> dict[str, Any]:
        """The entity with its final status: a slow ksqlDB answers after five seconds that it has put a statement in
        its queue, and would refuse the next one, which knows nothing yet of what this one makes."""
        if entity.get("@type") != "currentStatus":
            return entity
        deadline = time.monotonic() + float(self._http.timeout.read or 0.0)
        while (found := entity["commandStatus"])["status"] in QUEUED:
            if time.monotonic() > deadline:
                raise RetryError(
                    "KSQL_TIMEOUT",
                    f"{self.url} has a statement in its queue, but does not carry it out; see its log, then ask again",
                )
            time.sleep(LOOK_SECONDS)
            entity = {**entity, "commandStatus": self._get(f"/status/{quote(entity['commandId'])}")}
        if found["status"] == "ERROR":
            raise RefusedStatementError(found)
        return entity

    @contextmanager
    def query(
        self,
        text: str,
        properties: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
        idle_timeout: float | None = None,
    ) -> Iterator[Rows]:
        """Runs one SELECT; the rows come as the server finds them.

        Args:
            idle_timeout: seconds without a row after which RetryError is raised; None waits for ever.
        """
        body = {
            "sql": text,
            "properties": dict(properties or {}),
            "sessionVariables": dict(variables or {}),
        }
        with self._streaming("/query-stream", body, {"Accept": DELIMITED}, idle_timeout) as reply:
            groups = ([line for line in group if line.strip()] for group in lines_of(reply))
            first, *rest = next(filter(None, groups), [b"{}"])
            head = _loads(first)
            if "error_code" in head:
                raise RefusedStatementError(head)
            yield Rows(
                head.get("queryId") or "",
                head.get("columnNames", []),
                head.get("columnTypes", []),
                reply,
                itertools.chain([rest], groups),
            )

    @contextmanager
    def lines(
        self,
        text: str,
        properties: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[Iterator[str]]:
        """Runs one PRINT; its lines as they come."""
        body = {
            "ksql": text,
            "streamsProperties": dict(properties or {}),
            "sessionVariables": dict(variables or {}),
        }
        with self._streaming("/query", body, {}, None) as reply:
            yield (line.decode() for group in lines_of(reply) for line in group if line)

    @contextmanager
    def _streaming(
        self, path: str, body: object, headers: Mapping[str, str], idle_timeout: float | None
    ) -> Iterator[httpx2.Response]:
        """A reply whose body comes bit by bit; it has begun in time, and may then pause for ``idle_timeout``."""
        limits = self._http.timeout.as_dict()
        with (
            self._errors(),
            self._http.stream(
                "POST", path, json=body, headers=dict(headers), extensions={"timeout": limits}
            ) as reply,
        ):
            limits["read"] = idle_timeout  # looked at when the body is asked for
            if reply.status_code != 200:
                reply.read()
            self._check(reply)
            yield reply

    def close_query(self, query_id: str) -> None:
        with self._errors():
            self._check(self._http.post("/close-query", json={"queryId": query_id}))

    def _get(self, path: str) -> Any:
        with self._errors():
            reply = self._http.get(path, timeout=8.0)
            self._check(reply)
            return _loads(reply.text)

    def _check(self, reply: httpx2.Response) -> None:
        if reply.status_code == 200:
            return
        try:
            entity = json.loads(reply.text)
        except ValueError:
            entity = None
        if not isinstance(entity, dict) or "message" not in entity:
            raise DataError(
                "NOT_KSQL",
                f"{self.url} answered {reply.status_code} without ksqlDB's error; is it a KSQL server?",
            )
        if entity.get("error_code") == 50302:
            raise RetryError("KSQL_STARTING", f"{self.url} is still starting; try again")
        raise RefusedStatementError(entity, reply.headers.get("x-gradstream-error", ""))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx2.ConnectError as error:
            raise self._unreachable(str(error)) from None
        except httpx2.ConnectTimeout:
            raise self._unreachable("no answer within 5 s") from None
        except httpx2.TimeoutException as error:
            raise RetryError(
                "KSQL_TIMEOUT", f"{self.url} did not answer in time: {error}"
            ) from None
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            raise UnavailableError(
                "KSQL_LOST",
                f"the KSQL server at {self.url} went away in the middle of its answer ({error}); "
                "when it runs again, ask again",
            ) from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise self._unreachable(str(error)) from None
        except _NotJsonError:
            raise DataError(
                "NOT_KSQL", f"{self.url} did not answer with JSON; is it a KSQL server?"
            ) from None

    def _unreachable(self, why: str) -> UnavailableError:
        return UnavailableError(
            "KSQL_UNREACHABLE",
            f"no KSQL server at {self.url} ({why}); start one with 'gradstream up' or 'docker compose up', "
            "or give its address by --ksql-url or GRADSTREAM_KSQL_URL",
        )


class _NotJsonError(Exception):
    """Becomes NOT_KSQL where the address is known."""


def _loads(text: str | bytes) -> Any:
    """JSON in which no number loses digits."""
    try:
        return json.loads(text, parse_float=_number)
    except ValueError:
        raise _NotJsonError from None


def _loads_fast(text: bytes) -> Any:
    """JSON whose numbers with a fraction are doubles."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _NotJsonError from None


def _number(text: str) -> float | Decimal:
    """Doubles as floats; digits that a float would lose stay a Decimal."""
    value = float(text)
    return value if repr(value) == text or "e" in text.lower() else Decimal(text)
