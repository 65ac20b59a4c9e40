"""Sending in bulk, and transactions that count once or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError
from gradstream.wire import kafka
from gradstream.wire.reader import open_log_reader, open_reader
from gradstream.wire.records import Headers
from gradstream.wire.writer import Fenced, OutcomeUnknown, TransactionAborted, Writer
from tests.crowd import in_time

pytestmark = pytest.mark.integration
Names = Callable[[str], str]


@pytest.fixture(autouse=True, params=["librdkafka", "confluent"])
def writing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both Kafka clients that a Writer can stand on."""
    defaults = Writer.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "client", request.param)
    return str(request.param)


def column(*values: bytes | None) -> pa.BinaryArray:
    return pa.array(values, pa.binary())


def read(services: Services, topic: str, n: int, drain: Any) -> list[bytes | None]:
    with open_log_reader(services, {(topic, 0): 0}) as reader:
        return [row[5] for row in drain.rows(drain(reader, n, within=1.5))]


def test_sent_values_are_counted_and_arrive_in_order(
    services: Services, topic: str, drain: Any
) -> None:
    values = [b"%d" % i for i in range(5000)]
    with Writer(services) as writer:
        writer.send(topic, column(*values))
        writer.flush()
        assert (writer.sent, writer.delivered, writer.failed) == (5000, 5000, 0)
        assert writer.first_failure is None
    assert read(services, topic, 5000, drain) == values


def test_slices_and_nulls_are_cut_right(services: Services, topic: str, drain: Any) -> None:
    whole = column(b"skip", b"a", None, b"", b"bcd", None, b"skip")
    keys = column(b"skip", None, b"k", b"", None, b"kk", b"skip")
    with Writer(services) as writer:
        writer.send(topic, whole.slice(1, 5), keys.slice(1, 5))
        writer.send(topic, whole.slice(1, 5))
        writer.send(topic, whole.slice(3, 2))
        writer.send(topic, whole.slice(2, 1))
        writer.send(topic, whole.slice(2, 0))
        writer.send(topic, pa.nulls(2, pa.binary()))
    with open_log_reader(services, {(topic, 0): 0}) as reader:
        rows = [row[4:6] for row in drain.rows(drain(reader, 15))]
    values = [b"a", None, b"", b"bcd", None]
    keyed = list(zip([None, b"k", b"", None, b"kk"], values, strict=True))
    rest = [*values, b"", b"bcd", None, None, None]
    assert rows == [*keyed, *((None, value) for value in rest)]


def test_only_a_negative_time_is_the_time_of_the_call(
    services: Services, topic: str, drain: Any
) -> None:
    before = time.time_ns() // 1_000_000
    with Writer(services) as writer:
        writer.send(topic, column(b"a", b"b", b"c"), timestamps=np.array([0, -1, before]))
    with open_log_reader(services, {(topic, 0): 0}) as reader:
        times = {row[5]: row[3] for row in drain.rows(drain(reader, 3))}
    assert times[b"a"] == 1
    assert before <= times[b"b"] <= time.time_ns() // 1_000_000
    assert times[b"c"] == before


def test_equal_keys_go_where_java_would_send_them(
    services: Services, wide_topic: str, drain: Any
) -> None:
    """Partitions by Java's murmur2, worked out here by its definition."""

    def murmur2(data: bytes) -> int:
        m, h = 0x5BD1E995, 0x9747B28C ^ len(data)
        whole = len(data) // 4 * 4
        for i in range(0, whole, 4):
            k = int.from_bytes(data[i : i + 4], "little") * m & 0xFFFFFFFF
            k = (k ^ k >> 24) * m & 0xFFFFFFFF
            h = (h * m & 0xFFFFFFFF) ^ k
        if data[whole:]:
            h = (h ^ int.from_bytes(data[whole:], "little")) * m & 0xFFFFFFFF
        h = (h ^ h >> 13) * m & 0xFFFFFFFF
        return (h ^ h >> 15) & 0x7FFFFFFF

    keys = [b"key-%d" % i for i in range(40)]
    with Writer(services) as writer:
        writer.send(wide_topic, column(*[b"v"] * 40), column(*keys))
    with open_log_reader(services, {(wide_topic, p): 0 for p in range(3)}) as reader:
        rows = drain.rows(drain(reader, 40))
    assert {row[4]: row[1] for row in rows} == {key: murmur2(key) % 3 for key in keys}


