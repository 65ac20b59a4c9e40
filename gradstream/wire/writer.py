"""Columns to topics, alone or in transactions that carry the reader's offsets too.

    GradstreamError
    ├── RetryError
    │   ├── TransactionAborted   nothing of it counts: go back to the last commit, then go on
    │   │   ├── Refused          a topic is gone or does not take such records: mend it first
    │   │   └── OutcomeUnknown   it may count or not: look in the log what was committed, then go on
    │   └── Fenced               another process writes under our name now: stop
    └── UnavailableError
        └── ProducerBroken       this writer can do nothing more: stop, then start again

A transaction, as the trainer's loop writes it:

    writer.begin()
    writer.send("weights", values)
    writer.commit({("training", 0): 4096}, reader.group_metadata())
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext, suppress
from itertools import repeat
from operator import length_hint
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as Place

from gradstream import failpoints
from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, RetryError, UnavailableError
from gradstream.wire.kafka import Setting, check_broker, quiet, settings
from gradstream.wire.records import Headers, TopicPartition

_COMMIT_SLICE = 0.1  # seconds after which a transaction that has gone wrong is noticed
_SLICE = 1.0  # seconds in one call of the client: it is deaf to Ctrl-C meanwhile
_START_DEADLINE = 30.0  # seconds to become the one writer of a transactional id
_CHUNK = 4096  # records handed over between two looks at signals and failures
_OVERHEAD = 100  # bytes that Kafka may add to a record and its batch, out of message.max.bytes
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_FORGOTTEN = (KafkaError.INVALID_PRODUCER_ID_MAPPING, KafkaError.UNKNOWN_PRODUCER_ID)
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # what an abort does, no failure
# A topic that is gone or does not take such records: the same transaction again would fail again.
_REFUSED = (
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)
_BROKEN_LINE = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)


class TransactionAborted(RetryError):  # noqa: N818  the name is what happened
    """Nothing of the transaction counts; the caller seeks its reader back to the committed offsets and goes on."""


class OutcomeUnknown(TransactionAborted):
    """Whether the transaction counts must be read from the log; this writer can begin the next one."""


class Refused(TransactionAborted):
    """A topic is gone, or does not take such a record: the same transaction again would end in the same way."""


class Fenced(RetryError):  # noqa: N818  the name is what happened
    """Another writer with the same transactional id has taken over; whoever holds this one must stop."""


class ProducerBroken(UnavailableError):  # noqa: N818  the name is what happened
    """The client cannot go on; nothing of an open transaction counts."""


class Writer:
    """Sends columns of bytes, in order within each partition, each record once.

    Belongs to the thread that uses it, and does not survive a fork.

    Args:
        transactional_id: name under which transactions are written; stable across restarts, one process at a time.
        commit_timeout: seconds after which an unanswered commit or abort is given up.
        client: librdkafka's C API takes a record in a quarter of the time, but no headers, and brings Numba; where its
            library is not found, and with ``GRADSTREAM_CLIENT=confluent``, it is confluent-kafka's Producer anyway.
        tuning: settings of the Kafka client with underscores for dots, such as ``linger_ms=0``.

    Attributes:
        failed: records whose delivery failed for good.
        first_failure: why the first of them failed.
        before_renewal: called before a new producer takes the place of one that was in use. It fences whoever has
            taken over meanwhile, so what knows of them may raise here.

    Raises:
        UnavailableError: ``BROKER_UNREACHABLE``.
        Fenced: with a transactional id that a newer writer took meanwhile.
    """

    def __init__(
        self,
        services: Services,
        *,
        transactional_id: str | None = None,
        commit_timeout: float = 30.0,
        client: Literal["librdkafka", "confluent"] = "confluent",
        **tuning: Setting,
    ) -> None:
        self._client = _usable(client)
        self._taken = np.zeros(1, np.int64)
        self.failed = 0
        self.first_failure: str | None = None
        self.before_renewal: Callable[[], None] | None = None
        self._refusal: str | None = None  # of a record of this transaction, by its topic
        self._purged = 0
        self._services = services
        self._transactional_id = transactional_id
        self._commit_timeout = commit_timeout
        self._state: Literal["idle", "open", "spoilt", "committing", "closed"] = "idle"
        self._failed_before = 0  # failures when the transaction began
        self._line_broke = False  # since the transaction began
        self._fatal: KafkaError | None = None
        self._settings = _producer_settings(services, transactional_id, tuning)
        self._limit = int(self._settings["message.max.bytes"])
        check_broker(services)
        self._producer: Any = self._connect()

    @property
    def sent(self) -> int:
        """Records handed over so far."""
        return int(self._taken[0])

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction waits for commit() or abort()."""
        return self._state in ("open", "spoilt", "committing")

    @property
    def delivered(self) -> int:
        """Records that the broker has acknowledged; exact after flush()."""
        on_the_way = len(self._producer) if self._producer is not None else 0
        return max(0, self.sent - self.failed - self._purged - on_the_way)

    # Sending

    def send(
        self,
        topic: str,
        values: pa.BinaryArray,
        keys: pa.BinaryArray | None = None,
        timestamps: npt.NDArray[np.int64] | None = None,
        partitions: npt.NDArray[np.int32] | None = None,
        headers: Sequence[Headers] | None = None,
    ) -> None:
        """Hand n records over; a null value is a tombstone. Waits while the queue to the broker is full.

        Args:
            values, keys: of length n; without keys and partitions, Kafka spreads the records.
            timestamps: int64 (n,), milliseconds since 1970; without them, and for a negative one, the time of the call.
                For that librdkafka takes 0, which has no other form in its interface, so a 0 is written as 1.
            partitions: int32 (n,).
            headers: of length n.

        Raises:
            DataError: ``RECORD_TOO_LARGE``, before any of the records is sent.
            UnavailableError: ``SEND_FAILED``, ``QUEUE_FULL``; in a transaction only abort() may follow.
        """
        self._check_open()
        if self._state == "spoilt":
            raise ConfigError("TRANSACTION_SPOILT", "an earlier send failed; abort the transaction")
        if self._transactional_id is not None and self._state != "open":
            raise ConfigError(
                "NO_TRANSACTION", "this writer sends in transactions; begin one first"
            )
        try:
            _check_lengths(len(values), keys, timestamps, partitions, headers)
            self._check_sizes(topic, values, keys)
            timestamps = _without_zeros(timestamps)
            if self._client == "librdkafka":
                self._hand_over(topic, values, keys, timestamps, partitions, headers)
            else:
                for rows in _rows(values, keys, timestamps, partitions, headers):
                    self._produce(topic, rows)
                    self._serve(0)
        except BaseException:
            # A record is missing, and librdkafka would commit the others without it.
            self._spoil()
            raise
        if failpoints.ARMED and self._state == "open":
            failpoints.reach("after_produce")

    def _produce(self, topic: str, rows: list[list[Any]]) -> None:
        """Hand over rows, given as columns in the order of produce()'s arguments.

        The loop runs in C, where no signal is served, so that Ctrl-C cannot come between a record and its counting.
        """
        count = len(rows[0])
        columns = [iter(column) for column in rows]
        calls = map(self._producer.produce, repeat(topic), *columns)
        done = 0
        while done < count:
            refused: BufferError | KafkaException | None = None
            try:
                deque(calls, maxlen=0)
            except (BufferError, KafkaException) as error:
                refused = error
            finally:  # a Ctrl-C that waited comes out as soon as the loop ends
                taken = count - length_hint(columns[0]) - (refused is not None)
                self._taken[0], done = self.sent + taken - done, taken
            if isinstance(refused, KafkaException):
                raise self._send_failed(topic, refused) from refused
            if refused:
                self._produce_when_there_is_room(topic, *(column[done] for column in rows))
                self._taken[0], done = self.sent + 1, done + 1

    def _hand_over(
        self,
        topic: str,
        values: pa.BinaryArray,
        keys: pa.BinaryArray | None,
        timestamps: npt.NDArray[np.int64] | None,
        partitions: npt.NDArray[np.int32] | None,
        headers: Sequence[Headers] | None,
    ) -> None:
        """As _produce, by compiled code, which counts what it has handed over."""
        if headers is not None:
            raise ConfigError("BAD_SEND", "librdkafka takes no headers; use client='confluent'")
        before, since = self.sent, time.monotonic()
        patience = float(self._settings["message.timeout.ms"]) / 1000
        while (done := self.sent - before) < len(values):
            rows = slice(done, done + _CHUNK)
            try:
                self._producer.send(topic, rows, values, keys, timestamps, partitions, self._taken)
            except KafkaException as error:
                raise self._send_failed(topic, error) from error
            except BufferError:
                if self.sent - before > done:
                    since = time.monotonic()
                if time.monotonic() - since > patience:
                    raise _no_room(topic) from None
                self._serve(0.05)
            else:
                since = time.monotonic()
                self._serve(0)

    def _produce_when_there_is_room(self, *record: Any) -> None:
        deadline = time.monotonic() + float(self._settings["message.timeout.ms"]) / 1000
        while time.monotonic() < deadline:
            self._serve(0.05)
            try:
                self._producer.produce(*record)
            except BufferError:
                continue
            except KafkaException as error:
                raise self._send_failed(record[0], error) from error
            return
        raise _no_room(record[0])

    def _serve(self, timeout: float) -> None:
        """Let the client call back; a fatal error of it comes out here."""
        try:
            _unwrapped(self._producer.poll, timeout)
        except KafkaException as error:
            raise self._gone(error.args[0]) from error

    def _send_failed(self, topic: str, error: KafkaException) -> Exception:
        cause = error.args[0]
        if cause.code() in (KafkaError._FATAL, *_FENCED) or cause.fatal():
            return self._gone(cause)
        if cause.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return DataError(
                "RECORD_TOO_LARGE",
                f"a record for {topic!r} is over message.max.bytes, {self._limit} bytes",
            )
        return UnavailableError("SEND_FAILED", f"a record for {topic!r} was refused: {cause.str()}")

    def _check_sizes(self, topic: str, values: pa.BinaryArray, keys: pa.BinaryArray | None) -> None:
        if len(values) == 0:
            return
        sizes = _sizes_of(values)
        if keys is not None:
            sizes = sizes + _sizes_of(keys)
        largest = int(sizes.argmax())
        if sizes[largest] > self._limit - _OVERHEAD:
            raise DataError(
                "RECORD_TOO_LARGE",
                f"record {largest} of {len(values)} for {topic!r} has {sizes[largest]} bytes, over the limit of "
                f"{self._limit - _OVERHEAD} (message.max.bytes less {_OVERHEAD}); make it smaller, or raise the "
                "limit here, of the topic and of the broker",
            )

    def flush(self, timeout: float = 30.0) -> None:
        """Return when all is delivered or has failed; see ``failed``.

        Raises:
            UnavailableError: ``FLUSH_TIMEOUT``, records are still on their way after ``timeout`` seconds.
        """
        self._check_open()
        deadline = time.monotonic() + timeout
        while left := self._flush_for(min(_SLICE, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    "FLUSH_TIMEOUT",
                    f"{left} records wait for {self._services.bootstrap_servers} after {timeout:.0f} s; "
                    "is the broker up?",
                )

    def _flush_for(self, timeout: float) -> int:
        """How many records are still on their way after ``timeout`` seconds."""
        try:
            left: int = _unwrapped(self._producer.flush, timeout)
        except KafkaException as error:
            raise self._gone(error.args[0]) from error
        if self._fatal:
            raise self._gone(self._fatal)
        return left

    # Transactions

    def begin(self) -> None:
        """Open a transaction."""
        self._check_open()
        if self._transactional_id is None:
            raise ConfigError("NO_TRANSACTION", "this writer was made without a transactional id")
        if self._state != "idle":
            raise ConfigError("TRANSACTION_OPEN", "commit or abort the open transaction first")
        if self._fatal:
            raise self._gone(self._fatal)
        self._serve(0)
        if self._line_broke:
            # librdkafka cannot tell a late answer to an old commit from one to the next (KIP-890), a new epoch can.
            self._reconnect()
        self._failed_before, self._refusal = self.failed, None
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            if error.args[0].fatal():
                raise self._gone(error.args[0]) from error
            self._reconnect()
            self._producer.begin_transaction()
        self._state = "open"
        if failpoints.ARMED:
            failpoints.reach("after_begin")

    def commit(
        self, offsets: Mapping[TopicPartition, int] | None, group_metadata: object | None
    ) -> None:
        """Commit the records sent since begin() together with the reader's next offsets.

        Args:
            offsets: the next offset to read by partition, such as Reader.position(); None or empty for none.
            group_metadata: Reader.group_metadata(), asked just now.

        Raises:
            TransactionAborted, Refused, OutcomeUnknown, Fenced, ProducerBroken: see the top of this module.
        """
        self._check_open()
        if self._state == "idle":
            raise ConfigError(
                "NO_TRANSACTION", "there is no transaction to commit; begin one first"
            )
        deadline = time.monotonic() + self._commit_timeout
        if offsets and self._state == "open":  # while the records are on their way
            places = [Place(*at, offset) for at, offset in sorted(offsets.items())]
            send = self._producer.send_offsets_to_transaction
            self._finish(lambda left: send(places, group_metadata, left), deadline, "send offsets")
            if failpoints.ARMED:
                failpoints.reach("after_send_offsets")
        self._flush_for_commit(deadline)
        if failpoints.ARMED:
            failpoints.reach("after_flush")
        if self._state == "spoilt" or self.failed > self._failed_before:
            refusal, self._refusal = self._refusal, None
            self.abort()
            if refusal:
                raise Refused("SEND_FAILED", refusal)
            raise TransactionAborted(
                "TRANSACTION_ABORTED", f"a record was not delivered ({self.first_failure})"
            )
        self._state = "committing"
        with failpoints.during("during_commit") if failpoints.ARMED else nullcontext():
            self._finish(self._producer.commit_transaction, deadline, "commit")
        if failpoints.ARMED:
            failpoints.reach("after_commit")
        self._state = "idle"

    def abort(self) -> None:
        """Drop the open transaction; without one it does nothing. Does not rewind the reader."""
        self._check_open()
        if self._state == "idle":
            return
        deadline = time.monotonic() + self._commit_timeout
        if self._state == "committing":  # it may be done already, so it must not be dropped now
            self._finish(self._producer.commit_transaction, deadline, "commit")
            self._state = "idle"
            return
        self._abort(deadline)

    def renew(self) -> None:
        """A new producer instead of one that is fenced or broken; where somebody else has taken over, it fences them."""
        self._check_open()
        self._reconnect()

    def close(self, timeout: float = 10.0) -> None:
        """Abort an open transaction, or flush what was sent without one; a second call does nothing."""
        if self._state == "closed":
            return
        try:
            if self._fatal or self._producer is None:
                return
            if self._state == "idle":
                self.flush(timeout)
            else:
                self._part(min(timeout, 2 * _SLICE))
        finally:
            self._state = "closed"
            self._discard()

    def abandon(self) -> None:
        """Instead of close(), where another thread is still in a call: the broker drops what is open when we are gone."""
        self._state = "closed"

    def _part(self, timeout: float) -> None:
        """End a transaction while closing; where that fails, the broker drops it when we are gone."""
        with suppress(KafkaException):
            if self._state == "committing":
                _unwrapped(self._producer.commit_transaction, timeout)
            else:
                self._producer.purge()
                _unwrapped(self._producer.flush, timeout / 2)
                _unwrapped(self._producer.abort_transaction, timeout / 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(UnavailableError):  # the first error is the one to tell
                self.close(2 * _SLICE)

    # How a transaction ends

    def _flush_for_commit(self, deadline: float) -> None:
        """Wait for the records before the commit: otherwise librdkafka takes 100 ms longer for it.

        Where one of them has failed, librdkafka keeps the others back and tells of none, so they are not waited for.
        """
        while left := self._flush_for(_COMMIT_SLICE):
            if self.failed > self._failed_before:
                return
            if cause := self._abortable():
                self._abort(deadline)
                raise TransactionAborted("TRANSACTION_ABORTED", f"a record failed: {cause.str()}")
            if time.monotonic() > deadline:
                self._renew()
                raise TransactionAborted(
                    "TRANSACTION_ABORTED", f"{left} records were not delivered in time"
                )

    def _abortable(self) -> KafkaError | None:
        """Why the open transaction can only be aborted, if so: to begin another is refused, with the reason."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            return cause if cause.txn_requires_abort() else None
        raise AssertionError("a second transaction began within one")

    def _finish(self, call: Callable[[float], None], deadline: float, what: str) -> None:
        """Call until it is done or refused for good: the same call again is right after a timeout, another is not."""
        while True:
            try:
                _unwrapped(call, max(0.1, min(_SLICE, deadline - time.monotonic())))
                return
            except KafkaException as error:
                cause = error.args[0]
            if cause.code() in _FORGOTTEN:
                self._renew()
                raise TransactionAborted("TRANSACTION_ABORTED", f"{what}: {cause.str()}")
            if cause.fatal() or self._fatal:
                self._state = "idle"
                raise self._gone(self._fatal or cause)
            if cause.txn_requires_abort():
                self._abort(deadline)
                raise TransactionAborted("TRANSACTION_ABORTED", f"{what}: {cause.str()}")
            if not cause.retriable() and cause.code() not in _BROKEN_LINE:
                self._state = "idle"
                raise self._gone(cause)
            # Asked again after a broken line, send_offsets never returned, whatever its timeout; nothing is lost by
            # starting over, since no commit has been asked for.
            lost = self._state != "committing" and cause.code() in _BROKEN_LINE
            if lost or time.monotonic() > deadline:
                self._give_up(cause, what)
            time.sleep(0.01)

    def _give_up(self, cause: KafkaError, what: str) -> None:
        """No answer in time: a new producer makes the broker end the old transaction, one way or the other."""
        unknown = self._state == "committing"
        self._renew()
        if unknown:
            raise OutcomeUnknown("OUTCOME_UNKNOWN", f"{what} was not answered: {cause.str()}")
        raise TransactionAborted("TRANSACTION_ABORTED", f"{what} was not answered: {cause.str()}")

    def _abort(self, deadline: float) -> None:
        self._state = "idle"
        while True:
            try:
                # Before the first acknowledgement an abort can turn fatal (librdkafka #4849).
                left = max(0.1, min(_SLICE, deadline - time.monotonic()))
                _unwrapped(self._producer.flush, left)
                _unwrapped(self._producer.abort_transaction, left)
                return
            except KafkaException as error:
                cause = error.args[0]
            if cause.code() in _FENCED or (self._fatal and self._fatal.code() in _FENCED):
                raise self._gone(self._fatal or cause)
            retriable = cause.retriable() or cause.code() in _BROKEN_LINE
            if cause.fatal() or not retriable or time.monotonic() > deadline:
                self._renew()  # which aborts it
                return

    def _gone(self, cause: KafkaError) -> Fenced | ProducerBroken:
        """The error for a producer that can do nothing more."""
        self._fatal = self._fatal or cause
        if self._fatal.code() in _FENCED or cause.code() in _FENCED:
            return Fenced(
                "FENCED",
                f"another process writes as {self._transactional_id!r} now; stop this one, or give it another run id",
            )
        return ProducerBroken(
            "PRODUCER_BROKEN", f"the Kafka producer cannot go on: {cause.str()}; start again"
        )

    def _spoil(self) -> None:
        if self._state == "open":
            self._state = "spoilt"

    # The client behind

    def _connect(self) -> Any:
        self._line_broke = False
        made = self._new()
        # Its producer id it asks for once a broker is known, and looks for one every half second, unless it is made to now.
        with suppress(KafkaException):
            _unwrapped(made.list_topics, None, _SLICE)
        if self._transactional_id is None:
            return made
        # The end of an earlier transaction is waited for, the broker's own time out of one included.
        deadline = time.monotonic() + _START_DEADLINE
        while True:
            try:
                _unwrapped(made.init_transactions, _SLICE)
            except KafkaException as error:
                cause = error.args[0]
                if cause.fatal() or not (cause.retriable() or cause.code() in _BROKEN_LINE):
                    raise self._gone(cause) from error
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        "BROKER_UNREACHABLE",
                        f"no answer to the start of transactions at {self._services.bootstrap_servers}: "
                        f"{cause.str()}",
                    ) from error
            else:
                self._line_broke = False
                return made

    def _new(self) -> Any:
        if self._client == "librdkafka":
            # Imported here, since it brings Numba, and who sends a few records need not wait for that.
            from gradstream.wire.librdkafka_producer import LibrdkafkaProducer

            return LibrdkafkaProducer(self._settings, self._on_error, self._on_delivery)
        return Producer(
            {
                **quiet(self._settings),
                "error_cb": self._on_error,
                "on_delivery": self._on_delivery,
            }
        )

    def _reconnect(self) -> None:
        """A new producer: its epoch is higher, so the broker ends the old one's transaction and takes no more of it."""
        self._state = "idle"
        self._discard()
        if self.before_renewal:
            self.before_renewal()
        self._fatal = None
        self._producer = self._connect()

    def _renew(self) -> None:
        """As _reconnect, but where the broker is away now, the next begin() does it."""
        with suppress(UnavailableError):
            self._reconnect()

    def _discard(self) -> None:
        old, self._producer = self._producer, None
        if old is None:
            return
        with suppress(KafkaException):
            old.purge()
            _unwrapped(old.poll, 0)
        self._purged += len(old)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = self._fatal or error
        elif error.code() in _BROKEN_LINE:
            self._line_broke = True

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            return
        if error.code() in _PURGED:
            self._purged += 1
            return
        self.failed += 1
        if error.code() in _REFUSED:
            self._refusal = (
                f"topic {message.topic()!r} takes no more records of ours ({error.str()}), and nothing of the "
                "transaction counts; mend the topic, then start again"
            )
        if self.first_failure is None:
            self.first_failure = f"topic {message.topic()!r}: {error.str()}"

    def _check_open(self) -> None:
        if self._state == "closed":
            raise ConfigError("WRITER_CLOSED", "this writer is closed; open another")
        if self._producer is None:  # the broker was away when the last one was given up
            self._reconnect()


def _producer_settings(
    services: Services, transactional_id: str | None, tuning: Mapping[str, Setting]
) -> dict[str, Setting]:
    made: dict[str, Setting] = {
        "linger.ms": 5,
        "message.max.bytes": 1_000_000,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 128 << 10,
        # As Java's producers, so that equal keys meet in the same partition whoever wrote them.
        "partitioner": "murmur2_random",
        "message.timeout.ms": 30_000,
        **settings(services, {name.replace("_", "."): value for name, value in tuning.items()}),
        "enable.idempotence": True,
        # No Python call for each record that arrived.
        "delivery.report.only.error": True,
    }
    if transactional_id is not None:
        made["transactional.id"] = transactional_id
        # Below the group's session timeout: a dead member's transaction must not outlive its membership.
        made.setdefault("transaction.timeout.ms", 30_000)
        made["message.timeout.ms"] = min(
            int(made["message.timeout.ms"]), int(made["transaction.timeout.ms"])
        )
    return made


def _usable(client: Literal["librdkafka", "confluent"]) -> Literal["librdkafka", "confluent"]:
    if os.environ.get("GRADSTREAM_CLIENT") == "confluent":
        return "confluent"
    if client == "librdkafka":
        from gradstream.wire import librdkafka

        try:
            librdkafka.load()
        except UnavailableError:
            return "confluent"
    return client


def _no_room(topic: str) -> UnavailableError:
    return UnavailableError(
        "QUEUE_FULL", f"records for {topic!r} wait, and the broker takes none; is it up?"
    )


def _check_lengths(n: int, *columns: Sized | None) -> None:
    for column in columns:
        if column is not None and len(column) != n:
            raise ConfigError("BAD_SEND", f"{n} values came with a column of {len(column)}")


def _without_zeros(timestamps: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
    """Milliseconds for librdkafka, to which 0 is the time of the call."""
    if timestamps is None or (timestamps > 0).all():
        return timestamps
    return np.where(timestamps < 0, 0, np.maximum(timestamps, 1))


def _ends_of(values: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """Where each value begins and ends in the data buffer, shape (n + 1,)."""
    ends = np.frombuffer(values.buffers()[1], np.int32)
    return ends[values.offset : values.offset + len(values) + 1]


def _sizes_of(values: pa.BinaryArray) -> npt.NDArray[np.int64]:
    ends = _ends_of(values).astype(np.int64)
    return ends[1:] - ends[:-1]


def _rows(
    values: pa.BinaryArray,
    keys: pa.BinaryArray | None,
    timestamps: npt.NDArray[np.int64] | None,
    partitions: npt.NDArray[np.int32] | None,
    headers: Sequence[Headers] | None,
) -> Iterator[list[list[Any]]]:
    """Chunks of rows as columns of Python objects, in the order of produce()'s arguments after the topic."""
    plain = keys is None and timestamps is None and partitions is None and headers is None
    for first in range(0, len(values), _CHUNK):
        rows = slice(first, first + _CHUNK)
        columns = [_bytes_of(values[rows])]
        n = len(columns[0])
        if not plain:
            nothing = [None] * n
            columns += [
                nothing if keys is None else _bytes_of(keys[rows]),
                [-1] * n if partitions is None else partitions[rows].tolist(),
                nothing,
                nothing,
                [0] * n if timestamps is None else timestamps[rows].tolist(),
                nothing if headers is None else list(headers[rows]),
            ]
        yield columns


def _bytes_of(values: pa.BinaryArray) -> list[Any]:
    """Each value as bytes or None, cut from one copy of the data: the fastest way to what produce() takes."""
    if values.null_count == len(values):
        return [None] * len(values)
    ends = _ends_of(values)
    first = int(ends[0])
    data = values.buffers()[2]
    whole = data.slice(first, int(ends[-1]) - first).to_pybytes() if data else b""
    cuts = (ends - first).tolist()
    made: list[Any] = list(map(whole.__getitem__, map(slice, cuts, cuts[1:])))
    if values.null_count:
        for row in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)).tolist():
            made[row] = None
    return made


def _unwrapped(call: Callable[..., Any], *arguments: Any) -> Any:
    """A call of the client; its fatal error, which callbacks may have wrapped while it passed them, as it was."""
    try:
        return call(*arguments)
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise
