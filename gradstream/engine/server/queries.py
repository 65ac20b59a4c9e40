"""Persistent queries, each a thread from topic to topic.

A persistent query's transaction holds its output, its processing log, what has changed of what it keeps, and its offsets,
so that each record of its sources takes effect once, whatever dies when. After anything that ends a transaction without a
commit, the reader goes back to what the group has committed, and what the query keeps to what it was then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from gradstream import failpoints
from gradstream.config import Services
from gradstream.engine import catalog
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.rows.changelog import Changelog
from gradstream.engine.rows.partitioner import partitions_of
from gradstream.engine.rows.pipeline import Output, Pipeline, unwindowed
from gradstream.engine.rows.processing_log import Logger
from gradstream.engine.server.interleaved import Interleaved
from gradstream.engine.server.restoring import restore
from gradstream.errors import DataError, GradstreamError, RetryError, UnavailableError
from gradstream.wire.beside import Beside
from gradstream.wire.kafka import (
    begin_offsets,
    committed_offsets,
    end_offsets,
    partitions,
    topic_ids,
)
from gradstream.wire.reader import EARLIEST, Reader, open_reader
from gradstream.wire.records import Headers, Records, TopicPartition, no_headers
from gradstream.wire.registry import Registry
from gradstream.wire.writer import TransactionAborted, Writer

CHUNK = 16384  # records decoded at once; larger ones fall out of the processor's caches
DRAINED = CHUNK // 4  # a fetch that brings fewer has emptied the source
COMMIT_ROWS = 1 << 18
COMMIT_SECONDS = 0.1  # how long a transaction stays open at most while records keep coming
# After a commit that has emptied the source, records gather for so long at least: a transaction costs milliseconds of
# work, the broker's above all, so one of few records is followed by a longer rest.
REST_SECONDS = 0.002
LONG_REST_SECONDS = 0.03
FEW = 32
IDLE_SECONDS = 0.5  # longest wait for a record, thus for a stop
RETRY_SECONDS = 1.0
MAX_ABORTS = 7  # in a row, over about 13 s

Source: TypeAlias = Reader | Interleaved
State = Literal["RUNNING", "PAUSED", "ERROR", "TERMINATED"]
Phase = Literal["idle", "computing", "committing"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where queries run.

    Attributes:
        log_topic: the processing log's topic.
        include_rows: whether its entries hold payloads.
        forward_headers: whether headers are read and passed on where no column of the source reads them.
    """

    services: Services
    registry: Registry
    service_id: str
    log_topic: str
    include_rows: bool = False
    forward_headers: bool = False

    def group(self, query_id: str) -> str:
        return f"_confluent-ksql-{self.service_id}query_{query_id}"


@dataclass(slots=True)
class Counts:
    """What a query has done since it was started here."""

    read: int = 0
    written: int = 0
    errors: int = 0
    commits: int = 0
    last_at: float = 0.0


class Commit(Beside):
    """A transaction's commit, so that the query goes on reading and computing meanwhile.

    Attributes:
        stands: the offsets that it commits.
        chunks: how many of them the query has run, all told, with those that it commits.
    """

    def __init__(
        self, writer: Writer, stands: dict[TopicPartition, int], group_metadata: object, chunks: int
    ) -> None:
        self.stands, self.chunks = stands, chunks
        super().__init__("commit", partial(writer.commit, stands, group_metadata))


