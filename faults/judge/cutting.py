"""Which rows belong to which batch, told in two ways: by the log alone, and by the ranges of a record.

By the log: ``size`` good records of one partition at a time, the partitions in turn, one that is short of them is waited
for; only where the bounded log ends is a batch shorter. By the ranges: those of one group are interleaved, round robin
in the order listed, a batch from the start of each until all are exhausted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from faults.judge.links import Span
from faults.judge.rows import Lane


class Batch(NamedTuple):
    """Good records from number ``first`` to before ``last`` of a partition."""

    partition: int
    first: int
    last: int


def by_log(
    lanes: Mapping[int, Lane],
    taken: Mapping[int, int],
    goal: Mapping[int, int],
    turn: int,
    size: int,
) -> Iterator[Batch]:
    """The batches of a bounded log.

    Args:
        taken: good records of each partition that have been learned from.
        goal: where the log ends, an offset of each partition that the run knew then.
        turn: which partition, in sorted order, gives the first batch.
    """
    partitions = sorted(goal)
    at = dict(taken)
    ends = {p: lanes[p].before(goal[p]) for p in partitions}
    while any(at[p] < ends[p] for p in partitions):
        partition = partitions[turn % len(partitions)]
        turn += 1
        if first := min(size, ends[partition] - at[partition]):
            yield Batch(partition, at[partition], at[partition] + first)
            at[partition] += first


def by_ranges(lanes: Mapping[int, Lane], spans: Sequence[Span], size: int) -> Iterator[Batch]:
    """The batches of a record's ranges."""
    for _, group in groupby(spans, key=lambda span: span.group):
        left = [
            (s.partition, lanes[s.partition].before(s.start), lanes[s.partition].before(s.end))
            for s in group
        ]
        while left:
            again = []
            for partition, first, end in left:
                if first < end:
                    yield Batch(partition, first, min(first + size, end))
                if first + size < end:
                    again.append((partition, first + size, end))
            left = again