def test_a_record_over_the_limit_is_refused_with_both_sizes(
    services: Services, topic: str, drain: Any
) -> None:
    with Writer(services) as writer:
        with pytest.raises(DataError, match=r"RECORD_TOO_LARGE.*1000001 bytes.*999900") as raised:
            writer.send(topic, column(b"small", b"x" * 1_000_001))
        assert topic in str(raised.value)
        writer.send(topic, column(b"x" * 999_900))
    assert [len(value or b"") for value in read(services, topic, 1, drain)] == [999_900]


def test_what_the_broker_refuses_is_counted_with_its_reason(
    services: Services, unique: Names
) -> None:
    topic = unique("wire")
    kafka.ensure_topics(services, {topic: 1}, {"max.message.bytes": "2000"})
    with Writer(services) as writer:
        writer.send(topic, column(b"x" * 5000))
        writer.flush()
        assert (writer.sent, writer.delivered, writer.failed) == (1, 0, 1)
        assert writer.first_failure is not None
        assert "large" in writer.first_failure
    kafka.delete_topics(services, [topic])


def test_a_full_queue_is_waited_for(services: Services, topic: str, drain: Any) -> None:
    with Writer(services, queue_buffering_max_messages=100) as writer:
        writer.send(topic, column(*[b"v"] * 3000))
        writer.flush()
        assert writer.delivered == 3000
    assert len(read(services, topic, 3000, drain)) == 3000


def test_headers_need_the_other_client(services: Services, topic: str, drain: Any) -> None:
    headers: list[Headers] = [[("a", b"1")], []]
    with Writer(services, client="librdkafka") as writer:
        with pytest.raises(ConfigError, match="client='confluent'"):
            writer.send(topic, column(b"x", b"y"), headers=headers)
        assert writer.sent == 0
    with Writer(services, client="confluent") as writer:
        writer.send(topic, column(b"x", b"y"), headers=headers)
    with open_log_reader(services, {(topic, 0): 0}, headers=True) as reader:
        records = drain(reader, 2)[0]
        assert [records.headers(row) for row in range(2)] == headers


def test_times_and_partitions_are_those_given(
    services: Services, wide_topic: str, drain: Any
) -> None:
    partitions = np.array([2, 9, 0, 9, 1, 9, 2, 9, -1], np.int64)[::2]
    times = np.arange(18, dtype=np.int64)[1::4]
    with Writer(services) as writer:
        writer.send(wide_topic, column(*[b"v"] * 5), None, times, partitions)  # type: ignore[arg-type]
    with open_log_reader(services, {(wide_topic, p): 0 for p in range(3)}) as reader:
        rows = sorted(drain.rows(drain(reader, 5)), key=lambda row: row[3])
    assert [row[3] for row in rows] == times.tolist()
    assert [row[1] for row in rows[:4]] == partitions[:4].tolist()


def test_columns_of_different_length_are_refused(services: Services, topic: str) -> None:
    with Writer(services) as writer:
        with pytest.raises(ConfigError, match="BAD_SEND"):
            writer.send(topic, column(b"a", b"b"), column(b"k"))
        with pytest.raises(ConfigError, match="BAD_SEND"):
            writer.send(topic, column(b"a"), partitions=np.zeros(2, np.int32))
        assert writer.sent == 0


def test_records_and_offsets_commit_together(
    services: Services, topic: str, wide_topic: str, client: str, unique: Names, drain: Any
) -> None:
    group, name = unique("g"), unique("t")
    with Writer(services) as writer:
        writer.send(wide_topic, column(*[b"x"] * 30), partitions=np.arange(30, dtype=np.int32) % 3)
    with (
        Writer(services, transactional_id=name) as writer,
        open_reader(services, [wide_topic], group, client=client) as reader,
    ):
        drain(reader, 30)
        assert reader.committed() == {}
        writer.begin()
        assert writer.in_transaction
        writer.send(topic, column(b"half"))
        writer.commit({(wide_topic, 0): 5, (wide_topic, 1): 10}, reader.group_metadata())
        assert not writer.in_transaction
        assert reader.committed() == {(wide_topic, 0): 5, (wide_topic, 1): 10}
        writer.begin()
        writer.send(topic, column(b"dropped"))
        writer.abort()
        assert reader.committed() == {(wide_topic, 0): 5, (wide_topic, 1): 10}
    assert read(services, topic, 2, drain) == [b"half"]
    with open_reader(services, [wide_topic], group, client=client) as reader:
        rows = drain.rows(drain(reader, 15))
        assert [sum(row[1] == p for row in rows) for p in range(3)] == [5, 0, 10]
        assert reader.position() == {(wide_topic, p): 10 for p in range(3)}