class PersistentQuery:
    """CREATE … AS SELECT or INSERT INTO … SELECT, running in a thread of its own.

    Args:
        start: where partitions begin of which the group has no offset; others begin at ``reset``.
        topic_ids: of the sources when the query was made, as far as somebody noted them.
        superseded: whether another engine has taken over.
        fatal: called in the query's thread when that is so.

    Attributes:
        state: RUNNING also while it waits for a broker or registry that is away; ``trouble`` tells.
        failure: why it is in ERROR.
        phase: of its transaction; idle where none is open.
        settled: how many transactions have come to their end, whichever it was.
    """

    def __init__(
        self,
        action: StartQuery,
        surroundings: Surroundings,
        *,
        start: Mapping[TopicPartition, int],
        reset: Literal["earliest", "latest"],
        properties: Mapping[str, object],
        topic_ids: Mapping[str, str] | None = None,
        superseded: Callable[[], bool] = lambda: False,
        fatal: Callable[[str], None] = lambda why: None,
    ) -> None:
        assert action.sink is not None
        self.action = action
        self.plan = action.query
        self.sink = action.sink
        self.id = action.query.query_id
        self.around = surroundings
        self.start_offsets = dict(start)
        self.reset = reset
        self.properties = dict(properties)
        self.state: State = "RUNNING"
        self.failure: str | None = None
        self.trouble: str | None = None
        self.phase: Phase = "idle"
        self.settled = 0
        self.counts = Counts()
        self._topic_ids = dict(topic_ids or {})
        self._superseded = superseded
        self._fatal = fatal
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"query {self.id}", daemon=True)
        logger = Logger(self.id, surroundings.include_rows)
        self.pipeline = Pipeline(self.plan, self.sink, surroundings.registry, logger)
        self.topics = list(dict.fromkeys(source.topic for source in self.plan.sources))
        self.changelog = self._new_changelog()
        self._chunks = 0  # that have been run
        self._kept_chunks = (
            -1
        )  # of them, those that what is committed of what it keeps comes from; -1: none is here
        self._first: dict[TopicPartition, int] = {}  # of the records since the last commit
        self._began: float | None = None  # when the open transaction did
        self._rows = 0  # in it
        self._commit: Commit | None = None  # under way
        self._rebalances = 0  # that have been seen
        self._sink_partitions = 1
        self._aborts = 0  # since the last commit
        self._stands: dict[TopicPartition, int] | None = (
            None  # what is committed; None: to be asked
        )

    def start(self) -> None:
        self._thread.start()

    def offsets(self) -> list[tuple[TopicPartition, int, int, int]]:
        """How far it has come: (partition of a source, first offset, offset after the last record, committed)."""
        services, found = self.around.services, []
        for topic in self.topics:
            low, high = begin_offsets(services, topic), end_offsets(services, topic)
            committed = committed_offsets(services, self.around.group(self.id), topic)
            found += [
                (at, low[at], high[at], committed.get(at, self.start_offsets.get(at, low[at])))
                for at in sorted(high)
            ]
        return found

    def pause(self) -> None:
        self._paused.set()
        if self.state == "RUNNING":
            self.state = "PAUSED"

    def resume(self) -> None:
        self._paused.clear()
        if self.state == "PAUSED":
            self.state = "RUNNING"

    def stop(self) -> None:
        """Asks it to end; join() waits."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Whether it has ended within ``timeout`` seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._session()
            except (RetryError, UnavailableError) as error:
                if not self._may_go_on(error):
                    return
            except GradstreamError as error:
                self._fail(str(error))
                return
            except Exception as error:  # noqa: BLE001  one query's bug must not be silent, nor stop the others
                self._fail(f"BUG: {type(error).__name__}: {error}")
                return
        if self.state != "ERROR":
            self.state = "TERMINATED"

    def _fail(self, why: str) -> None:
        self.state, self.failure = "ERROR", why

    def _may_go_on(self, error: GradstreamError) -> bool:
        """Waits, and looks whether this engine has been superseded: another session would stop the new one's queries.

        To be fenced does not tell: the broker fences who was frozen for longer than a transaction may take, too.
        """
        while not self._stop.is_set():
            self.trouble = str(error)
            self._stop.wait(RETRY_SECONDS)
            try:
                if not self._superseded():
                    break
            except GradstreamError as unknown:
                error = unknown
                continue
            self._fail(str(error))
            self._fatal("another engine with this service id has taken over")
            return False
        return True

    def _session(self) -> None:
        """Reads and writes until it is to stop or a client breaks."""
        services, group = self.around.services, self.around.group(self.id)
        self._check_sources()
        self._sink_partitions = partitions(services, self.sink.topic)
        self.pipeline.inputs.partitions = partitions(services, self.plan.source.topic)
        headers = self.pipeline.inputs.needs_headers or self.around.forward_headers
        # The writer first: its init ends what a dead predecessor left open, on which offsets would wait.
        with (
            Writer(
                services,
                transactional_id=group,
                client="confluent" if headers else "librdkafka",
            ) as writer,
            open_reader(
                services,
                self.topics,
                group,
                start=self.reset,
                headers=headers,
                # A restarted engine takes its predecessor's place at once, even if that one was killed.
                group_instance_id=group,
            ) as reader,
        ):
            self.trouble = None
            reader.topic_ids.update(self._topic_ids)
            self._kept_chunks = -1
            self._loop(self._ordered(reader), writer)

    def _ordered(self, reader: Reader) -> Source:
        """Of what keeps rows, the order of times matters."""
        return reader if self.plan.start is None else Interleaved(reader, self.plan.sources)

    def _new_changelog(self) -> Changelog:
        return Changelog(self.around.group(self.id), self.pipeline.inputs.keepers)

    def _restore(self) -> None:
        """What it keeps as of the last commit; no transaction may be open."""
        if self._chunks == self._kept_chunks or self.plan.start is None:
            return
        self.pipeline.inputs.start()
        self.changelog = self._new_changelog()
        restore(self.around.services, self.changelog, self._stop.is_set)
        self._kept_chunks = self._chunks

    def _check_sources(self) -> None:
        """Offsets of a topic that is no more mean nothing in the one that has its name now.

        Raises:
            DataError: TOPIC_RECREATED, UNKNOWN_TOPIC.
        """
        for topic, now in topic_ids(self.around.services, self.topics).items():
            known = self._topic_ids.setdefault(topic, now)
            if known != now:
                raise DataError(
                    "TOPIC_RECREATED",
                    f"topic {topic!r} was deleted and created again since the query was made (id {known}, now {now}), "
                    "so the query does not know which records it has read; terminate it and create it again",
                )

    def _loop(self, reader: Source, writer: Writer) -> None:
        self._rebalances = 0
        self._nothing_is_open()
        self._settle()
        try:
            while not self._stop.is_set():
                try:
                    self._turn(reader, writer)
                except TransactionAborted as error:
                    writer.abort()
                    self._rewind(reader)
                    self._after_abort(error)
            self._end_commit()
            if self._began is not None:
                self._begin_commit(reader, writer)
                self._end_commit()
        finally:
            if self._commit:  # nobody else may use the writer before
                self._commit.join()
            self._commit = None

    def _nothing_is_open(self) -> None:
        self._began, self._rows = None, 0

    def _settle(self) -> None:
        self.settled += 1
        self.phase = "idle"

    def _turn(self, reader: Source, writer: Writer) -> None:
        """One chunk. Under load its output is made while the transaction before it is committed."""
        if self._paused.is_set() and self._began is None:
            self._end_commit()
            self._hold(reader)
            return
        idle = self._began is None and self._commit is None
        records = reader.fetch(CHUNK, IDLE_SECONDS if idle else 0.0)
        if failpoints.ARMED and len(records):
            failpoints.reach("after_fetch")
        self._remember_first(records)
        if reader.rebalances != self._rebalances:
            self._rebalances = reader.rebalances
            self._end_commit()
            writer.abort()
            self._rewind(reader)
            return
        self._chunks += bool(len(records))
        output = self.pipeline.run(records) if len(records) else None
        if failpoints.ARMED and output is not None:
            failpoints.reach("after_run")
        self._end_commit()
        if output is not None:
            if self._began is None:
                self._begin(writer)
            self._send(records, output, writer)
        elif self._began is None and self._passed_markers(reader):
            self._begin(writer)
        self._commit_when_due(reader, writer, drained=len(records) < DRAINED)

    def _begin(self, writer: Writer) -> None:
        self.phase = "computing"
        writer.begin()
        self._began = time.monotonic()

    def _commit_when_due(self, reader: Source, writer: Writer, *, drained: bool) -> None:
        """A transaction ends when no more records are at hand: early where they are few, late under load."""
        if self._began is None:
            return
        late = time.monotonic() - self._began >= COMMIT_SECONDS
        if not (drained or late or self._rows >= COMMIT_ROWS):
            return
        rest = LONG_REST_SECONDS if self._rows < FEW else REST_SECONDS
        self._begin_commit(reader, writer)
        if drained:
            took = self._end_commit()
            self._stop.wait(max(rest, took / 2))

    def _hold(self, reader: Source) -> None:
        """Reads nothing until it is resumed, yet stays in the group."""
        owned = reader.assignment()
        reader.pause(owned)
        rebalances = reader.rebalances
        while self._paused.is_set() and not self._stop.is_set():
            records = reader.fetch(1, 0.2)
            if len(records) or reader.rebalances != rebalances:
                self._remember_first(records)
                rebalances = reader.rebalances
                owned = reader.assignment()
                self._rewind(reader)
                reader.pause(owned)
        reader.resume(owned)
        self._rewind(reader)

    def _after_abort(self, error: TransactionAborted) -> None:
        """Tries again, more slowly each time; a sink that goes on refusing ends the query.

        Raises:
            DataError: SINK_REFUSED.
        """
        self.trouble = str(error)
        self._aborts += 1
        if self._aborts > MAX_ABORTS:
            raise DataError(
                "SINK_REFUSED",
                f"topic {self.sink.topic} did not take the output in {self._aborts} transactions ({error.message}); "
                "mend the topic, then restart the engine or create the query again",
            )
        self._stop.wait(0.05 * 2**self._aborts)

    def _send(self, records: Records, output: Output, writer: Writer) -> None:
        if len(output.values):
            send(writer, self.sink, self._sink_partitions, records, output)
        if output.log:
            writer.send(self.around.log_topic, pa.array(output.log, pa.binary()))
        self._rows += len(records)
        self.counts.read += len(records)
        self.counts.written += len(output.values)
        self.counts.errors += len(output.log)
        self.counts.last_at = time.time()

    def _passed_markers(self, reader: Source) -> bool:
        """Whether the reader has passed ends of transactions since the last commit, and no record. They are offsets of
        their own: uncommitted, they would count as a record that is never read, and who waits for the query to catch
        up would wait in vain.
        """
        if self._stands is None:
            self._stands = reader.committed()
        now = reader.position()
        return any(now.get(at, stood) > stood for at, stood in self._stands.items())

    def _begin_commit(self, reader: Source, writer: Writer) -> None:
        """Start to commit what has been sent; until _end_commit() the writer is not to be touched."""
        self.phase = "committing"
        for change in self.changelog.take_changes():
            writer.send(change.topic, change.values, change.keys)
        stands, group = reader.position(), reader.group_metadata()
        self._nothing_is_open()
        self._commit = Commit(writer, stands, group, self._chunks)

    def _end_commit(self) -> float:
        """Wait for the commit that is under way, if one is; the seconds that it took.

        Raises:
            TransactionAborted, Fenced, UnavailableError: as Writer.commit() does.
        """
        commit, self._commit = self._commit, None
        if commit is None:
            return 0.0
        commit.join()
        commit.check()
        self._stands, self._kept_chunks = commit.stands, commit.chunks
        self.counts.commits += 1
        self._settle()
        self.trouble = None
        self._aborts = 0
        for at in commit.stands:
            self._first.pop(at, None)
        return commit.took

    def _remember_first(self, records: Records) -> None:
        """The first offset of each partition since the last commit, to go back to where the group has none."""
        if not len(records):
            return
        joint = records.topic.astype(np.int64) << 32 | records.partition
        for first in np.unique(joint, return_index=True)[1].tolist():
            at = (records.topics[records.topic[first]], int(records.partition[first]))
            self._first.setdefault(at, int(records.offset[first]))

    def _rewind(self, reader: Source) -> None:
        """Back to the group's committed offsets, else to where the query began, and to what it kept there; no transaction
        may be open.
        """
        self._stands = None
        self._nothing_is_open()
        self._settle()
        owned = reader.assignment()
        committed = reader.committed()
        target = {}
        for at in owned:
            known = committed.get(at, self.start_offsets.get(at, self._first.get(at)))
            if at not in committed and self.start_offsets and at not in self.start_offsets:
                known = EARLIEST  # the partition is younger than the query, so all of it is new
            if known is not None:
                target[at] = known
        if target:
            reader.seek(target)
        self._first.clear()
        self._restore()


def send(
    writer: Writer, sink: catalog.Source, partition_count: int, records: Records, output: Output
) -> None:
    """Hands output over: a record with a key goes where the key hashes to, one without stays in its partition.

    All windows of a key are in one partition: it hashes without its window, as in Kafka Streams.
    """
    partitions_ = None
    no_key = np.asarray(output.keys.is_null())
    if sink.window is not None and partition_count > 1:
        partitions_ = partitions_of(unwindowed(output.keys, sink.window)[0], partition_count)
    elif no_key.any() and partition_count > 1:
        own = records.partition[output.rows] % partition_count
        partitions_ = np.where(no_key, own, -1).astype(np.int32)
    headers: list[Headers] = []
    if records.headers is not no_headers:
        headers = [records.headers(row) for row in output.rows.tolist()]
    writer.send(
        sink.topic,
        output.values,
        None if no_key.all() else output.keys,
        output.timestamps,
        partitions_,
        headers if any(headers) else None,
    )
