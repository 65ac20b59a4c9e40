"""ksqlDB's REST endpoints over an engine."""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import orjson

from gradstream import __version__
from gradstream.engine.language.actions import PrintTopic
from gradstream.engine.rows.json_text import to_json
from gradstream.engine.server import entities, inserts, replies
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.printing import TopicPrinter
from gradstream.engine.server.requests import (
    GoneError,
    Reply,
    Request,
    RequestError,
    error_reply,
    refuse,
)
from gradstream.engine.server.runtime import Engine, check_property
from gradstream.engine.server.session import Session, refusal
from gradstream.engine.server.transient import Tombstone, TransientQuery
from gradstream.errors import GradstreamError, SqlError

V1 = "application/vnd.ksql.v1+json"
DELIMITED = "application/vnd.ksqlapi.delimited.v1"
JSON = "application/json"
KEEP_ALIVE_SECONDS = 3.0  # between the blank lines that tell a v1 client that its query lives
BODY_TYPES = frozenset(
    {"", JSON, V1, DELIMITED, "application/x-www-form-urlencoded", "text/plain", "text/json"}
    | {"application/octet-stream", "application/vnd.ksql.v1", "application/vnd.ksqlapi.v1+json"}
)

_ENDS = {list: b"}},\n", Tombstone: b',"tombstone":true}},\n'}

T = TypeVar("T")
Endpoint: TypeAlias = Callable[[Request], Awaitable[Reply]]