def test_a_commit_takes_milliseconds(
    services: Services, topic: str, wide_topic: str, unique: Names, drain: Any
) -> None:
    with (
        Writer(services, transactional_id=unique("t"), linger_ms=0) as writer,
        open_reader(services, [wide_topic], unique("g")) as reader,
    ):
        while not reader.assignment():
            reader.fetch(1, 0.1)
        took = []
        for step in range(20):
            begin = time.monotonic()
            writer.begin()
            writer.send(topic, column(b"weights"))
            writer.commit({(wide_topic, 0): step}, reader.group_metadata())
            took.append(time.monotonic() - begin)
    assert min(took) < 0.09, took  # 100 ms more if the flush before the offsets were missing


def test_a_zombie_is_fenced_and_nothing_of_it_counts(
    services: Services,
    topic: str,
    unique: Names,
    drain: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = unique("t")
    old = Writer(services, transactional_id=name)
    old.begin()
    old.send(topic, column(b"zombie"))
    old.flush()
    with Writer(services, transactional_id=name) as new:
        new.begin()
        new.send(topic, column(b"living"))
        new.commit(None, None)
        with pytest.raises(Fenced, match=f"FENCED.*{name}"):
            old.commit(None, None)
        with pytest.raises(Fenced):
            old.begin()
        old.close()
        new.begin()
        new.send(topic, column(b"still living"))
        new.commit(None, None)
    assert read(services, topic, 3, drain) == [b"living", b"still living"]
    assert capfd.readouterr().err == ""  # librdkafka would print that it is fatal


def test_a_zombie_is_fenced_while_it_sends(
    services: Services, topic: str, unique: Names, drain: Any
) -> None:
    name = unique("t")
    with Writer(services, transactional_id=name) as old, Writer(services, transactional_id=name):
        old.begin()
        old.send(topic, column(b"zombie"))
        with pytest.raises(Fenced):
            old.commit(None, None)
    assert read(services, topic, 1, drain) == []


def test_a_failed_send_spoils_the_transaction(
    services: Services, topic: str, unique: Names, drain: Any
) -> None:
    with Writer(services, transactional_id=unique("t")) as writer:
        writer.begin()
        writer.send(topic, column(b"first"))
        with pytest.raises(DataError, match="RECORD_TOO_LARGE"):
            writer.send(topic, column(b"x" * 2_000_000))
        with pytest.raises(ConfigError, match="TRANSACTION_SPOILT"):
            writer.send(topic, column(b"second"))
        with pytest.raises(TransactionAborted):
            writer.commit(None, None)
        writer.begin()
        writer.send(topic, column(b"third"))
        writer.commit(None, None)
    assert read(services, topic, 2, drain) == [b"third"]


def test_a_failed_delivery_aborts_the_transaction(
    services: Services, topic: str, unique: Names, drain: Any
) -> None:
    small = unique("wire")
    kafka.ensure_topics(services, {small: 1}, {"max.message.bytes": "2000"})
    with Writer(services, transactional_id=unique("t")) as writer:
        writer.begin()
        writer.send(topic, column(b"with it"))
        writer.send(small, column(b"x" * 5000))
        with pytest.raises(TransactionAborted, match="large"):
            writer.commit(None, None)
        writer.begin()
        writer.send(topic, column(b"after it"))
        writer.commit(None, None)
    assert read(services, topic, 2, drain) == [b"after it"]
    kafka.delete_topics(services, [small])


def test_a_refused_record_ends_the_transaction_whatever_it_is_doing(
    services: Services, unique: Names, drain: Any
) -> None:
    """librdkafka keeps back what it has not sent when a record of the transaction fails, and can forget to tell."""
    source, small = unique("source"), unique("small")
    kafka.ensure_topics(services, {source: 3})
    kafka.ensure_topics(services, {small: 3}, {"max.message.bytes": "2000"})
    at_random = np.random.default_rng(7)
    good, bad = pa.array([b"x" * 10], pa.binary()), pa.array([b"y" * 5000], pa.binary())
    with (
        open_reader(services, [source], unique("g")) as reader,
        Writer(services, transactional_id=unique("tx"), linger_ms=0) as writer,
    ):
        while not reader.assignment:
            reader.fetch(1, 0.1)

        def send_and_commit() -> None:
            for values in [good] * int(at_random.integers(0, 4)) + [bad]:
                writer.send(small, values)
                time.sleep(float(at_random.choice([0.0, 0.001, 0.003])))
            writer.commit({(source, 0): 1, (source, 1): 1}, reader.group_metadata())

        for _ in range(30):
            writer.begin()
            began = time.monotonic()
            with pytest.raises((UnavailableError, TransactionAborted)):
                send_and_commit()
            writer.abort()
            assert in_time(time.monotonic() - began, 10)
        for attempt in range(
            3
        ):  # librdkafka may have miscounted the sequence, which a new epoch mends
            writer.begin()
            writer.send(small, good)
            try:
                writer.commit({(source, 0): 2}, reader.group_metadata())
                break
            except TransactionAborted:
                assert attempt < 2
    with open_log_reader(services, dict.fromkeys([(small, n) for n in range(3)], 0)) as reader:
        assert [row[5] for row in drain.rows(drain(reader, 1, within=1.5))] == [b"x" * 10]


def test_offsets_of_a_member_that_was_put_out_abort(
    services: Services, topic: str, wide_topic: str, unique: Names, drain: Any
) -> None:
    group = unique("g")
    with Writer(services, transactional_id=unique("t")) as writer:
        with open_reader(services, [wide_topic], group) as reader:
            while not reader.assignment():
                reader.fetch(1, 0.1)
            stale = reader.group_metadata()
        writer.begin()
        writer.send(topic, column(b"late"))
        with pytest.raises(TransactionAborted):
            writer.commit({(wide_topic, 0): 1}, stale)
        writer.begin()
        writer.send(topic, column(b"next"))
        writer.commit(None, None)
    assert read(services, topic, 2, drain) == [b"next"]


class Lossy:
    """A real producer of which one call's answers get lost, before or after the broker acted on it."""

    def __init__(self, real: Any, name: str, *, acts: bool, losses: int) -> None:
        self.real, self.name, self.acts, self.losses = real, name, acts, losses
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        return partial(self.answer, found) if name == self.name else found

    def __len__(self) -> int:
        return len(self.real)

    def answer(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        if self.acts and self.calls == 1:
            call(*arguments)
        if self.calls <= self.losses:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "answer lost", False, True))
        return None if self.acts else call(*arguments)


