"""The statements that made the engine what it is, as a Kafka topic; replayed before the engine is ready.

One partition, one JSON record a statement, variables already put in. Beside the text stands what a replay must not
ask for again: the query's number, the ids of inferred schemas, the offsets from which a query starts. The first record
of each run of an engine says where it listens: a second engine with the same service id asks there, and refuses to
start if it gets an answer. Should it get none although the first one lives, the newest of these records tells the first
that it has been superseded.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx2
import orjson
import pyarrow as pa

from gradstream import failpoints
from gradstream.config import Services
from gradstream.errors import DataError, RetryError, UnavailableError
from gradstream.wire.kafka import begin_offsets, end_offsets, ensure_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.reader_base import Isolation
from gradstream.wire.writer import OutcomeUnknown, TransactionAborted, Writer

VERSION = 1
_REALM = re.compile(r'realm="([^"]*)"')
CONFIGS = {"cleanup.policy": "delete", "retention.ms": "-1"}


@dataclass(frozen=True, slots=True)
class Command:
    """One executed statement.

    Attributes:
        number: the n of the query ids that the statement may have made.
        properties: those that held for it, beyond the server's own.
        schema_ids: for ``topic/key`` or ``topic/value``, the registered schema whose columns were taken.
        start: for ``topic:partition``, the offset from which the query reads while its group has none.
        topic_id: of the topic that the statement deletes.
        topic_ids: of the topics that the query reads.
        query_id: of the query that the statement started, where it is another than its number gives.
    """

    statement: str
    number: int
    properties: dict[str, Any] = field(default_factory=dict)
    schema_ids: dict[str, int] = field(default_factory=dict)
    start: dict[str, int] = field(default_factory=dict)
    query_id: str | None = None
    topic_id: str | None = None
    topic_ids: dict[str, str] = field(default_factory=dict)


class Leader(dict[str, Any]):
    """What an engine tells about itself when it takes over: address, host, pid, and a name of this run of it."""


class CommandLog:
    """The command topic of one service id."""

    def __init__(self, services: Services, service_id: str) -> None:
        self.services = services
        self.service_id = service_id
        self.topic = f"_confluent-ksql-{service_id}_command_topic"
        self.count = 0
        self._writer: Writer | None = None
        self._own: Leader | None = None

    def replay(self) -> Iterator[Command]:
        """All commands from the first on, after lead().

        Raises:
            DataError: BAD_COMMAND, written by a later version or by something else.
        """
        for found in self._read("read_uncommitted"):
            if isinstance(found, Command):
                self.count += 1
                yield found

    def _look(self, isolation: Isolation) -> tuple[Leader | None, Command | None]:
        """The newest leader and the last command."""
        leader: Leader | None = None
        last: Command | None = None
        for found in self._read(isolation):
            if isinstance(found, Command):
                last = found
            else:
                leader = found
        return leader, last

    def _read(self, isolation: Isolation) -> Iterator[Command | Leader]:
        """All records.

        Args:
            isolation: whether what is behind an open transaction is waited for (read_uncommitted) or left out.
        """
        at = (self.topic, 0)
        end = end_offsets(self.services, self.topic, isolation=isolation)[at]
        begin = begin_offsets(self.services, self.topic)[at]
        if begin >= end:
            return
        # The other client would bring the compiler into an engine that has nothing to do yet.
        with open_log_reader(self.services, {at: begin}, client="confluent") as reader:
            while reader.position().get(at, begin) < end:
                records = reader.fetch(1000, 0.2)
                for offset, value in zip(
                    records.offset.tolist(), records.value.to_pylist(), strict=True
                ):
                    yield self._parsed(offset, value)

    def _parsed(self, offset: int, value: bytes | None) -> Command | Leader:
        try:
            found: dict[str, Any] = orjson.loads(value or b"")
            if "engine" in found:
                return Leader(found["engine"])
            if found.pop("version") != VERSION:
                raise ValueError("another version")
            return Command(**found)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                "BAD_COMMAND",
                f"{self.topic}, offset {offset} is no statement of this engine ({error}); "
                "use another --service-id, or the version that wrote it",
            ) from None

    def lead(self, address: str) -> None:
        """Take over the log.

        Raises:
            RetryError: ENGINE_RUNNING, another engine with this service id answers.
            DataError: BAD_COMMAND.
        """
        ensure_topics(self.services, {self.topic: 1}, CONFIGS)
        leader, _ = self._look("read_committed")
        self._check_leader(leader, address)
        # This ends a transaction that a dead predecessor has left open; replay() would wait for its end otherwise.
        self._writer = Writer(
            self.services, transactional_id=f"_confluent-ksql-{self.service_id}_command_runner"
        )
        host, pid = socket.gethostname(), os.getpid()
        self._own = Leader({"address": address, "host": host, "pid": pid, "run": uuid.uuid4().hex})
        self._append({"engine": self._own})

    def superseded(self) -> bool:
        """Whether another engine has taken over the log since; from any thread."""
        leader, _ = self._look("read_uncommitted")
        return leader != self._own

    def _check_leader(self, leader: Leader | None, own_address: str) -> None:
        if not leader or leader["host"] != socket.gethostname():
            return
        if _bare(leader["address"]) == _bare(own_address):
            return  # the port is ours now, so whoever had it is gone
        address = leader["address"]
        if "://" not in address:  # as engines without TLS wrote it
            address = f"http://{address}"
        if _service_at(address) == self.service_id:
            raise RetryError(
                "ENGINE_RUNNING",
                f"an engine with service id {self.service_id!r} runs at {address} "
                f"(pid {leader['pid']}); stop it, or start this one with another --service-id",
            )

    def append(self, command: Command) -> int:
        """Write a command; it is durable when this returns. Returns its sequence number.

        Raises:
            TransactionAborted: it is not in the log.
            RetryError: another engine has taken over, or it is open whether the command is in the log.
        """
        try:
            self._append({"version": VERSION, **asdict(command)})
        except OutcomeUnknown as error:
            if not self._is_last(command):
                raise TransactionAborted("NOT_LOGGED", f"{error.message}; try again") from error
        self.count += 1
        return self.count - 1

    def _is_last(self, command: Command) -> bool:
        """Whether a command whose commit was not answered is in the log: a new producer makes the broker decide."""
        assert self._writer is not None
        try:
            self._writer.begin()
            self._writer.abort()
            _, last = self._look("read_uncommitted")
        except UnavailableError as error:
            raise RetryError("OUTCOME_UNKNOWN", f"is the statement logged? {error}") from error
        return last is not None and last.number == command.number

    def _append(self, record: Mapping[str, Any]) -> None:
        assert self._writer is not None, "lead() comes first"
        with failpoints.of_commands():
            self._writer.begin()
            try:
                self._writer.send(self.topic, pa.array([orjson.dumps(record)], pa.binary()))
            except BaseException:
                self._writer.abort()  # or no later statement could be written
                raise
            self._writer.commit(None, None)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None


def _bare(address: str) -> str:
    """Host and port of an address."""
    return address.rpartition("://")[2]


def _service_at(url: str) -> str | None:
    """The service id of the engine that answers there. One that lets us not in tells it as its realm."""
    try:
        # Nothing secret is sent, and a certificate need not be for the number that we ask.
        info = httpx2.get(f"{url}/info", timeout=2.0, trust_env=False, verify=False)
        if info.status_code == 401:
            found = _REALM.search(info.headers["WWW-Authenticate"])
            return found[1] if found else None
        service: str = info.json()["KsqlServerInfo"]["ksqlServiceId"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None
    return service
