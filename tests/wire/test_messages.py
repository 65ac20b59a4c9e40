"""Each message that librdkafka gives us is given back once: under Ctrl-C, errors, seeks, rebalances and closing."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire import held, librdkafka_reader, reader_base
from gradstream.wire.reader import Reader, open_log_reader, open_reader
from gradstream.wire.writer import Writer
from tests.wire.ledger import ledger_of

pytestmark = pytest.mark.integration
Names = Callable[[str], str]
OURS = {module.__file__ for module in (held, librdkafka_reader, reader_base)}
# Ten million take a minute: GRADSTREAM_LEAK_RECORDS=10000000 pytest -k memory_behind
RECORDS = int(os.environ.get("GRADSTREAM_LEAK_RECORDS", "2000000"))


def fill(services: Services, topic: str, n: int, size: int = 20) -> None:
    with Writer(services) as writer:
        writer.send(topic, pa.array([b"%0*d" % (size, i) for i in range(n)], pa.binary()))


def interrupted(step: int, call: Callable[[], object]) -> bool:
    """Call, with Ctrl-C at one step of the reader's own Python; False where it has fewer steps."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in OURS:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            count += 1
            if count > step:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize(("size", "stride"), [(5000, 11), (30, 17)], ids=["records", "an end"])
def test_wherever_ctrl_c_comes_in_a_fetch_each_message_is_given_back_once(
    services: Services, topic: str, size: int, stride: int
) -> None:
    """A fetch of 50: in the second case with the end of the log among the messages."""
    fill(services, topic, size)
    at = (topic, 0)
    with ledger_of(open_log_reader(services, {at: 0}, client="librdkafka")) as ledger:
        reader, step = ledger.reader, 0
        while interrupted(step, lambda: reader.fetch(50, 1.0)):
            ledger.check()
            reader.seek({at: 0})
            step += stride
        assert step > 200
        reader.seek({at: 0})
        count = 0
        while count < size:
            count += len(reader.fetch(1000, 1.0))
        assert reader.position() == {at: size}


def test_a_fetch_that_fails_before_its_records_are_copied_loses_none(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch, client: str, drain: Any
) -> None:
    fill(services, topic, 300)

    def no_room(*_: object, **__: object) -> object:
        raise MemoryError

    with open_log_reader(services, {(topic, 0): 0}, client=client) as reader:
        first = drain(reader, 100, chunk=100)
        whose = f"gradstream.wire.{client}_reader"
        name = "LentRecords" if client == "librdkafka" else "ConfluentReader._columns"
        monkeypatch.setattr(f"{whose}.{name}", no_room)
        with pytest.raises(MemoryError):
            drain(reader, 1, chunk=100)
        monkeypatch.undo()
        assert drain.offsets(first + drain(reader, 200)) == list(range(300))


