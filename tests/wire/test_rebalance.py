"""Members come and go: partitions move, offsets are kept, and nobody reads what another owns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.wire.reader import Reader, open_reader
from gradstream.wire.writer import Writer

pytestmark = pytest.mark.integration
Names = Callable[[str], str]


def until(reader: Reader, ready: Callable[[], bool], within: float = 20.0) -> None:
    """Keep a member alive until something is true; it must fetch nothing meanwhile."""
    deadline = time.monotonic() + within
    while not ready():
        assert time.monotonic() < deadline, "waited too long"
        assert len(reader.fetch(100, 0.1)) == 0


def spread(services: Services, topic: str, n: int, partitions: int) -> None:
    with Writer(services) as writer:
        where = (np.arange(n) % partitions).astype(np.int32)
        writer.send(topic, pa.array([b"x"] * n, pa.binary()), partitions=where)


def test_a_second_member_takes_its_share_and_gives_it_back(
    services: Services, wide_topic: str, client: str, unique: Names, drain: Any
) -> None:
    spread(services, wide_topic, 30, 3)
    group, seen = unique("g"), []

    def note(change: str, partitions: frozenset[tuple[str, int]]) -> None:
        seen.append((change, {partition for _, partition in partitions}))

    everything = {(wide_topic, 0), (wide_topic, 1), (wide_topic, 2)}
    with (
        Writer(services, transactional_id=unique("t")) as writer,
        open_reader(services, [wide_topic], group, client=client, on_rebalance=note) as first,
    ):
        assert len(drain.rows(drain(first, 30))) == 30
        assert first.rebalances == 1
        assert first.assignment() == everything
        writer.begin()
        writer.commit(first.position(), first.group_metadata())

        second = open_reader(services, [wide_topic], group, client=client)
        stop = threading.Event()
        others: list[Any] = []

        def run_second() -> None:
            with second:
                while not stop.is_set():
                    others.append((second.assignment(), len(second.fetch(100, 0.1))))

        thread = threading.Thread(target=run_second)
        thread.start()
        until(first, lambda: first.rebalances == 3 and bool(others) and bool(others[-1][0]))
        assert first.assignment() | others[-1][0] == everything
        assert not first.assignment() & others[-1][0]
        assert first.lost is False
        assert first.committed() == dict.fromkeys(first.assignment(), 10)
        assert first.position() == dict.fromkeys(first.assignment(), 10)
        stop.set()
        thread.join(20)
        until(first, lambda: first.assignment() == everything)
        assert all(count == 0 for _, count in others)  # all was committed for it
    assert seen[0] == ("assigned", {0, 1, 2})
    assert seen[1] == ("revoked", {0, 1, 2})
    assert seen[2][0] == "assigned"
    assert len(seen[2][1]) in (1, 2)
    assert seen[-1] == ("revoked", {0, 1, 2})


def test_a_member_that_fetches_too_seldom_loses_its_partitions(
    services: Services,
    topic: str,
    client: str,
    unique: Names,
    drain: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spread(services, topic, 10, 1)
    changes = []
    with open_reader(
        services,
        [topic],
        unique("g"),
        client=client,
        on_rebalance=lambda change, partitions: changes.append(change),
        max_poll_interval_ms=6000,
        session_timeout_ms=6000,
    ) as reader:
        assert len(drain.rows(drain(reader, 10))) == 10
        time.sleep(7)
        again = drain.rows(drain(reader, 10, within=20))
    assert changes == ["assigned", "lost", "assigned", "revoked"]
    assert len(again) == 10  # nothing was committed, so all of it comes again
    assert "max.poll.interval.ms" in caplog.text


def test_what_a_callback_raises_comes_out_of_fetch(
    services: Services, topic: str, client: str, unique: Names
) -> None:
    def refuse(change: str, partitions: object) -> None:
        raise ValueError(f"not now: {change}")

    reader = open_reader(services, [topic], unique("g"), client=client, on_rebalance=refuse)
    with pytest.raises(ValueError, match="not now: assigned"):
        until(reader, lambda: False)
    with pytest.raises(ValueError, match="not now: revoked"):
        reader.close()


def test_a_rebalance_hands_over_no_record_twice(
    services: Services, wide_topic: str, client: str, unique: Names
) -> None:
    """Two members that commit in transactions, one of which leaves: each record is committed once."""
    spread(services, wide_topic, 60_000, 3)
    group = unique("g")
    counted: list[tuple[int, int]] = []
    lock = threading.Lock()

    def work(name: str, most: int) -> None:
        done = 0
        with (
            Writer(services, transactional_id=name) as writer,
            open_reader(services, [wide_topic], group, client=client) as reader,
        ):
            quiet = time.monotonic() + 20
            while done < most and time.monotonic() < quiet:
                records = reader.fetch(500, 0.2)
                if not len(records):
                    with lock:
                        if len(counted) >= 60_000:
                            return
                    continue
                writer.begin()
                try:
                    writer.commit(reader.position(), reader.group_metadata())
                except Exception:  # noqa: BLE001  the group changed: they come again
                    reader.seek(reader.committed())
                    continue
                done += len(records)
                rows = zip(records.partition.tolist(), records.offset.tolist(), strict=True)
                with lock:
                    counted.extend(rows)

    threads = [threading.Thread(target=work, args=(unique("t"), most)) for most in (5_000, 60_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counted) == len(set(counted)) == 60_000
