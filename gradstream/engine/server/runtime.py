"""The engine: a catalog, the queries that run, and what each action does to Kafka, the registry and both.

Statements of one request are planned on a copy of the catalog first; only if all can be carried out is any of them. What
is carried out is in the command log before it is answered.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.engine.catalog import Catalog, Column, Format, Source
from gradstream.engine.language import plan
from gradstream.engine.language.actions import (
    CreateSource,
    DropSource,
    InsertValues,
    StartQuery,
    TopicSettings,
)
from gradstream.engine.rows import pipeline, processing_log, serdes
from gradstream.engine.rows.processing_log import topic_name
from gradstream.engine.server.command_log import Command, CommandLog
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.queries import PersistentQuery, Surroundings
from gradstream.engine.server.restoring import make_topics
from gradstream.engine.server.tables import Tables
from gradstream.engine.server.transient import TransientQuery
from gradstream.errors import ConfigError, GradstreamError, RetryError, SqlError
from gradstream.wire import kafka
from gradstream.wire.records import TopicPartition
from gradstream.wire.registry import Registry
from gradstream.wire.writer import TransactionAborted, Writer

DEFAULTS: dict[str, object] = {
    "auto.offset.reset": "latest",
    "commit.interval.ms": "100",
    "gradstream.headers.forward": "false",  # reading headers halves the speed of fetching
    "ksql.fail.on.deserialization.error": "false",
    "ksql.headers.columns.enabled": "true",
    "ksql.logging.processing.rows.include": "false",
    "ksql.max.push.queries": "100",
    "ksql.output.topic.name.prefix": "",
    "ksql.persistence.default.format.key": "KAFKA",
    "ksql.persistence.default.format.value": None,
    "ksql.persistence.wrap.single.values": "true",
    "ksql.query.persistent.active.limit": "1000",
    "ksql.query.pull.max.concurrent.requests": "100",
    "ksql.query.pull.range.scan.enabled": "true",
    "ksql.query.pull.stream.enabled": "true",
    "ksql.query.pull.table.scan.enabled": "true",
    "ksql.query.push.v2.enabled": "false",
    "ksql.variable.substitution.enable": "true",
    "processing.guarantee": "exactly_once_v2",
}
EDITABLE = frozenset(
    {
        "auto.offset.reset",
        "cache.max.bytes.buffering",
        "commit.interval.ms",
        "ksql.fail.on.deserialization.error",
        "ksql.functions.substring.legacy.args",
        "ksql.new.query.planner.enabled",
        "ksql.output.topic.name.prefix",
        "ksql.persistence.default.format.key",
        "ksql.persistence.default.format.value",
        "ksql.persistence.wrap.single.values",
        "ksql.query.pull.range.scan.enabled",
        "ksql.query.pull.stream.enabled",
        "ksql.query.pull.table.scan.enabled",
        "ksql.query.push.v2.enabled",
        "ksql.timestamp.throw.on.invalid",
        "ksql.variable.substitution.enable",
        "processing.guarantee",
    }
)
NUMBERS = (
    "ksql.max.push.queries",
    "ksql.query.persistent.active.limit",
    "ksql.query.pull.max.concurrent.requests",
)

ServerState = Literal["INITIALIZING", "READY", "TERMINATING", "TERMINATED", "ERROR"]


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was carried out.

    Attributes:
        message: for its currentStatus.
        sequence: its number in the command log, -1 where it is not in there.
        query_id: of the query that it started.
    """

    action: plan.Action
    message: str = ""
    sequence: int = -1
    query_id: str | None = None


