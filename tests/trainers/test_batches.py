"""A batch is a function of the log alone: neither chunks nor restarts change it, and the ranges tell how to repeat it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from gradstream.wire.records import TopicPartition
from trainers.batches import Batches, Range
from trainers.models import Floats

T = "topic"


@dataclass
class Log:
    """Per partition, offsets with gaps; every fifth record or so is bad. A record's target is its number, its own."""

    seed: int
    sizes: tuple[int, ...]
    records: dict[TopicPartition, list[tuple[int, bool]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        for partition, size in enumerate(self.sizes):
            offset, rows = 0, []
            for _ in range(size):
                offset += chance.choice([1, 1, 1, 2])
                rows.append((offset, chance.random() > 0.2))
            self.records[T, partition] = rows

    @property
    def ends(self) -> dict[TopicPartition, int]:
        return {at: (rows[-1][0] + 1 if rows else 0) for at, rows in self.records.items()}


def number(at: TopicPartition, offset: int) -> float:
    return at[1] * 1e6 + offset


def feed(batches: Batches, log: Log, at: TopicPartition, start: int, count: int) -> int:
    """Adds the next ``count`` records from an offset on; the offset after them."""
    rows = [r for r in log.records[at] if r[0] >= start][:count]
    if not rows:
        return start
    good = np.array([o for o, fine in rows if fine], np.int64)
    target = np.array([number(at, int(o)) for o in good])
    batches.add(at, target[:, np.newaxis], target, good, rows[-1][0] + 1)
    return rows[-1][0] + 1


def made(
    positions: dict[TopicPartition, int], size: int = 4, **more: float | int | None
) -> Batches:
    return Batches(positions, inputs=2, bias=True, batch_size=size, **more)  # type: ignore[arg-type]


def cut(y: Floats, size: int) -> list[tuple[float, ...]]:
    return [tuple(y[i : i + size].tolist()) for i in range(0, len(y), size)]


def run(
    log: Log, seed: int, *, restart_every: int | None = None, size: int = 4
) -> tuple[list[tuple[float, ...]], list[list[Range]]]:
    """All batches of a bounded log, fed in random chunks; with restarts, from committed positions only."""
    chance = random.Random(seed)
    positions = dict.fromkeys(log.records, 0)
    turn, out, published, trained = 0, [], [], 0
    while True:
        batches = made(positions, size, turn=turn)
        batches.stop_at(log.ends)
        read = dict(positions)
        while not batches.ended:
            at = chance.choice(sorted(log.records))
            read[at] = feed(batches, log, at, read[at], chance.randint(1, 9))
            while (portion := batches.next(chance.randint(1, 3))) is not None:
                out += cut(portion.y, size)
                assert (portion.X[:, 0] == 1).all()
                assert (portion.X[:, 1] == portion.y).all()
                batches.done(portion)
                trained += portion.batches
                if restart_every and trained >= restart_every:
                    break
            if restart_every and trained >= restart_every:
                break
        trained = 0
        published.append(batches.ranges())
        positions, turn = batches.positions(), batches.turn
        if batches.ended:
            return out, published


@pytest.mark.parametrize("sizes", [(50,), (40, 40), (40, 7, 23), (0, 30, 1)])
def test_chunks_and_restarts_change_no_batch(sizes: tuple[int, ...]) -> None:
    log = Log(1, sizes)
    expected, _ = run(log, 0)
    for seed in range(1, 20):
        assert run(log, seed)[0] == expected
        assert run(log, seed, restart_every=2)[0] == expected


def test_one_partition_gives_offset_order_and_several_take_turns() -> None:
    log = Log(3, (12,))
    whole = [number((T, 0), o) for o, fine in log.records[T, 0] if fine]
    batches, _ = run(log, 0)
    assert [x for b in batches for x in b] == whole
    assert [len(b) for b in batches[:-1]] == [4] * (len(batches) - 1)

    log = Log(4, (100, 100))
    batches, _ = run(log, 0)
    assert [int(b[0] // 1e6) for b in batches[:12]] == [0, 1] * 6


@pytest.mark.parametrize("sizes", [(50,), (40, 7, 23), (0, 30, 1)])
def test_ranges_cover_the_log_once_and_tell_the_batches(sizes: tuple[int, ...]) -> None:
    log = Log(2, sizes)
    for restart in (None, 1, 3):
        expected, published = run(log, 5, restart_every=restart)
        reached = dict.fromkeys(log.records, 0)
        for ranges in published:
            for r in ranges:
                assert r.start == reached[r.topic, r.partition]
                reached[r.topic, r.partition] = r.end
        assert reached == log.ends
        assert [b for ranges in published for b in replay(log, ranges)] == expected


def replay(log: Log, ranges: list[Range], size: int = 4) -> list[tuple[float, ...]]:
    """The batches of a weights record from nothing but its ranges, as the rule in batches.py says."""
    out = []
    for group in sorted({r.group for r in ranges}):
        queues = []
        for r in (r for r in ranges if r.group == group):
            at = (r.topic, r.partition)
            rows = [number(at, o) for o, fine in log.records[at] if fine and r.start <= o < r.end]
            assert len(rows) == r.records
            queues.append(rows)
        while any(queues):
            for queue in queues:
                if queue:
                    out.append(tuple(queue[:size]))
                    del queue[:size]
    return out


def drained(batches: Batches) -> list[tuple[float, ...]]:
    """All batches that can be cut now."""
    out = []
    while (portion := batches.next(5)) is not None:
        out += cut(portion.y, 4)
        batches.done(portion)
    return out


def test_live_mode_cuts_short_after_the_wait_and_says_so() -> None:
    log = Log(6, (30, 30, 30))
    batches = made(dict.fromkeys(log.records, 0), max_wait=0.0)  # nothing waits
    read, out = dict.fromkeys(log.records, 0), []
    chance = random.Random(1)
    while read != log.ends:
        at = chance.choice(sorted(log.records))
        read[at] = feed(batches, log, at, read[at], chance.randint(1, 11))
        out += drained(batches)
    assert any(len(b) < 4 for b in out)
    assert batches.positions() == log.ends
    assert replay(log, batches.ranges()) == out


def test_live_mode_lets_a_partition_that_is_behind_catch_up() -> None:
    """It has many records while the others have no batch: they are passed over, and the ranges say so."""
    log = Log(9, (400, 90, 90))
    behind = (T, 0)
    batches = made(dict.fromkeys(log.records, 0), max_wait=3600.0)  # nothing is cut short
    read, out = dict.fromkeys(log.records, 0), []
    read[behind] = feed(batches, log, behind, 0, 350)
    out += drained(batches)
    assert len(batches.by_partition[behind]) < 4
    chance = random.Random(2)
    while read != log.ends:
        at = chance.choice(sorted(log.records))
        read[at] = feed(batches, log, at, read[at], chance.randint(1, 11))
        out += drained(batches)
        assert all(len(lane) < 4 for lane in batches.lanes)
    assert replay(log, batches.ranges()) == out


def test_live_mode_waits_until_the_time_is_over() -> None:
    log = Log(7, (3,))
    batches = made({(T, 0): 0}, max_wait=60.0)
    feed(batches, log, (T, 0), 0, 3)
    assert batches.next(1) is None


def test_bad_records_alone_advance_the_position() -> None:
    batches = made({(T, 0): 0})
    none = np.empty((0, 1))
    batches.add((T, 0), none, none[:, 0], np.empty(0, np.int64), 9)
    assert batches.positions() == {(T, 0): 9}
    assert batches.ranges() == [Range(T, 0, 0, 9, 0, 0)]


def test_a_waiting_record_holds_the_position() -> None:
    batches = made({(T, 0): 0})
    batches.add((T, 0), np.ones((1, 1)), np.ones(1), np.array([5]), 20)
    assert batches.positions() == {(T, 0): 5}


def test_markers_at_the_end_are_passed() -> None:
    batches = made({(T, 0): 0})
    batches.stop_at({(T, 0): 10})
    batches.add((T, 0), np.ones((4, 1)), np.ones(4), np.arange(5, 9), 9)
    portion = batches.next(9)
    assert portion is not None
    batches.done(portion)
    assert not batches.ended
    batches.passed((T, 0), 11)
    assert batches.ended
    assert batches.positions() == {(T, 0): 10}


def test_many_records_before_any_is_taken() -> None:
    batches = made({(T, 0): 0}, size=7)
    for first in range(0, 60_000, 5_000):
        n = np.arange(first, first + 5_000)
        batches.add((T, 0), n[:, np.newaxis].astype(float), n.astype(float), n, first + 5_000)
    seen = []
    while (portion := batches.next(100)) is not None:
        seen.append(portion.y.copy())
        batches.done(portion)
    assert np.array_equal(np.concatenate(seen), np.arange(60_000 - 60_000 % 7))
