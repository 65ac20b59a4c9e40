"""Both Kafka clients behind Reader give the same columns, positions and errors."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, RetryError, UnavailableError, UsageError
from gradstream.wire import gather, kafka, librdkafka
from gradstream.wire.reader import EARLIEST, LATEST, open_log_reader, open_reader
from gradstream.wire.writer import Writer
from tests.crowd import in_time

pytestmark = pytest.mark.integration
Names = Callable[[str], str]


def fill(services: Services, topic: str, values: list[bytes | None], **columns: Any) -> None:
    with Writer(services) as writer:
        writer.send(topic, pa.array(values, pa.binary()), **columns)


def test_all_shapes_of_records_arrive_as_they_were(
    services: Services, wide_topic: str, client: str, unique: Names, drain: Any
) -> None:
    n = 700
    values = [[b"v%d" % i, None, b"", b"\0" * (i % 50)][i % 4] for i in range(n)]
    keys = [[None, b"", b"k%d" % i][i % 3] for i in range(n)]
    partitions = (np.arange(n) % 3).astype(np.int32)
    times = np.arange(n, dtype=np.int64) + 1_700_000_000_000
    headers = [[("a", b"x"), ("b", None), ("a", b"")] if i % 5 == 0 else [] for i in range(n)]
    fill(
        services,
        wide_topic,
        values,
        keys=pa.array(keys, pa.binary()),
        timestamps=times,
        partitions=partitions,
        headers=headers,
    )
    with open_reader(services, [wide_topic], unique("g"), client=client, headers=True) as reader:
        rows = drain.rows(drain(reader, n, chunk=97))
        position = reader.position()
    expected = sorted(
        (wide_topic, i % 3, i // 3, int(times[i]), keys[i], values[i], tuple(headers[i]))
        for i in range(n)
    )
    assert rows == sorted(expected, key=lambda row: row[:3])
    assert position == {(wide_topic, p): (n - p + 2) // 3 for p in range(3)}


def test_columns_have_the_promised_types(
    services: Services, topic: str, client: str, unique: Names, drain: Any
) -> None:
    fill(services, topic, [b"a", b"bc"])
    with open_reader(services, [topic], unique("g"), client=client) as reader:
        empty = reader.fetch(10, 0.0)
        full = drain(reader, 2)[0]
    for records in (empty, full):
        for column, dtype in (
            (records.topic, np.int32),
            (records.partition, np.int32),
            (records.offset, np.int64),
            (records.timestamp, np.int64),
        ):
            assert column.dtype == dtype
            assert column.shape == (len(records),)
        for bytes_ in (records.key, records.value):
            assert bytes_.type == pa.binary()
            assert len(bytes_) == len(records)
            bytes_.validate(full=True)
        assert records.headers(0) == [] if len(records) else True
    assert full.value.to_pylist() == [b"a", b"bc"]
    assert full.key.null_count == 2


def test_several_topics_in_one_chunk_keep_their_names(
    services: Services, topic: str, wide_topic: str, client: str, unique: Names, drain: Any
) -> None:
    fill(services, topic, [b"one"] * 50)
    fill(services, wide_topic, [b"three"] * 60)
    with open_reader(services, [topic, wide_topic], unique("g"), client=client) as reader:
        rows = drain.rows(drain(reader, 110))
    assert {(row[0], row[5]) for row in rows} == {(topic, b"one"), (wide_topic, b"three")}
    assert len(rows) == 110


def test_aborted_transactions_are_unseen_and_the_end_is_met(
    services: Services, topic: str, client: str, unique: Names, drain: Any
) -> None:
    with Writer(services, transactional_id=unique("t")) as writer:
        for kept, value in ((True, b"a"), (False, b"b"), (True, b"c"), (False, b"d")):
            writer.begin()
            writer.send(topic, pa.array([value] * 3, pa.binary()))
            if kept:
                writer.commit(None, None)
            else:
                writer.flush()
                writer.abort()
    end = kafka.end_offsets(services, topic)
    assert end == {(topic, 0): 16}  # four times three records and a marker
    with open_reader(services, [topic], unique("g"), client=client) as reader:
        rows = drain.rows(drain(reader, 6))
        assert [(row[2], row[5]) for row in rows] == [
            *((offset, b"a") for offset in (0, 1, 2)),
            *((offset, b"c") for offset in (8, 9, 10)),
        ]
        deadline = time.monotonic() + 5
        while reader.position() != end and time.monotonic() < deadline:
            assert len(reader.fetch(10, 0.2)) == 0
        assert reader.position() == end
    with open_log_reader(
        services, {(topic, 0): 0}, isolation="read_uncommitted", client=client
    ) as reader:
        assert len(drain.rows(drain(reader, 12))) == 12


def test_an_open_transaction_is_waited_for_not_read(
    services: Services, topic: str, client: str, unique: Names, drain: Any
) -> None:
    fill(services, topic, [b"before"])
    with (
        Writer(services, transactional_id=unique("t")) as writer,
        open_reader(services, [topic], unique("g"), client=client) as reader,
    ):
        writer.begin()
        writer.send(topic, pa.array([b"inside"], pa.binary()))
        writer.flush()
        assert [row[5] for row in drain.rows(drain(reader, 2, within=1.5))] == [b"before"]
        assert kafka.end_offsets(services, topic) == {(topic, 0): 2}
        assert kafka.end_offsets(services, topic, isolation="read_committed") == {(topic, 0): 1}
        assert reader.watermarks((topic, 0))[0] == 0
        writer.commit(None, None)
        assert [row[5] for row in drain.rows(drain(reader, 1))] == [b"inside"]


def test_seek_goes_back_and_forth(
    services: Services, wide_topic: str, client: str, unique: Names, drain: Any
) -> None:
    fill(
        services,
        wide_topic,
        [b"%d" % i for i in range(300)],
        partitions=(np.arange(300) % 3).astype(np.int32),
    )
    with open_reader(services, [wide_topic], unique("g"), client=client) as reader:
        drain(reader, 300, chunk=37)
        reader.seek({(wide_topic, 1): 90, (wide_topic, 2): 98})
        assert reader.position() == {
            (wide_topic, 0): 100,
            (wide_topic, 1): 90,
            (wide_topic, 2): 98,
        }
        again = drain.rows(drain(reader, 12))
        assert [row[1:3] for row in again] == [
            *((1, offset) for offset in range(90, 100)),
            (2, 98),
            (2, 99),
        ]
        with pytest.raises(RetryError, match="NOT_ASSIGNED"):
            reader.seek({(wide_topic, 7): 0})


def test_seek_drops_what_was_fetched_ahead(
    services: Services, topic: str, client: str, unique: Names, drain: Any
) -> None:
    fill(services, topic, [b"%d" % i for i in range(500)])
    with open_reader(services, [topic], unique("g"), client=client) as reader:
        drain(reader, 100, chunk=100)
        reader.seek({(topic, 0): 7})
        assert drain.offsets(drain(reader, 493)) == list(range(7, 500))


def test_where_a_new_group_starts(
    services: Services, topic: str, client: str, unique: Names, drain: Any
) -> None:
    fill(services, topic, [b"old"] * 3)
    with open_reader(services, [topic], unique("g"), start="latest", client=client) as reader:
        deadline = time.monotonic() + 10
        while not reader.assignment() and time.monotonic() < deadline:
            reader.fetch(10, 0.1)
        while not reader.position() and time.monotonic() < deadline:
            assert len(reader.fetch(10, 0.2)) == 0
        fill(services, topic, [b"new"])
        assert [row[5] for row in drain.rows(drain(reader, 1))] == [b"new"]


def test_log_reader_reads_from_given_offsets_without_a_group(
    services: Services, wide_topic: str, client: str, drain: Any
) -> None:
    fill(
        services,
        wide_topic,
        [b"%d" % i for i in range(30)],
        partitions=(np.arange(30) % 3).astype(np.int32),
    )
    wanted = {(wide_topic, 0): 8, (wide_topic, 1): EARLIEST, (wide_topic, 2): LATEST}
    with open_log_reader(services, wanted, client=client) as reader:
        assert reader.assignment() == wanted.keys()
        rows = drain.rows(drain(reader, 12))
        assert [row[1:3] for row in rows] == [(0, 8), (0, 9), *((1, k) for k in range(10))]
        assert len(drain(reader, 1, within=0.5)) == 0
        assert reader.position() == {(wide_topic, p): 10 for p in range(3)}
        assert reader.watermarks((wide_topic, 0)) == (0, 10)


def test_paused_partitions_stay_silent(
    services: Services, wide_topic: str, client: str, drain: Any
) -> None:
    fill(
        services,
        wide_topic,
        [b"x"] * 20,
        partitions=(np.arange(20) % 2).astype(np.int32),
    )
    wanted = {(wide_topic, 0): 0, (wide_topic, 1): 0}
    with open_log_reader(services, wanted, client=client) as reader:
        reader.pause([(wide_topic, 1)])
        rows = drain.rows(drain(reader, 20, within=1.5))
        assert {row[1] for row in rows} == {0}
        reader.resume([(wide_topic, 1)])
        assert [row[1] for row in drain.rows(drain(reader, 10))] == [1] * 10


def test_an_offset_that_the_log_lost_stops_the_reader(
    services: Services, topic: str, client: str, drain: Any
) -> None:
    fill(services, topic, [b"x"] * 5)
    with open_log_reader(services, {(topic, 0): 99}, client=client) as reader:
        with pytest.raises(DataError) as raised:
            drain(reader, 1)
        assert raised.value.code == "OFFSET_LOST"
        assert topic in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_topic_that_is_not_there_is_told_at_once(
    services: Services, topic: str, client: str, unique: Names
) -> None:
    with pytest.raises(DataError, match=f"UNKNOWN_TOPIC.*did you mean {topic}"):
        open_reader(services, [topic[:-1]], unique("g"), client=client)


def test_a_topic_that_vanishes_stops_the_reader(
    services: Services, unique: Names, client: str, drain: Any
) -> None:
    topic = unique("wire")
    kafka.ensure_topics(services, {topic: 1})
    fill(services, topic, [b"x"])
    with open_log_reader(services, {(topic, 0): 0}, client=client) as reader:
        drain(reader, 1)
        kafka.delete_topics(services, [topic])
        with pytest.raises(DataError, match=f"UNKNOWN_TOPIC.*{topic}"):
            drain(reader, 1)


def test_a_topic_that_is_created_again_stops_the_reader(
    services: Services, unique: Names, client: str, drain: Any
) -> None:
    """Its partitions are paused meanwhile; else librdkafka would read on, at the same offset of the other log."""
    topic = unique("wire")
    kafka.ensure_topics(services, {topic: 1})
    fill(services, topic, [b"old"] * 5)
    with open_reader(services, [topic], unique("g"), client=client) as reader:
        drain(reader, 5)
        while not reader.topic_ids:
            reader.fetch(1, 0.1)
        assert reader.topic_ids == kafka.topic_ids(services, [topic])
        reader.pause([(topic, 0)])
        kafka.delete_topics(services, [topic])
        kafka.ensure_topics(services, {topic: 1})
        with pytest.raises(DataError, match=f"TOPIC_RECREATED.*{topic}"):
            drain(reader, 1)
    kafka.delete_topics(services, [topic])


def test_a_client_does_not_end_before_its_question_is_answered(
    services: Services, topic: str, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka 2.16 can end the process where the answer comes in while its client is being ended."""
    with open_log_reader(services, {(topic, 0): LATEST}, client=client) as reader:
        told: list[Any] = [None, None, None, {}]
        real = reader._told_topics
        reader.fetch(1, 0.0)  # asks
        while real() is None:
            time.sleep(0.01)
        monkeypatch.setattr(reader, "_told_topics", lambda: told.pop(0))
    assert told == []

    with open_log_reader(services, {(topic, 0): LATEST}, client=client) as reader:
        reader.fetch(1, 0.0)
        while reader._told_topics() is None:
            time.sleep(0.01)
        monkeypatch.setattr(reader, "_told_topics", lambda: None)
        began = time.monotonic()
    assert in_time(time.monotonic() - began, 2.5), "nobody answers"