class Engine:
    """One engine on one Kafka cluster and registry.

    Args:
        service_id: engines with different ones share nothing; also the first part of group and topic names.
        properties: server properties over the defaults.
        registry: where schemas are, if not in the one of ``services``.
        limits: of what queries of clients may take.

    All public methods may be called from any thread; statements run one request after the other.
    """

    def __init__(
        self,
        services: Services,
        service_id: str = "default_",
        properties: Mapping[str, object] | None = None,
        on_fatal: Callable[[str], None] = lambda why: None,
        registry: Registry | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.services = services
        self.limits = limits or Limits()
        self.service_id = service_id
        self.defaults = {**DEFAULTS, "ksql.service.id": service_id, **(properties or {})}
        self.registry = registry or Registry(services.schema_registry_url)
        self.catalog = Catalog()
        self.queries: dict[str, PersistentQuery] = {}
        self.transient: dict[str, TransientQuery] = {}
        self.state: ServerState = "INITIALIZING"
        self.cluster_id = ""
        self.statuses: dict[str, tuple[str, str, str | None]] = {}
        self.lock = threading.RLock()
        self.tables = Tables(services, self.registry, self.limits.looked_up)
        self._log = CommandLog(services, service_id)
        self._on_fatal = on_fatal
        self._ended: list[PersistentQuery] = []  # by the last command of the log that was replayed
        self._transient_numbers = itertools.count(int(time.time() * 1000))
        self._inserter: Writer | None = None
        for name in NUMBERS:
            self._number(name)
        include = self._is_on("ksql.logging.processing.rows.include")
        forward = self._is_on("gradstream.headers.forward")
        self._around = Surroundings(
            services, self.registry, service_id, topic_name(service_id), include, forward
        )

    def _number(self, name: str) -> int:
        """A property that is a number above 0.

        Raises:
            ConfigError: BAD_PROPERTY.
        """
        value = str(self.defaults[name])
        if not value.isdecimal() or not int(value):
            raise ConfigError(
                "BAD_PROPERTY", f"--property {name}={value} is not a whole number above 0"
            )
        return int(value)

    def _is_on(self, name: str) -> bool:
        return _holds(self.defaults, name)

    # Life

    def start(self, address: str) -> None:
        """Replays the command log and starts the queries; READY when it returns.

        Args:
            address: where this engine answers, for the check that it is the only one.

        Raises:
            UnavailableError: no broker or registry; RetryError: ENGINE_RUNNING.
        """
        kafka.check_broker(self.services)
        self.registry.check()
        self.cluster_id = kafka.cluster_id(self.services)
        with self.lock:
            self._log.lead(address)
            last = None
            for command in self._log.replay():
                last = command, self._again(command)
            if last:
                self._finish(*last)
            kafka.ensure_topics(self.services, {self._around.log_topic: 1})
            for query in self.queries.values():
                query.start()
            self.state = "READY"

    def stop(self, timeout: float = 1.2) -> None:
        """Ends all queries after their open transaction; what does not end in time is aborted by Kafka."""
        self.state = "TERMINATING"
        for transient in list(self.transient.values()):
            transient.stop()
        queries = list(self.queries.values())
        for query in queries:
            query.stop()
        deadline = time.monotonic() + timeout
        for query in queries:
            query.join(max(0.0, deadline - time.monotonic()))
        self.tables.close()
        if self._inserter:
            self._inserter.close(timeout=0.3)
        self._log.close()
        self.state = "TERMINATED"

    def health(self) -> dict[str, bool]:
        """Whether the catalog, Kafka and the command log can be used."""
        try:
            kafka.check_broker(self.services, timeout=2.0)
            reachable = True
        except GradstreamError:
            reachable = False
        return {
            "metastore": self.state == "READY",
            "kafka": reachable,
            "commandRunner": self.state == "READY",
        }

    def _finish(self, command: Command, action: plan.Action) -> None:
        """Carries out what a predecessor that died may have left of the last command: only that may be half done."""
        if isinstance(action, DropSource | plan.ControlQuery):
            self._delete_changelogs(self._ended)
        if isinstance(action, StartQuery):
            make_topics(self.services, self.queries[action.query.query_id].changelog)
        if isinstance(action, DropSource) and action.source and action.delete_topic:
            topic = action.source.topic
            if self._topic_exists(topic) and self._topic_id(topic) == command.topic_id:
                kafka.delete_topics(self.services, [topic])

    def _again(self, command: Command) -> plan.Action:
        """Carries out a command of the log as far as catalog and queries go."""
        properties = {**self.defaults, **command.properties}
        known = command.schema_ids
        (statement,) = plan.parse(command.statement)

        def infer(topic: str, is_key: bool, format_: Format) -> tuple[Column, ...]:
            number = known.get(f"{topic}/{'key' if is_key else 'value'}")
            return serdes.columns_from_registry(self.registry, topic, is_key, format_, number)

        action = plan.plan_statement(
            statement, self.catalog, properties, infer=infer, number=command.number
        )
        match action:
            case StartQuery():
                action = _with_id(action, command.query_id)
                self.queries[action.query.query_id] = self._query(
                    action, command.properties, _partitions(command.start), command.topic_ids
                )
            case DropSource(source=Source() as source):
                self._ended = self._forget_writers(source)
            case plan.ControlQuery():
                self._ended = self._control(action)
        plan.apply(action, self.catalog)
        return action

    # Statements

    def plan_number(self) -> int:
        """The number that the next logged statement gets."""
        return self._log.count

    def infer(self, used: dict[str, int]) -> Callable[[str, bool, Format], tuple[Column, ...]]:
        """Schema inference that notes in ``used`` which schema it took."""

        def infer(topic: str, is_key: bool, format_: Format) -> tuple[Column, ...]:
            part = "key" if is_key else "value"
            number = format_.schema_id
            if number is None:
                try:
                    number = self.registry.latest(f"{topic}-{part}")[0]
                except GradstreamError:
                    number = None  # columns_from_registry words the error
            columns = serdes.columns_from_registry(self.registry, topic, is_key, format_, number)
            if number is not None:
                used[f"{topic}/{part}"] = number
            return columns

        return infer

    def check(
        self, action: plan.Action, sandbox: Catalog, ending: set[str], new: dict[str, int]
    ) -> None:
        """What only the runtime knows: running queries and existing topics.

        Args:
            ending: ids of queries that earlier statements of the request end; this one's are added.
            new: partitions of the topics that earlier statements of the request make; this one's are added.

        Raises:
            SqlError: the action cannot be carried out.
        """
        match action:
            case CreateSource(topic=topic):
                self._check_topic(topic, new)
            case StartQuery(topic=TopicSettings() as topic):
                self._check_replacing(action)
                for source in action.query.sources:
                    if source.topic not in new and not self._topic_exists(source.topic):
                        raise SqlError(
                            "TOPIC_MISSING",
                            f"Topic '{source.topic}' of {source.name} does not exist any more; "
                            "create it again or drop the source",
                        )
                made_like = action.query.source.topic if action.creates_sink else None
                self._check_topic(topic, new, like=made_like)
            case DropSource(source=Source() as source):
                self._check_drop(source, ending)
            case plan.ControlQuery(query_id=str() as query_id):
                if self._known(query_id) is None and query_id not in self.transient:
                    raise SqlError("UNKNOWN_QUERY", f"Unknown queryId: {query_id}")
                if action.verb == "TERMINATE":
                    ending.add(self._known(query_id) or query_id)
            case plan.ControlQuery(verb="TERMINATE"):
                ending.update(self.queries)
            case plan.Explain(query_id=str() as query_id):
                if self._known(query_id) is None:
                    raise SqlError(
                        "UNKNOWN_QUERY",
                        f"Query with id:{query_id} does not exist, use SHOW QUERIES to view the full set of queries.",
                    )
            case plan.SetProperty(name=name):
                check_property(name)

    def _check_topic(
        self, wanted: TopicSettings, new: dict[str, int], like: str | None = None
    ) -> None:
        """Whether a topic can be used as a statement wants it; one that the statement makes goes to ``new``.

        Args:
            like: the topic that it takes after in what the statement leaves open.

        Raises:
            SqlError: TOPIC_MISSING, TOPIC_DIFFERS.
        """
        there = self.topics()
        known = {name: len(replicas) for name, replicas in there.items()} | new
        partitions = wanted.partitions or (known[like] if like else None)
        if wanted.name not in known:
            if wanted.must_exist:
                raise SqlError("TOPIC_MISSING", wanted.missing_message)
            new[wanted.name] = partitions or 1
            return
        has, copies = known[wanted.name], min(there.get(wanted.name, [1]))
        if (partitions or has) != has or (wanted.replicas or 0) > copies:
            raise SqlError(
                "TOPIC_DIFFERS",
                f"A Kafka topic with the name '{wanted.name}' already exists, with different partition/replica "
                f"configuration than required. KSQL expects {partitions or has} partitions (topic has {has}), and "
                f"{wanted.replicas or copies} replication factor (topic has {copies}).",
            )

    def _check_replacing(self, action: StartQuery) -> None:
        """What one query has kept means nothing to another."""
        old = self._replaced(action)
        if old and (old.plan.start or action.query.start):
            raise SqlError(
                "UNSUPPORTED",
                f"{old.id} cannot be replaced: a query over a table, with GROUP BY or with JOIN keeps what it has seen; "
                f"DROP {old.sink.kind.upper()} {old.sink.name} and create it again",
            )

    def _known(self, query_id: str) -> str | None:
        """The id as it is stored; people write it in any case."""
        if query_id in self.queries:
            return query_id
        return next((of for of in self.queries if of.upper() == query_id.upper()), None)

    def _check_drop(self, source: Source, ending: set[str]) -> None:
        alive = [query for query in self.queries.values() if query.id not in ending]
        readers = sorted(
            query.id for query in alive if any(of.name == source.name for of in query.plan.sources)
        )
        writers = [query for query in alive if query.sink.name == source.name]
        inserts = sorted(query.id for query in writers if not query.action.creates_sink)
        if readers or inserts:
            lines = [f"Cannot drop {source.name}."]
            if readers:
                lines.append(
                    f"The following queries read from this source: [{', '.join(readers)}]."
                )
            if inserts:
                lines.append(
                    f"The following queries write into this source: [{', '.join(inserts)}]."
                )
            lines.append("You need to terminate them before dropping " + source.name + ".")
            raise SqlError("IN_USE", "\n".join(lines))
        ending.update(query.id for query in writers)

    def carry_out(
        self, action: plan.Action, properties: Mapping[str, object], schema_ids: dict[str, int]
    ) -> Done:
        """Does what the action says; it has been checked."""
        match action:
            case CreateSource():
                return self._create(action, properties, schema_ids)
            case StartQuery(sink=Source()):
                return self._start(action, properties)
            case InsertValues():
                self._insert(action)
                return Done(action)
            case DropSource(source=Source()):
                return self._drop(action, properties)
            case plan.ControlQuery():
                return self._terminate(action, properties)
            case plan.AlterSource(source=source):
                serdes.register(source, self.registry)
                done = self._logged(action, properties, "Source altered")
            case plan.CreateType(name=name):
                done = self._logged(
                    action, properties, f"Registered custom type with name '{name}'"
                )
            case plan.DropType(name=name):
                done = self._logged(action, properties, f"Type '{name}' dropped")
            case plan.AssertTopic() | plan.AssertSchema():
                raise SqlError("UNSUPPORTED", "ASSERT is not supported yet; check with SHOW TOPICS")
            case _:
                return Done(action)
        plan.apply(action, self.catalog)
        return done

    def _logged(
        self,
        action: plan.Action,
        properties: Mapping[str, object],
        message: str,
        **more: Any,
    ) -> Done:
        """Writes the action's statement to the command log."""
        number = self._log.count
        command = Command(action.text, number, dict(properties), **more)
        try:
            sequence = self._log.append(command)
        except TransactionAborted:
            raise  # it is not in the log, and the next one may be
        except RetryError as error:
            self._fatal(str(error))
            raise
        return Done(action, message, sequence)

    def _fatal(self, why: str) -> None:
        self.state = "ERROR"
        self._on_fatal(why)

    def _create(
        self, action: CreateSource, properties: Mapping[str, object], schema_ids: dict[str, int]
    ) -> Done:
        self._ensure_topic(action.topic, 1)
        self._register_new(action.source)
        kind = action.source.kind.title()
        done = self._logged(action, properties, f"{kind} created", schema_ids=schema_ids)
        plan.apply(action, self.catalog)
        self.statuses[f"{action.source.kind}/`{action.source.name}`/create"] = (
            "SUCCESS",
            done.message,
            None,
        )
        return done

    def _register_new(self, source: Source) -> None:
        """CREATE with columns registers its schemas where the subject has none yet, as ksqlDB does."""
        for part, format_ in (("key", source.key_format), ("value", source.value_format)):
            if format_.name == "AVRO":
                try:
                    self.registry.latest(f"{source.topic}-{part}")
                except GradstreamError as error:
                    if error.code != "UNKNOWN_SUBJECT":
                        raise
                else:
                    return
        serdes.register(source, self.registry)

    def _start(self, action: StartQuery, properties: Mapping[str, object]) -> Done:
        sink = cast(Source, action.sink)
        old = self._replaced(action)
        if old:
            action = _with_id(action, old.id)
        source_topic = action.query.source.topic
        if action.topic:
            self._ensure_topic(action.topic, kafka.partitions(self.services, source_topic))
        if old and old.plan.source.topic == source_topic:
            # It goes on where the old one is, and where that has committed nothing yet, where it began.
            start = old.start_offsets or kafka.begin_offsets(self.services, source_topic)
        else:
            start = self._newest(action, properties)
        shown = {f"{topic}:{number}": offset for (topic, number), offset in start.items()}
        ids = kafka.topic_ids(self.services, [of.topic for of in action.query.sources])
        query = self._query(action, properties, start, ids)  # registers schemas
        make_topics(self.services, query.changelog)
        message = f"Created query with ID {query.id}"
        done = self._logged(
            action, properties, message, start=shown, query_id=query.id, topic_ids=ids
        )
        if old:
            old.stop()
            old.join(10.0)
        self.queries[query.id] = query
        plan.apply(action, self.catalog)
        query.start()
        self.statuses[f"{sink.kind}/`{sink.name}`/create"] = (
            "SUCCESS",
            message,
            query.id,
        )
        return replace(done, query_id=query.id, action=action)

    def _newest(
        self, action: StartQuery, properties: Mapping[str, object]
    ) -> dict[TopicPartition, int]:
        """Where a query begins in the topics of which it reads only what is yet to come.

        A table is all of its topic, as ksqlDB has it, unless the request itself asks for another start.
        """
        start: dict[TopicPartition, int] = {}
        for source in action.query.sources:
            asked = properties if source.kind == "table" else {**self.defaults, **properties}
            if _reset(asked) == "latest":
                start |= kafka.end_offsets(self.services, source.topic)
        return start

    def _replaced(self, action: StartQuery) -> PersistentQuery | None:
        """The running query that CREATE OR REPLACE takes the place of."""
        if not action.replace or action.sink is None:
            return None
        name = action.sink.name
        found = (
            of for of in self.queries.values() if of.sink.name == name and of.action.creates_sink
        )
        return next(found, None)

    def _query(
        self,
        action: StartQuery,
        properties: Mapping[str, object],
        start: Mapping[TopicPartition, int],
        topic_ids: Mapping[str, str],
    ) -> PersistentQuery:
        return PersistentQuery(
            action,
            self._around,
            start=start,
            topic_ids=topic_ids,
            reset="latest" if start else "earliest",
            properties=properties,
            superseded=self._log.superseded,
            fatal=self._fatal,
        )

    def _drop(self, action: DropSource, properties: Mapping[str, object]) -> Done:
        source = cast(Source, action.source)
        message = f"Source `{source.name}` (topic: {source.topic}) was dropped."
        deleted = action.delete_topic and self._topic_exists(source.topic)
        topic_id = self._topic_id(source.topic) if deleted else None
        done = self._logged(action, properties, message, topic_id=topic_id)
        ended = self._forget_writers(source)
        for query in ended:
            query.join(10.0)
        self.tables.forget(source.topic)
        self._delete_changelogs(ended)
        plan.apply(action, self.catalog)
        if action.delete_topic:
            kafka.delete_topics(self.services, [source.topic])
        self.statuses[f"{source.kind}/{source.name}/drop"] = ("SUCCESS", message, None)
        return done

    def _delete_changelogs(self, ended: Iterable[PersistentQuery]) -> None:
        """A query that has been ended never comes back, as in ksqlDB."""
        kafka.delete_topics(
            self.services, [topic for query in ended for topic in query.changelog.topics]
        )

    def _forget_writers(self, source: Source) -> list[PersistentQuery]:
        found = [query for query in self.queries.values() if query.sink.name == source.name]
        for query in found:
            query.stop()
            del self.queries[query.id]
        return found

    def _terminate(self, action: plan.ControlQuery, properties: Mapping[str, object]) -> Done:
        query_id = action.query_id
        if query_id in self.transient:
            self.transient[query_id].stop()
            return Done(action, "Query terminated.", -1, query_id)
        past = {"TERMINATE": "terminated", "PAUSE": "paused", "RESUME": "resumed"}[action.verb]
        done = self._logged(action, properties, f"Query {past}.")
        ended = self._control(action)
        for query in ended:
            query.join(10.0)
        self._delete_changelogs(ended)
        return replace(done, query_id=query_id and (self._known(query_id) or query_id))

    def _control(self, action: plan.ControlQuery) -> list[PersistentQuery]:
        """Stops, pauses or resumes; returns those that were stopped."""
        known = self._known(action.query_id) if action.query_id else None
        chosen = [known] if known else [] if action.query_id else list(self.queries)
        stopped = []
        for query_id in chosen:
            query = self.queries[query_id]
            if action.verb == "TERMINATE":
                query.stop()
                stopped.append(self.queries.pop(query_id))
            elif action.verb == "PAUSE":
                query.pause()
            else:
                query.resume()
        return stopped

    def _insert(self, action: InsertValues) -> None:
        key, value = pipeline.insert(action, self.registry)
        at = action.timestamp if action.timestamp is not None else time.time_ns() // 1_000_000
        self.write(action.source.topic, [key], [value], [at])

    def write(
        self,
        topic: str,
        keys: list[bytes | None],
        values: list[bytes | None],
        timestamps: list[int],
    ) -> None:
        """Writes single records, outside of any transaction, and waits until they are in."""
        with self.lock:
            if self._inserter is None:
                self._inserter = Writer(self.services)
            failed = self._inserter.failed
            self._inserter.send(
                topic,
                pa.array(values, pa.binary()),
                pa.array(keys, pa.binary()),
                np.array(timestamps, np.int64),
            )
            self._inserter.flush(10.0)
            self.tables.distrust(topic)
            if self._inserter.failed > failed:
                why = self._inserter.first_failure
                self._inserter = None
                raise SqlError("INSERT_FAILED", f"topic {topic} did not take the row: {why}")

    def terminate(self, patterns: Iterable[str]) -> None:
        """Ends the service: all queries, the topics whose whole names match, and the command log."""
        with self.lock:
            for query in list(self.queries.values()):
                query.stop()
            for query in self.queries.values():
                query.join(10.0)
            self._delete_changelogs(self.queries.values())
            self.queries.clear()
            owned = {source.topic for source in self.catalog.sources.values()}
            chosen = [
                topic
                for topic in owned
                if any(re.fullmatch(pattern, topic) for pattern in patterns)
            ]
            self._log.close()
            kafka.delete_topics(self.services, [*chosen, self._log.topic])
            self.catalog = Catalog()
            self.state = "TERMINATED"

    # Topics

    def _topic_exists(self, topic: str) -> bool:
        return topic in self.topics()

    def _topic_id(self, topic: str) -> str:
        return kafka.topic_ids(self.services, [topic])[topic]

    def topics(self) -> dict[str, list[int]]:
        """Replicas of each partition, by topic."""
        client = kafka.admin(self.services)
        found = kafka.answer(self.services, client.list_topics, 8.0)
        return {
            name: [len(of.replicas) for of in topic.partitions.values()]
            for name, topic in found.topics.items()
        }

    def partition_count(self, topic: str) -> int | None:
        """How many partitions a topic has, None while it does not exist."""
        return len(self.topics().get(topic, ())) or None

    def _ensure_topic(self, topic: TopicSettings, usual_partitions: int) -> None:
        configs = {}
        if topic.retention_ms is not None:
            configs["retention.ms"] = str(topic.retention_ms)
        kafka.ensure_topics(
            self.services, {topic.name: topic.partitions or usual_partitions}, configs
        )

    # Queries of clients

    def open_query(self, action: StartQuery, properties: Mapping[str, object]) -> TransientQuery:
        """A SELECT; the caller reads it and calls close_query().

        Raises:
            RetryError: TOO_MANY_QUERIES.
        """
        self._check_open(action.kind)
        source = action.query.source
        merged = {**self.defaults, **properties}
        if (
            action.kind == "pull"
            and source.kind == "stream"
            and not _holds(merged, "ksql.query.pull.stream.enabled")
        ):
            raise SqlError("PULL_DISABLED", _NO_PULL)
        scalable = self._is_scalable(action, merged)
        name = "SCALABLE_PUSH_QUERY" if scalable else "transient"
        query_id = f"{name}_{source.name}_{next(self._transient_numbers)}"
        action = _with_id(action, query_id)
        if action.kind == "pull" and source.kind == "table":
            query = self._looking_up(action, properties)
        else:
            query = self._reading(action, properties, merged, scalable)
        self.transient[query_id] = query
        return query

    def _looking_up(self, action: StartQuery, properties: Mapping[str, object]) -> TransientQuery:
        """A pull query over a table."""
        source = action.query.source
        writer = next((of for of in self.writes(source) if of.action.creates_sink), None)
        if writer is None and not source.is_source:
            raise SqlError(
                "NOT_QUERYABLE",
                f"The `{source.name}` table isn't queryable. To derive a queryable table, you can do 'CREATE TABLE "  # noqa: S608
                f"QUERYABLE_{source.name} AS SELECT * FROM {source.name}'. See https://cnfl.io/queries for more info.",
            )
        look_up = partial(self.tables.records, source, writer)
        return TransientQuery(action, self._around, {}, None, dict(properties), look_up=look_up)

    def _reading(
        self,
        action: StartQuery,
        properties: Mapping[str, object],
        merged: Mapping[str, object],
        scalable: bool,
    ) -> TransientQuery:
        """A query that reads the topics of its sources."""
        topics = list(dict.fromkeys(of.topic for of in action.query.sources))
        pulls = action.kind == "pull"
        ends = self._offsets(kafka.end_offsets, topics) if pulls else None
        newest = not pulls and _reset(merged) == "latest"
        offsets = self._offsets(kafka.end_offsets if newest else kafka.begin_offsets, topics)
        kept = None if pulls else self.limits.kept
        return TransientQuery(action, self._around, offsets, ends, dict(properties), scalable, kept)

    def _offsets(
        self, ask: Callable[[Services, str], dict[TopicPartition, int]], topics: Iterable[str]
    ) -> dict[TopicPartition, int]:
        return {at: offset for topic in topics for at, offset in ask(self.services, topic).items()}

    def _is_scalable(self, action: StartQuery, properties: Mapping[str, object]) -> bool:
        """Whether ksqlDB would have the query that writes the source pass its rows on: from now on, over one source.

        Here the rows come by way of the topic, as for each other query; the id tells clients.
        """
        return (
            action.kind == "push"
            and _holds(properties, "ksql.query.push.v2.enabled")
            and _reset(properties) == "latest"
            and len(action.query.sources) == 1
            and not action.query.pseudo & {"ROWPARTITION", "ROWOFFSET"}
            and len(list(self.writes(action.query.source))) == 1
        )

    def _check_open(self, kind: str) -> None:
        pull = kind == "pull"
        name = "ksql.query.pull.max.concurrent.requests" if pull else "ksql.max.push.queries"
        most = self._number(name)
        if sum(of.pulls == pull for of in list(self.transient.values())) >= most:
            raise RetryError(
                "TOO_MANY_PULL_QUERIES" if pull else "TOO_MANY_QUERIES",
                f"Maximum number of {kind} queries exceeded: {most} are open already; close one, or start the engine "
                f"with a greater --property {name}=NUMBER",
            )

    def check_capacity(self, text: str, ending: set[str], started: int) -> None:
        """Whether a request may start so many queries, the last of them by the statement ``text``.

        Raises:
            SqlError: TOO_MANY_QUERIES.
        """
        most = self._number("ksql.query.persistent.active.limit")
        running = sum(name not in ending for name in self.queries)
        if started and running + started > most:
            raise SqlError(
                "TOO_MANY_QUERIES",
                f"Not executing statement(s) '{text}' as it would cause the number of active, persistent queries to "
                "exceed the configured limit. Use the TERMINATE command to terminate existing queries, or start the "
                "engine with a greater --property ksql.query.persistent.active.limit=NUMBER. "
                f"Current persistent query count: {running}. Configured limit: {most}.",
            )

    def close_query(self, query: TransientQuery) -> None:
        query.stop()
        self.transient.pop(query.id, None)

    def reads(self, source: Source) -> Iterable[PersistentQuery]:
        return [
            query
            for query in self.queries.values()
            if any(of.name == source.name for of in query.plan.sources)
        ]

    def writes(self, source: Source) -> Iterable[PersistentQuery]:
        return [query for query in self.queries.values() if query.sink.name == source.name]

    def log_topic(self) -> str:
        return processing_log.topic_name(self.service_id)


def check_property(name: str) -> None:
    """Whether a client may set it.

    Raises:
        SqlError: UNKNOWN_PROPERTY.
    """
    if name.removeprefix("ksql.streams.") not in EDITABLE and name not in EDITABLE:
        raise SqlError(
            "UNKNOWN_PROPERTY",
            f"Not recognizable as ksql, streams, consumer, or producer property: '{name}'",
        )


def _holds(properties: Mapping[str, object], name: str) -> bool:
    """Whether a property is true."""
    return str(properties[name]).lower() == "true"


_NO_PULL = (
    "Pull queries on streams are disabled. To create a push query on the stream, add EMIT CHANGES to the end. "
    "To enable pull queries on streams, set the ksql.query.pull.stream.enabled config to 'true'."
)


def _reset(properties: Mapping[str, object]) -> Literal["earliest", "latest"]:
    """Of server and request, or of a request alone, which may leave it open: then from the first record on."""
    value = properties.get("ksql.streams.auto.offset.reset") or properties.get("auto.offset.reset")
    return "earliest" if value is None or str(value).lower() == "earliest" else "latest"


def _with_id(action: StartQuery, query_id: str | None) -> StartQuery:
    if query_id is None or query_id == action.query.query_id:
        return action
    return replace(action, query=replace(action.query, query_id=query_id))


def _partitions(start: Mapping[str, int]) -> dict[TopicPartition, int]:
    made = {}
    for joint, offset in start.items():
        topic, _, number = joint.rpartition(":")
        made[topic, int(number)] = offset
    return made