@pytest.mark.parametrize("name", ["Loan", "_topic_of_each", "LentRecords"])
def test_what_fails_while_columns_are_made_is_given_back_once(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fill(services, topic, 100)

    def no_room(*_: object, **__: object) -> object:
        raise MemoryError

    with ledger_of(open_log_reader(services, {(topic, 0): 0}, client="librdkafka")) as ledger:
        monkeypatch.setattr(librdkafka_reader, name, no_room)
        with pytest.raises(MemoryError):
            fetch_some(ledger.reader)
        monkeypatch.undo()
        ledger.check()
        assert ledger.out


def fetch_some(reader: Reader, most: int = 1000) -> int:
    """Fetch until there is something; how much."""
    while not (n := len(reader.fetch(most, 1.0))):
        pass
    return n


def test_what_is_held_is_given_back_by_a_seek_and_by_closing(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(librdkafka_reader, "CHUNK_BYTES", 1000)
    fill(services, topic, 200, size=100)
    at = (topic, 0)
    for last in ("seek", "close"):
        with ledger_of(open_log_reader(services, {at: 0}, client="librdkafka")) as ledger:
            hold_some(ledger.reader)
            if last == "seek":
                ledger.reader.seek({at: 7})
                assert ledger.out == set(ledger.reader._held.lent())
                assert ledger.reader.fetch(1, 1.0).offset.tolist() == [7]


def hold_some(reader: Any) -> None:
    """Fetch until some messages wait for the next chunk."""
    while not reader._held:
        reader.fetch(1000, 1.0)


def test_values_are_lent_until_the_reader_goes_on(services: Services, topic: str) -> None:
    """And who still has the records by then has copies."""
    fill(services, topic, 500)
    at = (topic, 0)
    with ledger_of(open_log_reader(services, {at: 0}, client="librdkafka")) as ledger:
        reader = ledger.reader
        while not len(first := reader.fetch(100, 1.0)):
            pass
        assert first.spans is not None
        begins, ends = first.spans
        places = zip(begins.tolist(), ends.tolist(), strict=True)
        there = [ctypes.string_at(begin, end - begin) for begin, end in places]
        assert there == [b"%020d" % i for i in range(len(first))]
        assert len(ledger.out) == len(first)
        second = reader.fetch(100, 1.0)  # copies the first, which is kept
        assert first.spans is None
        assert first.value.to_pylist() == [b"%020d" % i for i in range(len(first))]
        assert len(ledger.out) == len(second)
        reader.seek({at: 7})  # the second is still lent
        assert second.spans is not None
        assert second.offset[0] == len(first)
        kept = second.value
        assert second.spans is None
        ledger.check()
        while not len(third := reader.fetch(10, 1.0)):
            pass
        assert kept is second.value
        assert kept[0].as_py() == b"%020d" % len(first)
        expected = third.offset.tolist()
        assert expected[0] == 7
    assert third.spans is None  # closing, too, leaves copies
    assert third.value.to_pylist() == [b"%020d" % i for i in expected]


def test_records_that_nobody_keeps_are_not_copied(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(services, topic, 500)
    monkeypatch.setattr(held, "copied", pytest.fail)
    with ledger_of(open_log_reader(services, {(topic, 0): 0}, client="librdkafka")) as ledger:
        ledger.reader._held.keys = lambda found: held.nulls(found.n)
        count = 0
        while count < 500:
            count += len(ledger.reader.fetch(100, 1.0))


def test_another_thread_may_ask_for_the_values_while_the_reader_goes_on(
    services: Services, topic: str
) -> None:
    n = 20_000
    fill(services, topic, n)
    chunks: SimpleQueue[Any] = SimpleQueue()
    wrong: list[int] = []

    def look() -> None:
        while (records := chunks.get()) is not None:
            values = [int(value) for value in records.value.to_pylist()]
            if values != records.offset.tolist():
                wrong.append(values[0])

    with ledger_of(open_log_reader(services, {(topic, 0): 0}, client="librdkafka")) as ledger:
        thread = threading.Thread(target=look)
        thread.start()
        count = 0
        while count < n:
            records = ledger.reader.fetch(50, 1.0)
            count += len(records)
            chunks.put(records)
            del records
        chunks.put(None)
        thread.join()
    assert not wrong


def test_an_error_of_the_log_is_given_back(services: Services, topic: str) -> None:
    fill(services, topic, 5)
    with ledger_of(open_log_reader(services, {(topic, 0): 99}, client="librdkafka")) as ledger:
        with pytest.raises(DataError, match="OFFSET_LOST"):
            fetch_some(ledger.reader)
        assert ledger.got
        assert not ledger.out


def test_a_rebalance_whose_callback_fails_leaves_nothing_out(
    services: Services, wide_topic: str, monkeypatch: pytest.MonkeyPatch, unique: Names
) -> None:
    """Half of what was fetched is held when another member joins; the callback fails each time."""
    monkeypatch.setattr(librdkafka_reader, "CHUNK_BYTES", 2000)
    with Writer(services) as writer:
        where = (np.arange(900) % 3).astype(np.int32)
        writer.send(wide_topic, pa.array([b"x" * 100] * 900, pa.binary()), partitions=where)
    group, changes = unique("g"), []

    def refuse(change: str, partitions: object) -> None:
        changes.append((change, len(reader._held)))
        if change == "revoked":
            raise ValueError(change)

    reader: Any = open_reader(
        services, [wide_topic], group, client="librdkafka", on_rebalance=refuse
    )
    with ledger_of(reader):
        hold_some(reader)
        # The group asks for the partitions while we leave it, so the callback comes inside close().
        with pytest.raises(ValueError, match="revoked"):
            reader.close()
    assert [change for change, _ in changes] == ["assigned", "revoked"]


def test_an_interrupted_close_can_be_repeated(
    services: Services, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(librdkafka_reader, "CHUNK_BYTES", 1000)
    fill(services, topic, 200, size=100)
    for step in (1, 10, 25, 40, 60):
        with ledger_of(open_log_reader(services, {(topic, 0): 0}, client="librdkafka")) as ledger:
            hold_some(ledger.reader)
            assert interrupted(step, ledger.reader.close)


def test_millions_of_records_leave_no_memory_behind(
    services: Services, topic: str, client: str
) -> None:
    """The log is read again and again; what each pass leaves must not add up."""
    size = 100_000
    passes = max(6, RECORDS // size if client == "librdkafka" else RECORDS // size // 4)
    fill(services, topic, size, 104)
    resident = []
    with open_log_reader(services, {(topic, 0): 0}, client=client) as reader:
        for turn in range(passes):
            reader.seek({(topic, 0): 0})
            count = 0
            while count < size:
                records = reader.fetch(8192, 1.0)
                assert turn % 2 or len(records.value) == len(records)  # in turns copied and not
                count += len(records)
                del records
            resident.append(psutil.Process().memory_info().rss)
    if client == "librdkafka":
        messages: Any = reader
        assert messages._held.got == messages._held.given_back >= size * passes
    grown = resident[-1] - max(resident[: passes // 3])
    # One lost message in a hundred would hold all buffers of its fetch: far more than this.
    assert grown < 24 << 20, f"{grown >> 20} MiB more after {passes} passes"
