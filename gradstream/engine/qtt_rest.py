"""The tests of ``gradstream qtt`` that talk to a server: a real engine over HTTP, on a real broker.

A case gets an engine of its own under a service id of its own, in this process, and finds no topic of the case before it.
Schemas are in memory, since some cases want an id of their choice, which a registry does not give. What the runner for
cases without a server (qtt.Run) makes of the statements tells which topics must exist and how records are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.engine import qtt, qtt_values
from gradstream.engine.catalog import Catalog
from gradstream.engine.language import plan
from gradstream.engine.server.http import Listener
from gradstream.engine.server.rest import V1, Rest
from gradstream.engine.server.runtime import Engine
from gradstream.engine.types import SqlType, Struct
from gradstream.errors import GradstreamError
from gradstream.wire import kafka
from gradstream.wire.reader import open_log_reader
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer

SERVER = {
    "auto.offset.reset": "earliest",
    "ksql.headers.columns.enabled": "true",
    "ksql.query.push.v2.enabled": "true",
}
SECONDS = 20.0  # that a query, or the catching up of one, may take
_ENTITIES = {
    "KsqlStatementErrorMessage": "statement_error",
    "KsqlErrorMessage": "generic_error",
}


class Server:
    """An engine and its listener; ``with Server(…) as server`` starts and ends both."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self.engine = Engine(
            services, f"qtt{uuid.uuid4().hex[:12]}_", dict(SERVER), registry=registry
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._rest = Rest(self.engine)
        self._listener = Listener(self._rest, "127.0.0.1", 0)

    def __enter__(self) -> Server:
        self._thread.start()
        self._do(self._listener.start())
        self.engine.start(self._listener.url)
        return self

    @property
    def url(self) -> str:
        return self._listener.url

    def __exit__(self, *ended: object) -> None:
        self._do(self._listener.stop())
        self._rest.close()
        self.engine.stop(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)