def test_a_fetch_never_takes_longer_than_a_second(
    services: Services, topic: str, client: str
) -> None:
    with open_log_reader(services, {(topic, 0): LATEST}, client=client) as reader:
        reader.fetch(10, 1.0)  # meets the end
        begin = time.monotonic()
        assert len(reader.fetch(10, 60.0)) == 0
        assert in_time(time.monotonic() - begin, 1.5)


def test_a_fetch_that_waits_returns_with_the_first_record(
    services: Services, topic: str, client: str
) -> None:
    """And not when its time is over or its chunk full."""
    with (
        open_log_reader(services, {(topic, 0): LATEST}, client=client) as reader,
        Writer(services) as writer,
    ):
        while not reader.position():
            reader.fetch(10, 0.2)
        took = []
        for _ in range(5):
            thread = threading.Timer(
                0.2, lambda: (writer.send(topic, pa.array([b"x"], pa.binary())), writer.flush())
            )
            thread.start()
            begin = time.monotonic()
            while not len(records := reader.fetch(8192, 1.0)):
                pass
            took.append(time.monotonic() - begin)
            thread.join()
            assert len(records) == 1
        assert in_time(min(took), 0.6)


def test_no_broker_is_one_line_within_ten_seconds(client: str) -> None:
    begin = time.monotonic()
    with pytest.raises(UnavailableError, match=r"BROKER_UNREACHABLE.*127\.0\.0\.1:1"):
        open_reader(Services("127.0.0.1:1", "", ""), ["t"], "g", client=client)
    assert in_time(time.monotonic() - begin, 10)