class Rest:
    """Answers requests; statements run one at a time in a thread, each open query in one of its own."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self.engine = engine
        self.limits = limits or Limits()
        self._statements = ThreadPoolExecutor(1, "statements")
        self._questions = ThreadPoolExecutor(4, "questions")
        self._streams: set[ThreadPoolExecutor] = set()
        self.routes: dict[str, tuple[str, Endpoint]] = {
            "/": ("GET", self._root),
            "/info": ("GET", self._info),
            "/healthcheck": ("GET", self._health),
            "/chc/live": ("GET", self._empty),
            "/chc/ready": ("GET", self._ready),
            "/status": ("GET", self._statuses),
            "/ksql": ("POST", self._ksql),
            "/query": ("POST", self._query),
            "/query-stream": ("POST", self._query_stream),
            "/close-query": ("POST", self._close_query),
            "/inserts-stream": ("POST", self._inserts_stream),
            "/ksql/terminate": ("POST", self._terminate),
        }

    async def __call__(self, request: Request) -> Reply:
        """The reply to a request; what is wrong with it is a reply too."""
        path = unquote(urlsplit(request.path).path)
        try:
            return await self._endpoint(request, path)(request)
        except RequestError as error:
            return error_reply(error)
        except GradstreamError as error:
            return error_reply(refusal(error, ""))
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001  a bug answers one request with 500, the server goes on
            sys.stderr.write(traceback.format_exc())
            return error_reply(refuse(50000, f"BUG: {type(error).__name__}: {error}"))

    def close(self) -> None:
        for pool in (self._statements, self._questions, *self._streams):
            pool.shutdown(wait=False, cancel_futures=True)

    def _endpoint(self, request: Request, path: str) -> Endpoint:
        """The function for a path.

        Raises:
            RequestError: 404, 405, 406, 415, or 503 while the engine starts.
        """
        if path in self.routes:
            method, endpoint = self.routes[path]
        elif path.startswith("/status/") and path.count("/") == 4:
            method, endpoint = "GET", functools.partial(self._status, path.removeprefix("/status/"))
        elif path.startswith("/is_valid_property/"):
            name = path.removeprefix("/is_valid_property/")
            method, endpoint = "GET", functools.partial(self._is_valid_property, name)
        else:
            raise refuse(40400, f"there is nothing at {path}")
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
            raise refuse(40500, f"{path} takes {method}, not {request.method}")
        body_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if method == "POST" and body_type not in BODY_TYPES:
            raise refuse(41500, f"the body is {body_type}; send {JSON}")
        if path not in ("/query", "/query-stream", "/inserts-stream"):
            accepted(request, JSON, JSON, {JSON, V1})
        if method == "POST" or path.startswith("/status"):
            self._require_ready()
        return endpoint

    def _require_ready(self) -> None:
        match self.engine.state:
            case "INITIALIZING":
                raise refuse(50302, "KSQL is not yet ready to serve requests.")
            case "TERMINATING" | "TERMINATED":
                raise refuse(50304, "The KSQL server is shut down")
            case "ERROR":
                raise refuse(50303, "The KSQL server is shutting down: another engine took over")

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    # Server

    async def _root(self, request: Request) -> Reply:
        return Reply(307, body=b"", headers=(("Location", "/info"),))

    async def _info(self, request: Request) -> Reply:
        engine = self.engine
        state = "RUNNING" if engine.state == "READY" else engine.state
        info = replies.server_info(__version__, engine.cluster_id, engine.service_id, state)
        return Reply(body=to_json(info))

    async def _health(self, request: Request) -> Reply:
        parts = await self._in(self._questions, self.engine.health)
        return Reply(body=to_json(replies.health(parts, self.engine.state)))

    async def _empty(self, request: Request) -> Reply:
        return Reply(body=b"{}")

    async def _ready(self, request: Request) -> Reply:
        self._require_ready()
        return Reply(body=b"{}")

    async def _statuses(self, request: Request) -> Reply:
        found = {name: status for name, (status, _, _) in self.engine.statuses.items()}
        return Reply(body=to_json({"commandStatuses": found}))

    async def _status(self, name: str, request: Request) -> Reply:
        if name not in self.engine.statuses:
            raise refuse(40400, f"Command not found: {name}")
        status, message, query_id = self.engine.statuses[name]
        return Reply(body=to_json({"status": status, "message": message, "queryId": query_id}))

    async def _is_valid_property(self, name: str, request: Request) -> Reply:
        try:
            check_property(name)
        except SqlError as error:
            raise refuse(40000, error.bare_message) from None
        return Reply(body=b"true")

    # Statements

    async def _ksql(self, request: Request) -> Reply:
        body = await _json_object(request)
        text = _text(body, "ksql")
        session = self._session(body, "streamsProperties")
        self._check_sequence(body)
        made = await self._in(self._statements, lambda: session.execute(text))
        return Reply(body=to_json(made))

    async def _terminate(self, request: Request) -> Reply:
        body = await _json_object(request)
        patterns = body.get("deleteTopicList") or []
        if not isinstance(patterns, list) or not all(isinstance(of, str) for of in patterns):
            raise refuse(40000, "deleteTopicList must be a list of regular expressions")
        await self._in(self._statements, lambda: self.engine.terminate(patterns))
        entity = entities.current_status(
            "TERMINATE CLUSTER;", "cluster/TerminateCluster/terminate", "Queries terminated.", -1
        )
        return Reply(body=to_json([entity]))

    def _check_sequence(self, body: dict[str, Any]) -> None:
        """Whether the command has been carried out that a client wants to be before its own.

        What is answered is carried out, so there is nothing to wait for.

        Raises:
            RequestError: 503.
        """
        number = body.get("commandSequenceNumber")
        if isinstance(number, int) and number >= self.engine.plan_number():
            raise refuse(
                50301,
                "Timed out while waiting for a previous command to execute. "
                f"command sequence number: {number}",
            )

    def _session(self, body: dict[str, Any], key: str) -> Session:
        properties = _properties(body, key)
        variables = body.get("sessionVariables") or {}
        if not isinstance(variables, dict) or not all(
            isinstance(value, str) for value in variables.values()
        ):
            raise refuse(40000, "sessionVariables must be an object of strings")
        return Session(self.engine, properties, dict(variables), self.limits)

    # Queries

    async def _query(self, request: Request) -> Reply:
        shape = accepted(request, V1, DELIMITED, {V1, JSON, DELIMITED})
        body = await _json_object(request)
        session = self._session(body, "streamsProperties")
        self._check_sequence(body)
        form = DELIMITED if shape == DELIMITED else V1
        return await self._open(session, _text(body, "ksql"), form, request)

    async def _query_stream(self, request: Request) -> Reply:
        shape = accepted(request, DELIMITED, DELIMITED, {V1, JSON, DELIMITED})
        body = await _json_object(request)
        session = self._session(body, "properties")
        return await self._open(session, _text(body, "sql"), shape, request)

    async def _open(self, session: Session, text: str, shape: str, request: Request) -> Reply:
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._statements, lambda: session.query(text))
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._drop)
            raise
        if not isinstance(opened, TransientQuery):
            if shape == JSON:
                raise refuse(40600, "PRINT answers as text only")
            printer = TopicPrinter(self.engine, opened)
            return Reply(content_type="text/plain", body=self._printed(printer))
        content_type = DELIMITED if shape == DELIMITED else JSON
        if shape == DELIMITED:
            body = self._delimited(opened)
        elif shape == JSON:
            body = self._array(opened)
        elif opened.looks_up:
            body = self._v1_table(opened)
        else:
            body = self._v1(opened, one_by_one=request.http2)
        done = functools.partial(self.engine.close_query, opened)
        return Reply(content_type=content_type, body=body, done=done)

    def _drop(self, opening: asyncio.Future[TransientQuery | PrintTopic]) -> None:
        """Frees a query whose client went while it was being opened."""
        if not opening.cancelled() and opening.exception() is None:
            opened = opening.result()
            if isinstance(opened, TransientQuery):
                self.engine.close_query(opened)

    async def _batches(self, query: TransientQuery) -> AsyncIterator[list[list[Any]]]:
        """The rows of a query, empty lists while nothing comes; its thread and reader end with the iteration."""
        pool = ThreadPoolExecutor(1, query.id)
        self._streams.add(pool)
        try:
            while not query.ended:
                yield await self._in(pool, query.next)
        finally:
            self.engine.close_query(query)
            pool.submit(query.close)
            pool.shutdown(wait=False)
            self._streams.discard(pool)

    async def _v1(self, query: TransientQuery, one_by_one: bool) -> AsyncIterator[bytes]:
        """The rows of /query: one JSON array, a row a line."""
        yield b"[" + _header(query) + b",\n"
        loop = asyncio.get_running_loop()
        last = loop.time()
        try:
            async for rows in self._batches(query):
                lines = [b'{"row":{"columns":' + to_json(row) + _ENDS[type(row)] for row in rows]
                for chunk in lines if one_by_one else [b"".join(lines)] * bool(lines):
                    yield chunk
                if rows:
                    last = loop.time()
                elif loop.time() - last > KEEP_ALIVE_SECONDS:
                    last = loop.time()
                    yield b"\n"
            yield to_json({"finalMessage": query.ended}) + b"]\n"
        except GradstreamError as error:
            yield to_json({"errorMessage": _failure(error)}) + b"]\n"

    async def _v1_table(self, query: TransientQuery) -> AsyncIterator[bytes]:
        """The rows of a pull query over a table: the same without a last word."""
        yield b"[" + _header(query)
        try:
            async for rows in self._batches(query):
                if rows:
                    yield b"".join(b',\n{"row":{"columns":' + to_json(row) + b"}}" for row in rows)
        except GradstreamError as error:
            yield b",\n" + to_json({"errorMessage": _failure(error)})
        yield b"]\n"

    async def _delimited(self, query: TransientQuery) -> AsyncIterator[bytes]:
        """The rows of /query-stream: what it is, then an array a line."""
        yield to_json(_head(query)) + b"\n"
        try:
            async for rows in self._batches(query):
                if rows:
                    yield b"".join(to_json(row) + b"\n" for row in _alive(rows))
        except GradstreamError as error:
            yield to_json(_failure(error)) + b"\n"

    async def _array(self, query: TransientQuery) -> AsyncIterator[bytes]:
        yield b"[" + to_json(_head(query))
        try:
            async for rows in self._batches(query):
                if rows:
                    yield b"".join(b"," + to_json(row) for row in _alive(rows))
        except GradstreamError as error:
            yield b"," + to_json(_failure(error))
        yield b"]"

    async def _printed(self, printer: TopicPrinter) -> AsyncIterator[bytes]:
        pool = ThreadPoolExecutor(1, "print")
        self._streams.add(pool)
        try:
            while not printer.ended:
                yield "".join(f"{line}\n" for line in await self._in(pool, printer.next)).encode()
        finally:
            printer.ended = True
            pool.submit(printer.close)
            pool.shutdown(wait=False)
            self._streams.discard(pool)

    async def _close_query(self, request: Request) -> Reply:
        query_id = _text(await _json_object(request), "queryId")
        query = self.engine.transient.get(query_id)
        if query is None:
            raise refuse(40000, f"No query with id {query_id}")
        query.stop()
        return Reply(body=b"")

    # Inserts

    async def _inserts_stream(self, request: Request) -> Reply:
        shape = accepted(request, DELIMITED, DELIMITED, {JSON, DELIMITED, V1})
        if request.http2:
            batches = request.lines()
        elif "h2c" in request.headers.get("upgrade", "").lower():
            batches = _at_once(await request.body())
        else:
            raise refuse(40004, "The /inserts-stream endpoint is only available using HTTP2")
        first = await anext(batches, None)
        if not first:
            raise refuse(40000, 'the first line must be {"target": …}')
        head = _object(first[0])
        stream = inserts.InsertStream(self.engine, _text(head, "target"))
        return Reply(content_type=shape, body=self._acknowledge(stream, first[1:], batches, shape))

    async def _acknowledge(
        self,
        stream: inserts.InsertStream,
        lines: list[bytes],
        more: AsyncIterator[list[bytes]],
        shape: str,
    ) -> AsyncIterator[bytes]:
        """An answer for each row, up to the first that is refused."""
        before, between, after = (b"[", b",", b"]") if shape == JSON else (b"", b"\n", b"\n")
        sent = 0
        while True:
            batch = lines
            answers = await self._in(self._statements, functools.partial(stream.insert, batch))
            for answer in answers:
                yield (between if sent else before) + to_json(answer)
                sent += 1
            if stream.failed:
                break
            try:
                lines = await anext(more)
            except StopAsyncIteration:
                break
        yield (before if not sent and shape == JSON else b"") + (
            after if sent or shape == JSON else b""
        )


async def _at_once(body: bytes) -> AsyncIterator[list[bytes]]:
    """The lines of a client that offered HTTP/2 as an upgrade and takes HTTP/1.1 for the answer: it sends all first."""
    yield [line for line in body.split(b"\n") if line.strip()]


def accepted(request: Request, unasked: str, any_: str, known: set[str]) -> str:
    """The media type to answer with.

    Args:
        unasked: without an Accept header; any_: for ``*/*``.

    Raises:
        RequestError: 406.
    """
    accept = request.headers.get("accept", "")
    if not accept.strip():
        return unasked
    asked = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    for kind in asked:
        if kind in known:
            return kind
        if kind in ("*/*", "application/*"):
            return any_
    raise refuse(40600, f"Not Acceptable: {accept}; there are {', '.join(sorted(known))}")


async def _json_object(request: Request) -> dict[str, Any]:
    return _object(await request.body())


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise refuse(40000, f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise refuse(40000, "the body must be a JSON object")
    return found


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise refuse(40000, f"the body needs a field {key!r} that is a string")
    return value


def _properties(body: dict[str, Any], key: str) -> dict[str, object]:
    properties = body.get(key) or {}
    if not isinstance(properties, dict):
        raise refuse(40000, f"{key} must be an object")
    for name in properties:
        try:
            check_property(name)
        except SqlError as error:
            raise refuse(40000, error.bare_message) from None
    return dict(properties)


def _alive(rows: list[list[Any]]) -> list[list[Any]]:
    """Without tombstones, for which these formats have no word."""
    return [row for row in rows if not isinstance(row, Tombstone)]


def _header(query: TransientQuery) -> bytes:
    schema = entities.schema_text(query.action.query.output, keys=query.looks_up)
    return to_json({"header": {"queryId": query.id, "schema": schema}})


def _head(query: TransientQuery) -> dict[str, Any]:
    output = query.action.query.output
    return {
        "queryId": query.id,
        "columnNames": [column.name for column in output],
        "columnTypes": [str(column.type) for column in output],
    }


def _failure(error: GradstreamError) -> dict[str, Any]:
    return replies.generic_error(50000, str(error))