@pytest.mark.parametrize("acts", [True, False])
def test_an_unanswered_commit_is_asked_again_not_aborted(
    services: Services, topic: str, unique: Names, drain: Any, acts: bool
) -> None:
    with Writer(services, transactional_id=unique("t")) as writer:
        writer.begin()
        writer.send(topic, column(b"once"))
        lossy = Lossy(writer._producer, "commit_transaction", acts=acts, losses=3)
        writer._producer = lossy
        writer.commit(None, None)
        assert lossy.calls == 4
        writer._producer = lossy.real
        writer.begin()
        writer.send(topic, column(b"next"))
        writer.commit(None, None)
    assert read(services, topic, 3, drain) == [b"once", b"next"]


@pytest.mark.parametrize("acts", [True, False])
def test_a_commit_that_is_never_answered_is_unknown_and_the_next_counts(
    services: Services, topic: str, unique: Names, drain: Any, acts: bool
) -> None:
    with Writer(services, transactional_id=unique("t"), commit_timeout=1.0) as writer:
        writer.begin()
        writer.send(topic, column(b"perhaps"))
        lossy = Lossy(writer._producer, "commit_transaction", acts=acts, losses=10**9)
        writer._producer = lossy
        with pytest.raises(OutcomeUnknown, match=r"OUTCOME_UNKNOWN.*answer lost"):
            writer.commit(None, None)
        assert writer._producer is not lossy
        writer.begin()
        writer.send(topic, column(b"next"))
        writer.commit(None, None)
    expected = [b"perhaps", b"next"] if acts else [b"next"]
    assert read(services, topic, 3, drain) == expected