def test_wrong_words_are_refused(services: Services, topic: str, client: str) -> None:
    with pytest.raises(UsageError, match=r"UNKNOWN_CLIENT.*librdkafka or confluent"):
        open_reader(services, [topic], "g", client="java")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="FORBIDDEN_SETTING"):
        open_reader(services, [topic], "g", client=client, plugin_library_paths="x")


def test_a_closed_reader_says_so(
    services: Services, topic: str, client: str, unique: Names
) -> None:
    reader = open_reader(services, [topic], unique("g"), client=client)
    reader.close()
    reader.close()
    with pytest.raises(ConfigError, match="READER_CLOSED"):
        reader.fetch(1, 0.1)


def test_the_environment_chooses_the_client(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("confluent", "librdkafka"):
        monkeypatch.setenv("GRADSTREAM_CLIENT", name)
        with open_log_reader(services, {(topic, 0): 0}) as reader:
            assert name in type(reader).__module__


def test_a_chunk_stops_at_its_limit_of_bytes(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch, client: str, drain: Any
) -> None:
    monkeypatch.setattr(f"gradstream.wire.{client}_reader.CHUNK_BYTES", 1000)
    sizes = [10] * 200 + [5000] + [10] * 200
    fill(services, topic, [b"x" * size for size in sizes])
    with open_log_reader(services, {(topic, 0): 0}, client=client) as reader:
        chunks = drain(reader, 401)
    assert drain.offsets(chunks) == list(range(401))
    assert all(chunk.value.nbytes < 3000 or len(chunk) == 1 for chunk in chunks)
    assert max(map(len, chunks)) <= 100


def test_more_partitions_than_a_chunk_has_slots_make_more_chunks() -> None:
    """At the level of compiled code, since a thousand partitions are slow to make."""
    n = 6
    raw = np.zeros((n, 9), np.int64)
    raw[:, gather.TOPIC] = 1
    raw[:, gather.PARTITION] = np.arange(n)
    raw[:, gather.OFFSET] = 40 + np.arange(n)
    raw[2, gather.ERR] = 0xFFFFFFFF & -191
    messages = raw.ctypes.data + 72 * np.arange(n, dtype=np.int64)
    errors, state = np.zeros(n, np.int64), np.array([0, 0, n, 0, n, 0], np.int64)
    slot, partition = np.empty(n, np.int32), np.empty(n, np.int32)
    topics, partitions, last = np.empty(3, np.int64), np.empty(3, np.int32), np.empty(3, np.int64)
    timestamp = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 7)
    columns = [np.empty(n, np.int64) for _ in range(4)]
    room = (librdkafka.address(timestamp), slot, partition, *columns, topics, partitions, last)
    found = gather.sort_out(messages, errors, state, n, 1 << 30, *room)
    assert found == (3, 3, 3, 0, 0, 3)  # without values and keys
    assert partitions.tolist() == [0, 1, 3]
    assert partition[:3].tolist() == [0, 1, 3]
    assert last.tolist() == [40, 41, 43]
    assert columns[2][:3].tolist() == [40, 41, 43]
    assert columns[3][:3].tolist() == [7, 7, 7]
    assert errors[: state[gather.BAD]].tolist() == [raw.ctypes.data + 72 * 2]
    # Each message in one place, so that whoever gives back what is left does so once.
    left = messages[state[gather.FROM] : state[gather.TO]]
    assert ((left - raw.ctypes.data) // 72).tolist() == [0, 1, 3, 4, 5]
    assert state.tolist() == [1, 1, n, 1, n, 0]
    found = gather.sort_out(messages, errors, state, n, 1 << 30, *room)
    assert found == (3, 3, 3, 0, 0, 3)
    gather.lend(state, 3)
    assert state.tolist() == [1, 4, n, 1, n, 0]


def test_errors_alone_leave_all_the_room_for_what_comes_after_them() -> None:
    """A chunk of one message is an error, such as that its topic is gone, as often as somebody asks for more."""
    raw = np.zeros((1, 9), np.int64)
    raw[0, gather.ERR] = 3
    messages, errors = np.array([raw.ctypes.data]), np.zeros(1, np.int64)
    state = np.array([0, 0, 1, 0, 1, 0], np.int64)
    slot, partition = np.empty(1, np.int32), np.empty(1, np.int32)
    slots = np.empty(1, np.int64), np.empty(1, np.int32), np.empty(1, np.int64)
    columns = [np.empty(1, np.int64) for _ in range(4)]
    found = gather.sort_out(
        messages, errors, state, 1, 1 << 30, 0, slot, partition, *columns, *slots
    )
    assert found[0] == 0
    assert (errors.tolist(), state.tolist()) == ([raw.ctypes.data], [0, 0, 0, 1, 1, 0])


def test_a_position_does_not_run_ahead_of_records_that_are_held(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    """The end of the log may have come in while most records wait for the next chunk."""
    monkeypatch.setattr(f"gradstream.wire.{client}_reader.CHUNK_BYTES", 1000)
    fill(services, topic, [b"x" * 400] * 50)
    at = (topic, 0)
    with open_log_reader(services, {at: 0}, client=client) as reader:
        time.sleep(1.0)  # so that all of it, and its end, lie in the client's queue
        seen = 0
        deadline = time.monotonic() + 20
        while seen < 50:
            records = reader.fetch(1000, 0.1)
            seen += len(records)
            assert reader.position().get(at, 0) == seen
            assert time.monotonic() < deadline


def test_ctrl_c_is_answered_within_a_second(
    services: Services, topic: str, client: str, unique: Names
) -> None:
    program = textwrap.dedent(f"""
        from gradstream.config import Services
        from gradstream.wire.reader import open_reader
        reader = open_reader(Services.find(), [{topic!r}], {unique("g")!r}, client={client!r})
        with reader:
            while not reader.assignment():
                reader.fetch(100, 0.1)
            print("ready", flush=True)
            while True:
                reader.fetch(100, 1.0)
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
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        time.sleep(0.3)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        errors = child.communicate(timeout=10)[1]
        took = time.monotonic() - begin
    assert in_time(took, 1.5), errors  # with leaving the group and ending Python
    assert "KeyboardInterrupt" in errors
    assert "%" not in errors  # no lines of librdkafka's own
