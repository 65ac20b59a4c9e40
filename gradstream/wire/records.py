"""A chunk of a topic as columns: no Python object for a record.

Two shapes carry everything on a hot path. Raw bytes are a ``pyarrow.BinaryArray`` (one buffer, offsets, a null for
Kafka's null); decoded rows are a ``pyarrow.RecordBatch`` or, for the trainer, one float matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TopicPartition: TypeAlias = tuple[str, int]
Headers: TypeAlias = list[tuple[str, bytes | None]]
# Addresses of values in memory: of the first byte of each, 0 for null, and after its last; int64 (n,) both.
Spans: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def no_headers(row: int) -> Headers:
    """For records whose headers were not asked for, or that have none."""
    return []


@dataclass(frozen=True, slots=True)
class Records:
    """Records in the order in which they were fetched; within a partition that is the order of offsets.

    Attributes:
        topics: the topic names that ``topic`` counts into.
        topic: int32, shape (n,), index into ``topics``.
        partition: int32, shape (n,).
        offset: int64, shape (n,). Not contiguous: transactions leave gaps.
        timestamp: int64, shape (n,), milliseconds since 1970.
        key: BinaryArray of length n.
        value: BinaryArray of length n; null is a tombstone.
        headers: the headers of row i, read on demand.
    """

    topics: tuple[str, ...]
    topic: npt.NDArray[np.int32]
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    timestamp: npt.NDArray[np.int64]
    key: pa.BinaryArray
    value: pa.BinaryArray
    headers: Callable[[int], Headers] = no_headers

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def spans(self) -> Spans | None:
        """Where the values lie, if they have not been copied into ``value`` yet: for who can read them there and then.

        Nothing at these addresses may be read after ``value`` was asked for, or the reader for anything.
        """
        return None