@dataclass(slots=True)
class RestRun(qtt.Run):
    """One case on a server of its own; what it is as a Run tells which topics it needs and what their bytes mean.

    Attributes:
        services: the broker.
        wanted: the responses that have not come yet.
    """

    services: Services = field(kw_only=True)
    wanted: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def _split(self) -> tuple[list[str], list[str]]:
        """The statements for /ksql and the queries for /query."""
        texts = self.case["statements"]
        queries = (at for at, text in enumerate(texts) if text.lstrip().startswith("SELECT "))
        first = next(queries, len(texts))
        return texts[:first], texts[first:]

    @property
    def _own_properties(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.case.get("properties", {})
        return found

    def go(self) -> None:
        """Runs the case.

        Raises:
            Mismatch: it does not do what ksqlDB does.
        """
        self.wanted = list(self.case.get("responses", ()))
        self._prepare()
        existing = dict(self.partitions)
        self._foresee()
        kafka.delete_topics(self.services, existing)
        kafka.ensure_topics(self.services, existing)
        with Server(self.services, self.as_registry) as server:
            try:
                self._talk(server)
            finally:
                own = {of.topic for of in server.engine.catalog.sources.values()}
                mine = {name for name in kafka.list_topics(self.services) if _of(server, name)}
        kafka.delete_topics(self.services, own | mine | set(existing))

    def _foresee(self) -> None:
        """Plans the statements, for what the bytes of topics mean; what is refused, the server is to tell."""
        properties = {**qtt.PROPERTIES, **self._own_properties}
        with contextlib.suppress(GradstreamError):
            for number, statement in enumerate(plan.parse("\n".join(self._split[0]))):
                action = plan.plan_statement(
                    statement, self.catalog, properties, infer=self._infer, number=number
                )
                if not isinstance(action, plan.InsertValues):
                    self._carry_out(action, properties, {})

    def _talk(self, server: Server) -> None:
        statements, queries = self._split
        with httpx2.Client(
            base_url=server.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http:
            body = {"ksql": "\n".join(statements), "streamsProperties": self._own_properties}
            answer = http.post("/ksql", content=qtt_values.json_text(body).encode())
            if answer.status_code != 200:
                self._error(answer.status_code, answer.json())
                return
            self._admin(json.loads(answer.text, parse_float=decimal.Decimal))
            late = "inputConditions" in self.case
            if not late:
                self._produce(server)
            for text in queries:
                status, lines = self._query(http, text, server if late else None)
                if status != 200 or "errorMessage" in lines[-1]:
                    self._error(status, lines[-1].get("errorMessage", lines[-1]))
                    return
                if self.wanted:
                    self._compare_rows(text, self.wanted.pop(0)["query"], lines)
        if wanted := self.case.get("expectedError"):
            raise qtt.Mismatch(f"no error; expected {wanted.get('message')!r}")
        if self.wanted:
            raise qtt.Mismatch(f"responses are missing: {self.wanted}")
        self._outputs()

    # Statements

    def _error(self, status: int, entity: Mapping[str, Any]) -> None:
        wanted = self.case.get("expectedError")
        said = str(entity.get("message"))
        if wanted is None:
            raise qtt.Mismatch(f"unexpected {status} {entity.get('@type')}: {said}")
        if wanted.get("message", "") not in said:
            raise qtt.Mismatch(f"another error: {said!r}; expected: {wanted['message']!r}")
        if wanted.get("status", status) != status:
            raise qtt.Mismatch(f"status {status}, expected {wanted['status']}")
        kind = _ENTITIES.get(wanted.get("type", "").rpartition(".")[2])
        if kind and kind != entity.get("@type"):
            raise qtt.Mismatch(f"a {entity.get('@type')}, expected a {kind}")

    def _admin(self, entities: Sequence[Mapping[str, Any]]) -> None:
        wanted = [of["admin"] for of in self.wanted if "admin" in of]
        self.wanted = [of for of in self.wanted if "admin" not in of]
        if len(entities) < len(wanted):
            raise qtt.Mismatch(f"{len(entities)} entities, expected {len(wanted)}")
        for want, entity in zip(wanted, entities, strict=False):
            if why := _differs(want, entity):
                raise qtt.Mismatch(f"an entity: {why}")

    # Records

    def _produce(self, server: Server) -> None:
        """Writes the inputs; returns when all persistent queries have caught up."""
        if given := self.case.get("inputs"):
            with Writer(self.services) as writer:
                for of in given:
                    self._send(writer, of)
                writer.flush()
                if writer.failed:
                    raise qtt.Mismatch(f"the inputs were not written: {writer.first_failure}")
        deadline = time.monotonic() + SECONDS
        while not all(_caught_up(query) for query in list(server.engine.queries.values())):
            if time.monotonic() > deadline:
                states = [(of.id, of.state, of.failure) for of in server.engine.queries.values()]
                raise qtt.Mismatch(f"queries do not catch up: {states}")
            time.sleep(0.02)

    def _send(self, writer: Writer, given: Mapping[str, Any]) -> None:
        record = self._encoded(given)
        writer.send(
            given["topic"],
            pa.array([record.value], pa.binary()),
            None if record.key is None else pa.array([record.key], pa.binary()),
            np.array([record.timestamp], np.int64),
            np.zeros(1, np.int32) if record.key is None else None,
            [record.headers] if record.headers else None,
        )

    def _outputs(self) -> None:
        expected: dict[str, list[Mapping[str, Any]]] = {}
        for of in self.case.get("outputs", ()):
            expected.setdefault(of["topic"], []).append(of)
        for topic, wanted in expected.items():
            found = self._whole(topic)
            if len(found) < len(wanted):
                raise qtt.Mismatch(f"{topic}: {len(found)} records, expected {len(wanted)}")
            source = self.over[topic]
            for number, (want, got) in enumerate(zip(wanted, found, strict=False)):
                self._compare_record(f"{topic}[{number}]", source, want, got)

    def _whole(self, topic: str) -> list[qtt.Record]:
        """What a topic holds, in the order of time."""
        ends = kafka.end_offsets(self.services, topic)
        found: list[qtt.Record] = []
        begin = kafka.begin_offsets(self.services, topic)
        with open_log_reader(self.services, begin, headers=True) as reader:
            deadline = time.monotonic() + SECONDS
            while any(reader.position().get(at, 0) < end for at, end in ends.items()):
                if time.monotonic() > deadline:
                    raise qtt.Mismatch(f"{topic} cannot be read to its end")
                records = reader.fetch(1000, 0.1)
                for row in range(len(records)):
                    key, value = records.key[row].as_py(), records.value[row].as_py()
                    at = int(records.timestamp[row])
                    found.append(qtt.Record(key, value, at, records.headers(row)))
        return sorted(found, key=lambda of: of.timestamp)

    # Queries

    def _query(
        self, http: httpx2.Client, text: str, server: Server | None
    ) -> tuple[int, list[dict[str, Any]]]:
        """Status and lines of a query; one that has no end is left when all expected lines have come.

        Args:
            server: if the inputs are to be written once the query runs.
        """
        body = {"ksql": text, "streamsProperties": self._own_properties}
        wanted = self.wanted[0]["query"] if self.wanted else []
        enough = len(wanted) if wanted and "finalMessage" not in wanted[-1] else 1 << 30
        if "EMIT" not in text.upper():
            enough = 1 << 30
        content = qtt_values.json_text(body).encode()
        asked = {"Accept": V1}
        with http.stream("POST", "/query", content=content, headers=asked) as reply:
            if reply.status_code != 200:
                return reply.status_code, [json.loads(reply.read())]
            lines: list[dict[str, Any]] = []
            deadline = time.monotonic() + SECONDS
            for line in _objects(reply.iter_lines()):
                if line is not None:
                    lines.append(line)
                    if len(lines) == 1 and server is not None:
                        self._produce(server)
                if len(lines) >= enough:
                    break
                if time.monotonic() > deadline:
                    raise qtt.Mismatch(f"{text} does not end; so far: {lines[:5]}")
        return 200, lines

    def _compare_rows(
        self, text: str, wanted: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
    ) -> None:
        if len(wanted) != len(found):
            raise qtt.Mismatch(f"{text}: {_short(found)}, expected {_short(wanted)}")
        rows = [of["row"]["columns"] for of in found if "row" in of]
        schema = found[0].get("header", {}).get("schema", "")
        types = _types(schema)
        for want, got in zip(wanted, found, strict=True):
            if want.keys() - {"row"} != got.keys() - {"row"}:
                raise qtt.Mismatch(f"{text}: {_short(got)}, expected {_short(want)}")
            if "row" not in want:
                if why := _differs(want, got):
                    raise qtt.Mismatch(f"{text}: {why}")
                continue
            columns = want["row"]["columns"]
            at = next((n for n, row in enumerate(rows) if _same_row(columns, row, types)), None)
            if at is None:
                raise qtt.Mismatch(f"{text}: no row {_short(columns)} in {_short(rows)}")
            del rows[at]


def _of(server: Server, topic: str) -> bool:
    return server.engine.service_id in topic


def _caught_up(query: Any) -> bool:
    """Whether a query has read, and its output is committed for, all that is in its sources."""
    if query.state == "ERROR":
        raise qtt.Mismatch(f"query {query.id} failed: {query.failure}")
    return all(committed >= end for _, _, end, committed in query.offsets())


def _objects(lines: Iterator[str]) -> Iterator[dict[str, Any] | None]:
    """The objects of a v1 reply as they come, a line each; None for a line that only tells that the query lives."""
    for line in lines:
        text = line.strip().removeprefix("[").removesuffix(",")
        if text in ("", "]"):
            yield None
            continue
        try:
            yield json.loads(text, parse_float=decimal.Decimal)
        except ValueError:  # the last one, with the array's end
            yield json.loads(text.removesuffix("]"), parse_float=decimal.Decimal)


def _types(schema: str) -> list[SqlType]:
    """The types in a schema's text, whose names may be such as nobody may declare."""
    fields = re.sub(r" KEY(?=, `|$)", "", schema)
    (statement,) = plan.parse(f"CREATE TYPE X AS STRUCT<{fields}>;")
    action = plan.plan_statement(statement, Catalog(), {})
    assert isinstance(action, plan.CreateType)
    assert isinstance(action.type, Struct)
    return [type_ for _, type_ in action.type.fields]


def _same_row(wanted: Sequence[Any], found: Sequence[Any], types: Sequence[SqlType]) -> bool:
    return len(wanted) == len(found) == len(types) and all(
        map(qtt_values.same, wanted, found, types)
    )


def _differs(wanted: Any, found: Any, where: str = "") -> str | None:
    """Why what was found is not what is wanted; an object may have more fields."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, want in wanted.items():
            name, _, how = key.partition("|")
            got = found.get(name)
            if how == "starts_with":
                if not str(got).startswith(str(want)):
                    return f"{where}.{name}: {got!r} does not start with {want!r}"
            elif name == "queryId" and where.endswith("header"):
                continue
            elif why := _differs(want, got, f"{where}.{name}"):
                return why
        return None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        told = (_differs(want, got, f"{where}[{at}]") for at, (want, got) in pairs)
        return next((why for why in told if why), None)
    if qtt_values.same(wanted, found):
        return None
    return f"{where or 'it'} is {_short(found)}, expected {_short(wanted)}"


def _short(value: Any) -> str:
    text = qtt_values.json_text(value)
    return text if len(text) < 400 else text[:399] + "…"


def judge(case: Mapping[str, Any], services: Services, debug: bool = False) -> str | None:
    """None if the case goes as expected, else why not."""
    return qtt.verdict(RestRun(case, services=services), debug)
