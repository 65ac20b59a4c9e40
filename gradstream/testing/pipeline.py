"""A pipeline of one test's own: topics, statements and a trainer on whatever stack answers.

    with Pipeline(Services.find()) as pipeline:
        pipeline.sql("CREATE STREAM people (NAME STRING) WITH (KAFKA_TOPIC='people', VALUE_FORMAT='JSON')")
        pipeline.produce("people", [{"NAME": "Hans"}])
        assert pipeline.rows("people") == [{"NAME": "Hans"}]

The names are those of production; on the broker and the server each has the mark of the test behind it.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gradstream.config import Services
from gradstream.engine.catalog import Source
from gradstream.errors import GradstreamError, RetryError, SqlError, UnavailableError, UsageError
from gradstream.shell.catch_up import sink_of, wait_for
from gradstream.shell.client import KsqlClient
from gradstream.shell.settings import Settings
from gradstream.testing import cleaning, reading, sending, statements
from gradstream.testing.data import Rows
from gradstream.testing.names import Names
from gradstream.testing.reading import Row
from gradstream.testing.statements import target_of
from gradstream.wire.kafka import ensure_topics
from producers.send import Format
from trainers.chain import WeightsRecord
from trainers.checkpoint import read_weights
from trainers.job import Job
from trainers.loop import Result, train

LOOK_SECONDS = 0.05
SHOWN = 3  # rows that an error shows at most
EARLIEST = {"auto.offset.reset": "earliest"}


class Pipeline:
    """Topics, statements and trainers of one test, gone when it ends.

    Args:
        services: where Kafka, registry and KSQL server are.
        folder: where files of statements are looked for, besides the working folder.
        keep: leave everything as it is at the end, to look at it.

    Attributes:
        services: as given.
        mark: what stands behind the names of this test's topics, streams and tables.
    """

    def __init__(
        self, services: Services, *, folder: Path | None = None, keep: bool = False
    ) -> None:
        self.services = services
        self.folder = folder or Path.cwd()
        self.keep = keep
        self._names = Names()
        self._settings = Settings(dict(EARLIEST))
        self._sources: dict[str, Source] = {}  # those over a topic, by topic
        self._sinks: list[str] = []  # filled by queries, in the order of their making
        self._behind = False  # whether queries may not have caught up

    @property
    def mark(self) -> str:
        return self._names.mark

    @cached_property
    def client(self) -> KsqlClient:
        """The KSQL server's REST API, for what has no method here."""
        return KsqlClient(self.services.ksql_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What went wrong in the block must not be hidden by a server that is gone since.
        with suppress(GradstreamError) if error else nullcontext():
            self.close()

    def close(self) -> None:
        """Terminate the queries, drop the streams, tables and topics; a second call does nothing."""
        keep, self.keep = self.keep, True
        try:
            if not keep:
                cleaning.clean(self.services, self.mark, self._names.made, self.client)
        finally:
            self.client.close()

    def share(self, *names: str) -> None:
        """Topics, streams and tables that are others': used under the names that they have, and never dropped."""
        self._names.share(*names)

    def topic(self, name: str = "", partitions: int = 1) -> str:
        """Make a topic; the name that it has on the broker."""
        real = self._names.own(name)
        ensure_topics(self.services, {real: partitions})
        return real

    def produce(
        self, topic: str, rows: Rows, format: Format | None = None, *, partitions: int = 1
    ) -> int:
        """Send rows to a topic; returns how many, when the broker has them all.

        Args:
            rows: dicts, a pandas.DataFrame, Arrow batches, or one of the producers' generators; texts and bytes are
                sent as they are.
            format: default what the stream over the topic says, if sql() has made one, else DELIMITED.
            partitions: of a topic that does not exist yet.

        Raises:
            DataError: UNKNOWN_COLUMN, BAD_VALUE.
            UsageError: NO_ROWS, BAD_ROWS, BAD_FORMAT.
            UnavailableError: broker or registry is not there, or refuses.
        """
        real = self.topic(topic, partitions)
        self._behind = True
        if sending.is_text(rows):
            return sending.send_text(self.services, real, rows)
        if format is None and (source := self._sources.get(real)):
            return sending.send_declared(self.services, source, rows)
        return sending.send_plain(self.services, real, rows, format or "DELIMITED")

    def sql(self, sql: str | Path, *, wait: bool = True, **variables: object) -> None:
        """Run statements, or a file of them, and wait until their queries have read what there is.

        Queries start with the oldest record unless SET says something else.

        Args:
            sql: statements; or a path that ends in .sql, looked for in the working folder, beside the test and among
                the files that come with gradstream.
            variables: values for ``${…}``; they go before the file's own DEFINE.

        Raises:
            SqlError: the server refuses a statement; with line, column and what is there.
            DataError: NO_FILE, QUERY_FAILED.
            UnavailableError: KSQL_UNREACHABLE, CATCHING_UP.
        """
        name, text = statements.text_of(sql, self.folder)
        given = {key: str(value) for key, value in variables.items()}
        with statements.told(name, text):
            for verb, statement in statements.own(text, self._names, self._settings, given):
                self._execute(verb, statement)
        self._behind = True
        if wait:
            self.wait()

    def _execute(self, verb: str, statement: str) -> None:
        if verb in ("SELECT", "PRINT"):
            raise UsageError("NOT_FOR_SQL", f"{verb} gives rows; ask for them with rows()")
        made = statements.declared(statement, self.services) if verb == "CREATE" else None
        if made and made.topic.must_exist and self.mark in made.topic.name:
            self.topic(made.topic.name)  # as somebody has done it in production
        self.client.execute(statement, self._settings.properties)
        if made:
            self._sources[made.source.topic] = made.source
        elif sink := sink_of(statement) or target_of(statement):
            self._sinks.append(sink)

    def wait(self) -> None:
        """Return when the queries of this test have read what there is now, one after the other.

        Raises:
            DataError: QUERY_FAILED.
            UnavailableError: CATCHING_UP.
        """
        for sink in self._sinks if self._behind else ():
            wait_for(self.client, [sink], lambda done, total: None)
        self._behind = False

    def rows(self, of: str, count: int | None = None, timeout: float = 30.0) -> list[Row]:
        """The rows of a stream or topic, or of a SELECT, as dicts; those of one partition in order.

        Args:
            of: a stream; a topic of Avro records or JSON objects; a SELECT.
            count: wait until there are so many. Without it all that are there when the queries have caught up.
            timeout: seconds to wait.

        Raises:
            UnavailableError: MISSING_ROWS, with those that did come.
            SqlError: the server refuses the SELECT.
            DataError: UNKNOWN_TOPIC, NO_COLUMNS.
            UsageError: ENDLESS, a SELECT … EMIT CHANGES without a count or LIMIT.
        """
        self.wait()
        deadline = time.monotonic() + timeout
        words = of.upper().split()
        if words and words[0] == "SELECT":
            with statements.told("rows()", of):
                select = self._names.statement(of.rstrip().removesuffix(";") + ";")
                if "EMIT" in words:
                    return self._pushed(select, count, timeout)
                return self._polled(of, lambda: self._selected(select), count, deadline)
        if described := self._described(of):
            select = f"SELECT * FROM `{described['name']}`;"  # noqa: S608  as the server has it
            return self._polled(of, lambda: self._selected(select), count, deadline)
        real = self._names.own(of)
        return self._polled(of, lambda: reading.rows(self.services, real), count, deadline)

    def _selected(self, select: str) -> list[Row]:
        with self.client.query(select, self._settings.properties) as found:
            return [dict(zip(found.names, row, strict=True)) for row in found]

    def _polled(
        self, of: str, read: Callable[[], list[Row]], count: int | None, deadline: float
    ) -> list[Row]:
        while True:
            found = read()
            if count is None or len(found) >= count:
                return found
            if time.monotonic() > deadline:
                raise _missing(of, found, count)
            time.sleep(LOOK_SECONDS)

    def _pushed(self, select: str, count: int | None, timeout: float) -> list[Row]:
        """Rows as they come, up to the count or the query's end."""
        if count is None and "LIMIT" not in select.upper():
            raise UsageError(
                "ENDLESS", "SELECT … EMIT CHANGES never ends; give rows() a count, or it a LIMIT"
            )
        found: list[Row] = []
        try:
            with self.client.query(
                select, self._settings.properties, idle_timeout=timeout
            ) as source:
                for row in source:
                    found.append(dict(zip(source.names, row, strict=True)))
                    if len(found) == count:
                        break
        except RetryError:
            raise _missing(select, found, count) from None
        if count is not None and len(found) < count:
            raise _missing(select, found, count)
        return found

    def values(self, topic: str) -> list[bytes | None]:
        """The values of a topic or of a stream's topic, byte for byte."""
        self.wait()
        found: list[bytes | None] = reading.values(self.services, self._topic_of(topic)).to_pylist()
        return found

    def _topic_of(self, name: str) -> str:
        """The topic of a stream or table, else the topic of that name."""
        described = self._described(name)
        return str(described["topic"]) if described else self._names.own(name)

    def _described(self, name: str) -> Mapping[str, Any] | None:
        """What the server says of a stream or table; None where there is none of that name."""
        if (source := self._names.source(name)) is None:
            return None
        try:
            (answer,) = self.client.execute(f"DESCRIBE {source};")
        except SqlError:  # dropped meanwhile, or it is a topic that is shared
            return None
        described: Mapping[str, Any] = answer["sourceDescription"]
        return described

    def train(
        self, source: str | Job, target: str = "", **options: Any
    ) -> tuple[Result, list[WeightsRecord]]:
        """Train on a stream or topic up to its present end; the result, and the weights records as published.

        Args:
            source: a stream or topic; or a whole Job.
            target: the column to predict.
            options: as of trainers.job.Job, such as ``model="logistic"``. Runs and topics are the test's own; the same
                ``run`` goes on where it stopped.

        Raises:
            GradstreamError: as raised by trainers.loop.train.
        """
        job = source if isinstance(source, Job) else _job(source, target, options)
        self.wait()
        job = replace(
            job,
            source=self._topic_of(job.source),
            run=job.run_id + self.mark,
            weights_topic=self._names.own(job.weights_topic),
            dead_letters_topic=self._names.own(job.dead_letters_topic),
        )
        result = train(job, self.services)
        if result.reason == "interrupted":
            raise KeyboardInterrupt
        return result, self._published(job)

    def _published(self, job: Job) -> list[WeightsRecord]:
        found = reading.values(self.services, job.weights_topic)
        with reading.avro_decoder(self.services) as decoder:
            return [record for record in read_weights(decoder, found) if record.run == job.run_id]


def _job(source: str, target: str, options: dict[str, Any]) -> Job:
    known = [field.name for field in fields(Job)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError("UNKNOWN_OPTION", f"train() has no option {name!r}; {hint}")
    return Job(source, target, **options)


def _missing(of: str, found: list[Row], count: int | None) -> UnavailableError:
    shown = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
    return UnavailableError(
        "MISSING_ROWS",
        f"{len(found)} of {count} rows came from {of.strip()}{': ' * bool(found)}{shown}; rows that cannot be read "
        "are left out and stand in the server's processing log",
    )
