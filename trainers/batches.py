"""Columns to batches, with the offset ranges that they cover.

A batch is a function of the log alone: ``batch_size`` consecutive good records of one partition, the partitions
taken in turn. What a fetch happened to return, a restart or a rebalance cannot change it. Only the end of a bounded
log, or in live mode the wait of a record for its batch, makes a batch shorter; and in live mode a partition that has
no batch is passed over.

Ranges say how to cut the same batches again. Ranges of one *group* are interleaved: round robin in the order listed,
``batch_size`` good records at a time from the start of each, exhausted ranges skipped, until all are. A short batch is
the last of its range and ends its group.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gradstream.wire.records import Records, TopicPartition
from trainers import aligned
from trainers.models import Floats, Ints

ROOM = 16_384  # rows a lane starts with at most
ROOM_NUMBERS = 1 << 21  # and numbers in them


@dataclass(slots=True)
class Range:
    """Half-open offsets of one partition.

    Attributes:
        records: good records in it, which were trained on.
        group: ranges with the same number are interleaved.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: int
    group: int


class Lane:
    """One partition's good records that wait for their batch, in the order of offsets.

    Attributes:
        X: design matrix rows; those from ``first`` to ``last`` wait.
        read: offset after the last record seen, good or bad.
        end: offset at which a bounded log stops, None for a live one.
    """

    def __init__(self, at: TopicPartition, inputs: int, bias: bool, position: int) -> None:
        self.at = at
        self.bias = int(bias)
        room = max(1, min(ROOM, ROOM_NUMBERS // inputs))
        self.X = aligned.ones(room, inputs)
        self.y = aligned.empty(room)
        self.offsets: Ints = np.empty(room, np.int64)
        self.first = self.last = 0
        self.read = position
        self.end: int | None = None
        self.since = time.monotonic()  # when the oldest waiting record came, or the lane fell empty

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def position(self) -> int:
        """The offset from which a successor must read: no good record before it is untrained."""
        return int(self.offsets[self.first]) if len(self) else self.read

    @property
    def ended(self) -> bool:
        return self.end is not None and self.read >= self.end

    def append(self, features: Floats, target: Floats, offsets: Ints) -> None:
        if not len(offsets):
            return
        if not len(self):
            self.since = time.monotonic()
        if self.last + len(offsets) > len(self.y):
            self._make_room(len(offsets))
        rows = slice(self.last, self.last + len(offsets))
        self.X[rows, self.bias :] = features
        self.y[rows] = target
        self.offsets[rows] = offsets
        self.last += len(offsets)

    def _make_room(self, more: int) -> None:
        """Moves what waits to the front, into larger arrays if it must. Views handed out before become invalid."""
        waiting, old = len(self), slice(self.first, self.last)
        X, y, offsets = self.X, self.y, self.offsets
        if 2 * (waiting + more) > len(self.y):
            room = 2 * (waiting + more)
            self.X, self.y = aligned.ones(room, X.shape[1]), aligned.empty(room)
            self.offsets = np.empty(room, np.int64)
        self.X[:waiting] = X[old]
        self.y[:waiting] = y[old]
        self.offsets[:waiting] = offsets[old]
        self.first, self.last = 0, waiting

    def take(self, count: int) -> None:
        self.first += count
        self.since = time.monotonic()


@dataclass(frozen=True, slots=True)
class Portion:
    """Batches to train on in one call.

    Attributes:
        X, y: ``batches`` batches of ``batch_size`` rows one after another; a short batch comes alone. Valid until
            records are added.
        takes: (lane, rows) of each run of batches, in order.
    """

    X: Floats
    y: Floats
    batch_size: int
    takes: tuple[tuple[Lane, int], ...]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def batches(self) -> int:
        return -(-len(self.y) // self.batch_size)


@dataclass(slots=True)
class _Group:
    ranges: dict[TopicPartition, Range] = field(default_factory=dict)
    passed: set[TopicPartition] = field(default_factory=set)


class Batches:
    """The lanes of a topic's partitions and whose turn it is.

    Args:
        positions: where each partition starts, by (topic, partition); all partitions of the topic.
        turn: index, in the sorted order of partitions, of the one that gives the next batch.
        max_wait: in live mode, seconds after which a waiting record is trained in a short batch; None: never.
    """

    def __init__(
        self,
        positions: Mapping[TopicPartition, int],
        *,
        inputs: int,
        bias: bool,
        batch_size: int,
        turn: int = 0,
        max_wait: float | None = None,
    ) -> None:
        self.lanes = [Lane(at, inputs, bias, positions[at]) for at in sorted(positions)]
        self.by_partition = {lane.at: lane for lane in self.lanes}
        self.inputs = inputs
        self.batch_size = batch_size
        self.turn = turn
        self.max_wait = max_wait
        self._covered = dict(positions)
        self._groups = [_Group()]

    def stop_at(self, ends: Mapping[TopicPartition, int]) -> None:
        """Bounds the log: records at these offsets and after are not taken."""
        for at, end in ends.items():
            self.by_partition[at].end = end

    @property
    def ended(self) -> bool:
        """Whether everything before the bounds has been taken."""
        return all(lane.ended and not len(lane) for lane in self.lanes)

    @property
    def waiting(self) -> int:
        return sum(map(len, self.lanes))

    def add(
        self, at: TopicPartition, features: Floats, target: Floats, offsets: Ints, read: int
    ) -> None:
        """Good records of one partition, shape (n, features), and the offset after the last one seen, good or bad."""
        lane = self.by_partition[at]
        lane.append(features, target, offsets)
        lane.read = max(lane.read, read)

    def next(self, most: int) -> Portion | None:
        """The next batches, at most so many; None while the log must give more first. Call ``done`` once trained."""
        if len(self.lanes) == 1:
            lane = self.lanes[0]
            if (full := min(most, len(lane) // self.batch_size)) > 0:
                return self._portion([(lane, full * self.batch_size)])
        takes: list[tuple[Lane, int]] = []
        taken = dict.fromkeys(self.by_partition, 0)
        turn = self.turn
        while len(takes) < most and (found := self._walk(turn, taken)) is not None:
            at, count = found
            if count < self.batch_size and takes:
                break  # a short batch comes alone
            lane = self.lanes[at]
            takes.append((lane, count))
            taken[lane.at] += count
            turn = (at + 1) % len(self.lanes)
            if count < self.batch_size:
                break
        return self._portion(takes) if takes else None

    def _walk(self, turn: int, taken: Mapping[TopicPartition, int]) -> tuple[int, int] | None:
        """Which lane gives the next batch, and how many rows; None when the one whose turn it is must be waited for.

        In live mode none is waited for while another has a batch: else one that is behind would stay behind, since it
        could give no more batches than the one that has nothing but new records.
        """
        for step in range(len(self.lanes)):
            at = (turn + step) % len(self.lanes)
            lane = self.lanes[at]
            left = len(lane) - taken[lane.at]
            if left >= self.batch_size:
                return at, self.batch_size
            if lane.ended or self._overdue(lane):
                if left:
                    return at, left
            elif self.max_wait is None:
                return None
        return None

    def _overdue(self, lane: Lane) -> bool:
        return self.max_wait is not None and time.monotonic() - lane.since >= self.max_wait

    def patience(self) -> float | None:
        """Seconds until a waiting record may be trained in a short batch; None where there is nothing to wait for."""
        if self.max_wait is None or not self.waiting:
            return None
        now = time.monotonic()
        left = [lane.since + self.max_wait - now for lane in self.lanes]
        return min((seconds for seconds in left if seconds > 0), default=0.0)

    def _portion(self, takes: Sequence[tuple[Lane, int]]) -> Portion:
        if len(takes) == 1:
            lane, count = takes[0]
            rows = slice(lane.first, lane.first + count)
            return Portion(lane.X[rows], lane.y[rows], self.batch_size, tuple(takes))
        at = {lane.at: lane.first for lane, _ in takes}
        total = sum(count for _, count in takes)
        X, y = aligned.empty(total, self.inputs), aligned.empty(total)
        filled = 0
        for lane, count in takes:
            rows = slice(at[lane.at], at[lane.at] + count)
            X[filled : filled + count], y[filled : filled + count] = lane.X[rows], lane.y[rows]
            at[lane.at] += count
            filled += count
        return Portion(X, y, self.batch_size, tuple(takes))

    def done(self, portion: Portion) -> None:
        """Counts a portion as trained: its rows are gone, its offsets covered, the turn is the next lane's."""
        for lane, count in portion.takes:
            self._pass_over(lane)
            lane.take(count)
            self._cover(lane, count)
            self.turn = (self.lanes.index(lane) + 1) % len(self.lanes)
            if count % self.batch_size:
                self._groups.append(_Group())

    def _pass_over(self, lane: Lane) -> None:
        """Notes the lanes that were skipped because they had nothing: once they give again, a new group begins."""
        group, at = self._groups[-1], self.lanes.index(lane)
        skipped = self.turn
        while skipped != at:
            group.passed.add(self.lanes[skipped].at)
            skipped = (skipped + 1) % len(self.lanes)
        if lane.at in group.passed:
            self._groups.append(_Group())

    def _cover(self, lane: Lane, count: int) -> None:
        start, end = self._covered[lane.at], lane.position
        ranges = self._groups[-1].ranges
        if (known := ranges.get(lane.at)) is None:
            topic, partition = lane.at
            ranges[lane.at] = Range(topic, partition, start, end, count, len(self._groups) - 1)
        else:
            known.end, known.records = end, known.records + count
        self._covered[lane.at] = end

    def positions(self) -> dict[TopicPartition, int]:
        """Where a successor starts: the offsets to commit with what has been trained."""
        return {lane.at: lane.position for lane in self.lanes}

    def ranges(self) -> list[Range]:
        """What has been covered since ``published``, up to ``positions``, bad records included."""
        found = [r for group in self._groups for r in group.ranges.values()]
        latest = {(r.topic, r.partition): r for r in found}
        for lane in self.lanes:
            start, end = self._covered[lane.at], lane.position
            if end > start and lane.at in latest:
                latest[lane.at].end = self._covered[lane.at] = end
            elif end > start:  # bad records only
                found.append(Range(*lane.at, start, end, 0, len(self._groups) - 1))
        return found

    def published(self) -> None:
        """Begins new ranges."""
        self._groups = [_Group()]
        self._covered = self.positions()

    def passed(self, at: TopicPartition, position: int) -> None:
        """Notes that the log has no record before ``position`` that has not been added (gaps, markers, its end)."""
        lane = self.by_partition.get(at)
        if lane is not None:
            bound = position if lane.end is None else min(position, lane.end)
            lane.read = max(lane.read, bound)


def lane_rows(
    records: Records, at: TopicPartition, end: int | None
) -> tuple[slice | npt.NDArray[np.int64], int] | None:
    """The rows of one partition before ``end`` and the last offset among them, None if there are none."""
    rows: slice | npt.NDArray[np.int64]
    if records.partition[0] == at[1] and (records.partition == at[1]).all():
        count = len(records) if end is None else int(np.searchsorted(records.offset, end))
        rows, offsets = slice(0, count), records.offset[:count]
    else:
        mine = records.partition == at[1]
        rows = np.flatnonzero(mine if end is None else mine & (records.offset < end))
        offsets = records.offset[rows]
    return (rows, int(offsets[-1])) if len(offsets) else None
