"""Records of several partitions in the order of their times, as far as they are at hand.

As Kafka Streams has it: of the first records that the partitions have left, the oldest comes next, and a partition of
which more is still on its way is waited for. No Kafka here: whoever reads tells which partitions have come to their end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.wire.records import Headers, Records, TopicPartition, no_headers

Int64s = npt.NDArray[np.int64]


def taken(records: Records, rows: Int64s) -> Records:
    """Some of the records."""
    indices = pa.array(rows)

    def headers(row: int) -> Headers:
        return records.headers(int(rows[row]))

    return Records(
        records.topics,
        records.topic[rows],
        records.partition[rows],
        records.offset[rows],
        records.timestamp[rows],
        records.key.take(indices),
        records.value.take(indices),
        no_headers if records.headers is no_headers else headers,
    )


def joined(first: Records, second: Records) -> Records:
    """One after the other; the names of topics are those of the second, which has all of them."""
    if first.topics != second.topics[: len(first.topics)]:
        raise ValueError(f"{first.topics} and {second.topics} number topics in different ways")
    size = len(first)

    def headers(row: int) -> Headers:
        return first.headers(row) if row < size else second.headers(row - size)

    return Records(
        second.topics,
        np.concatenate([first.topic, second.topic]),
        np.concatenate([first.partition, second.partition]),
        np.concatenate([first.offset, second.offset]),
        np.concatenate([first.timestamp, second.timestamp]),
        pa.concat_arrays([first.key, second.key]),
        pa.concat_arrays([first.value, second.value]),
        no_headers if second.headers is no_headers else headers,
    )


class Merging:
    """Holds records back until it is their turn.

    Args:
        ranks: of topics; of records with equal times, those of the lower rank come first.
    """

    def __init__(self, ranks: Mapping[str, int]) -> None:
        self._ranks = dict(ranks)
        self._held: Records | None = None

    def __len__(self) -> int:
        return 0 if self._held is None else len(self._held)

    def clear(self) -> None:
        self._held = None

    def add(self, records: Records) -> None:
        """Records after all that were given before."""
        if len(records):
            held = self._held
            self._held = records if held is None else joined(held, records)

    def first(self) -> dict[TopicPartition, int]:
        """The offset of the first record of each partition that is held back."""
        if self._held is None:
            return {}
        return {at: int(self._held.offset[rows[0]]) for at, rows in self._partitions().items()}

    def take(self, awaited: Collection[TopicPartition]) -> Records | None:
        """The records whose turn it is; none may come from ``awaited`` partitions later that should have come before.

        Returns:
            None where there are none.
        """
        if self._held is None:
            return None
        held = self._held
        turn = np.zeros(len(held), np.int64)
        places = np.zeros(len(held), np.int64)  # of partitions, in the order of ranks
        found = self._partitions()
        until = np.iinfo(np.int64).max if found.keys() >= set(awaited) else -1
        for place, (at, rows) in enumerate(sorted(found.items(), key=self._rank)):
            turn[rows] = np.maximum.accumulate(held.timestamp[rows])
            places[rows] = place
            if at in awaited:
                until = min(until, int(turn[rows[-1]]))
        order = np.lexsort((np.arange(len(held)), places, turn))
        count = int(np.searchsorted(turn[order], until, "right"))
        if not count:
            return None
        rest = np.sort(order[count:])
        self._held = taken(held, rest) if len(rest) else None
        return taken(held, order[:count])

    def _partitions(self) -> dict[TopicPartition, Int64s]:
        """The positions of each partition's records."""
        assert self._held is not None
        joint = self._held.topic.astype(np.int64) << 32 | self._held.partition
        found = {}
        for number in np.unique(joint).tolist():
            at = self._held.topics[number >> 32], number & 0xFFFFFFFF
            found[at] = np.flatnonzero(joint == number)
        return found

    def _rank(self, item: tuple[TopicPartition, Int64s]) -> tuple[int, TopicPartition]:
        return self._ranks[item[0][0]], item[0]