def test_offsets_that_are_never_answered_abort(
    services: Services, topic: str, wide_topic: str, unique: Names, drain: Any
) -> None:
    with (
        Writer(services, transactional_id=unique("t"), commit_timeout=1.0) as writer,
        open_reader(services, [wide_topic], unique("g")) as reader,
    ):
        while not reader.assignment():
            reader.fetch(1, 0.1)
        writer.begin()
        writer.send(topic, column(b"dropped"))
        writer._producer = Lossy(
            writer._producer, "send_offsets_to_transaction", acts=True, losses=10**9
        )
        with pytest.raises(TransactionAborted) as raised:
            writer.commit({(wide_topic, 0): 1}, reader.group_metadata())
        assert not isinstance(raised.value, OutcomeUnknown)
        assert reader.committed() == {}
    assert read(services, topic, 1, drain) == []


def test_after_a_broken_line_the_next_transaction_has_a_new_epoch(
    services: Services, topic: str, unique: Names, drain: Any
) -> None:
    with Writer(services, transactional_id=unique("t")) as writer:
        writer.begin()
        writer.send(topic, column(b"a"))
        before = writer._producer
        writer._on_error(KafkaError(KafkaError._TRANSPORT, "connection reset"))
        writer.commit(None, None)
        assert writer._producer is before
        writer.begin()
        assert writer._producer is not before
        writer.send(topic, column(b"b"))
        writer.commit(None, None)
        assert (writer.sent, writer.delivered, writer.failed) == (2, 2, 0)
    assert read(services, topic, 2, drain) == [b"a", b"b"]


def test_misuse_is_refused(services: Services, topic: str, unique: Names) -> None:
    with Writer(services) as writer:
        with pytest.raises(ConfigError, match="NO_TRANSACTION"):
            writer.begin()
        with pytest.raises(ConfigError, match="NO_TRANSACTION"):
            writer.commit(None, None)
    with pytest.raises(ConfigError, match="WRITER_CLOSED"):
        writer.send(topic, column(b"x"))
    with Writer(services, transactional_id=unique("t")) as writer:
        with pytest.raises(ConfigError, match="NO_TRANSACTION"):
            writer.send(topic, column(b"x"))
        writer.begin()
        with pytest.raises(ConfigError, match="TRANSACTION_OPEN"):
            writer.begin()
    with pytest.raises(ConfigError, match="FORBIDDEN_SETTING"):
        Writer(services, plugin_library_paths="x")


def test_leaving_early_aborts(services: Services, topic: str, unique: Names, drain: Any) -> None:
    begin = time.monotonic()
    with pytest.raises(KeyError), Writer(services, transactional_id=unique("t")) as writer:  # noqa: PT012
        writer.begin()
        writer.send(topic, column(b"half"))
        raise KeyError
    assert in_time(time.monotonic() - begin, 4)
    assert read(services, topic, 1, drain) == []


def test_ctrl_c_while_sending_flushes_within_two_seconds(services: Services, topic: str) -> None:
    program = textwrap.dedent(f"""
        import pyarrow as pa, sys
        from gradstream.config import Services
        from gradstream.wire.writer import Writer
        values = pa.array([b"x" * 100] * 1000, pa.binary())
        try:
            with Writer(Services.find()) as writer:
                print("ready", flush=True)
                while True:
                    writer.send({topic!r}, values)
        except KeyboardInterrupt:
            print(writer.sent, writer.delivered, writer.failed)
    """)
    environment = {**os.environ, "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=20)
        took = time.monotonic() - begin
    assert errors == ""
    sent, delivered, failed = map(int, output.split())
    assert in_time(took, 3)
    assert delivered == sum(kafka.end_offsets(services, topic).values())
    assert sent > 0
    assert failed == 0
