"""The log once more, cut into the batches of which weights records tell, in their order.

    with Replay(plan, starts, ends) as replay:
        for portion in replay.portions(record.inputs, batch_size, room):
            …

Nothing is written and no group is joined. What is read beyond a range waits for the next one, so that each record of
the log is read and decoded once, however many weights records lie on the way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Self

import numpy as np

from gradstream.errors import DataError, UnavailableError
from gradstream.wire.reader import open_log_reader
from gradstream.wire.records import Records, TopicPartition
from trainers.batches import Batches, Lane, Portion, Range, lane_rows
from trainers.dead_letters import DeadLetters
from trainers.intake import Decoded, Intake
from trainers.interrupts import Interrupts
from trainers.loop import AHEAD, BLOCK, CHUNK, CHUNK_NUMBERS
from trainers.models import Floats, Ints
from trainers.preflight import Plan

WAIT = 0.5  # seconds that a fetch waits for a record at most
PATIENCE = 30.0  # seconds without any progress: the ends of all ranges have been committed long ago


@dataclass(slots=True)
class Tail:
    """Good records of one partition that no range has taken yet.

    Attributes:
        read: offset after the last record seen, good or bad.
    """

    read: int
    rows: int = 0
    pieces: deque[tuple[Floats, Floats, Ints]] = field(default_factory=deque)

    def append(self, features: Floats, target: Floats, offsets: Ints) -> None:
        if len(offsets):
            self.pieces.append((features, target, offsets))
            self.rows += len(offsets)

    def pop(self, end: int) -> tuple[Floats, Floats, Ints] | None:
        """Features, target and offsets of some records before an offset, in order; None where there are none."""
        if not self.pieces:
            return None
        features, target, offsets = self.pieces[0]
        count = int(np.searchsorted(offsets, end))
        if not count:
            return None
        self.pieces.popleft()
        if count < len(offsets):
            self.pieces.appendleft((features[count:], target[count:], offsets[count:]))
        self.rows -= count
        return features[:count], target[:count], offsets[:count]


class Replay:
    """Reads a topic from ``starts`` to ``ends``.

    Args:
        starts: by (topic, partition), all partitions of the topic.
        ends: offsets at which the last of the ranges end.

    Attributes:
        letters: the records between them that cannot be trained on.
    """

    def __init__(
        self,
        plan: Plan,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._intake = Intake(plan, Interrupts())
        self._intake.prepare(sum(ends[at] - start for at, start in starts.items()))
        self._ends = dict(ends)
        self._tails = {at: Tail(start) for at, start in starts.items()}
        self._chunk = min(CHUNK, max(1, CHUNK_NUMBERS // plan.model.inputs))
        self._paused: set[TopicPartition] = set()
        self._moved = time.monotonic()
        self.letters = DeadLetters(f"trainer:{plan.job.run_id}")
        self.batches = Batches(
            starts, inputs=plan.model.inputs, bias=plan.model.bias, batch_size=BLOCK
        )
        self._reader = open_log_reader(plan.services, starts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()

    def portions(
        self, ranges: Sequence[Range], batch_size: int, room: Callable[[], int]
    ) -> Iterator[Portion]:
        """The batches of a record's ranges; a portion is valid until the next one is asked for.

        Args:
            room: how many batches the next portion may have.

        Raises:
            DataError: CHAIN_BROKEN where a range does not begin where the one before has ended, LOG_CHANGED where it
                holds another number of good records than it did.
        """
        self.batches.batch_size = batch_size
        for _, group in groupby(ranges, key=lambda r: r.group):
            yield from self._portions_of(list(group), room)

    def _portions_of(self, group: list[Range], room: Callable[[], int]) -> Iterator[Portion]:
        self._bound(group)
        taken = dict.fromkeys(self.batches.by_partition, 0)
        while not self.batches.ended:
            if not self._fill():
                self._fetch()
            while (portion := self.batches.next(room())) is not None:
                yield portion
                self.batches.done(portion)
                for lane, count in portion.takes:
                    taken[lane.at] += count
        self.batches.published()
        for r in group:
            _check_count(r, taken[r.topic, r.partition])

    def _bound(self, group: list[Range]) -> None:
        """Lets each partition end where its range does, and those without one where they stand. The first in the list
        has the turn."""
        lanes = self.batches.lanes
        for lane in lanes:
            lane.end = lane.read
        for r in group:
            lane = self.batches.by_partition[r.topic, r.partition]
            if lane.read != r.start:
                raise DataError(
                    "CHAIN_BROKEN",
                    f"a range of {r.topic!r} partition {r.partition} begins at offset {r.start}, and what was trained "
                    f"on before ended at {lane.read}: this record is no successor of its parent",
                )
            lane.end = r.end
        begins = next((r for r in group if r.records), None)
        if begins is not None:
            self.batches.turn = lanes.index(
                self.batches.by_partition[begins.topic, begins.partition]
            )

    def _fill(self) -> bool:
        """Hands over what has been read of the ranges; whether there was anything."""
        return any([self._hand_over(lane) for lane in self.batches.lanes])  # noqa: C419  each of them

    def _hand_over(self, lane: Lane) -> bool:
        tail, moved = self._tails[lane.at], False
        assert lane.end is not None  # see _bound
        while not lane.ended and len(lane) < AHEAD:
            if (piece := tail.pop(lane.end)) is not None:
                self.batches.add(lane.at, *piece, int(piece[2][-1]) + 1)
            elif tail.read > lane.read:  # bad records, gaps and markers
                self.batches.passed(lane.at, tail.read)
            else:
                break
            moved = True
        return moved

    def _fetch(self) -> None:
        before = sum(tail.read for tail in self._tails.values())
        records = self._reader.fetch(self._chunk, WAIT)
        if len(records):
            decoded = self._intake.decode(records)
            assert decoded is not None  # nobody notes a Ctrl-C here
            self._sort_in(records, decoded)
        for at, position in self._reader.position().items():
            tail = self._tails[at]
            tail.read = max(tail.read, min(position, self._ends[at]))
        self._balance()
        if sum(tail.read for tail in self._tails.values()) > before:
            self._moved = time.monotonic()
        elif time.monotonic() - self._moved > PATIENCE:
            raise UnavailableError(
                "LOG_SILENT",
                f"nothing more came from the log for {PATIENCE:.0f} s, though its ranges go on; is the broker well, or "
                "a transaction open? Try again",
            )

    def _sort_in(self, records: Records, decoded: Decoded) -> None:
        codes = decoded.codes
        for at, tail in self._tails.items():
            if (mine := lane_rows(records, at, self._ends[at])) is None:
                continue
            rows, last = mine
            good = np.arange(len(codes))[rows][codes[rows] == 0]
            tail.append(decoded.features[good], decoded.target[good], records.offset[good])
            tail.read = max(tail.read, last + 1)
        if codes.any():
            inside = codes.copy()
            for (_, partition), end in self._ends.items():
                inside[(records.partition == partition) & (records.offset >= end)] = 0
            self.letters.add(
                records, inside, lambda row, code: self._intake.reason(records, row, code)
            )

    def _balance(self) -> None:
        """Pauses partitions that have been read to their end, or far ahead of what the ranges take."""
        full = {
            at
            for at, tail in self._tails.items()
            if tail.read >= self._ends[at] or tail.rows > AHEAD
        }
        if full - self._paused:
            self._reader.pause(full - self._paused)
        if self._paused - full:
            self._reader.resume(self._paused - full)
        self._paused = full


def _check_count(r: Range, found: int) -> None:
    if found != r.records:
        raise DataError(
            "LOG_CHANGED",
            f"offsets {r.start} to {r.end} of {r.topic!r} partition {r.partition} held {r.records} good records, and now "
            f"hold {found}: the log, or a schema that it needs, is not what it was",
        )
