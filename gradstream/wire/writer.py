"""Columns to topics, alone or in transactions that carry the reader's offsets too.

GradstreamError
├── RetryError
│   ├── TransactionAborted   nothing of it counts: go back to the last commit, then go on
│   │   └── OutcomeUnknown   it may count or not: look in the log what was committed, then go on
│   └── Fenced               another process writes under our name now: stop
└── UnavailableError
    └── ProducerBroken       this writer can do nothing more: stop, then start again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.config import Services
from gradstream.errors import RetryError, UnavailableError
from gradstream.wire.kafka import Setting
from gradstream.wire.records import Headers, TopicPartition


class TransactionAborted(RetryError):  # noqa: N818  the name is what happened
    """Nothing of the transaction counts; the caller seeks its reader back to the committed offsets and goes on."""


class OutcomeUnknown(TransactionAborted):
    """Whether the transaction counts must be read from the log; this writer can begin the next one."""


class Fenced(RetryError):  # noqa: N818  the name is what happened
    """Another writer with the same transactional id has taken over; whoever holds this one must stop."""


class ProducerBroken(UnavailableError):  # noqa: N818  the name is what happened
    """The client cannot go on; nothing of an open transaction counts."""


class Writer:
    """Sends columns of bytes, in order within each partition, each record once.

    Attributes:
        sent: records handed over so far.
        failed: records whose delivery failed for good.
        first_failure: why the first of them failed.
    """

    def __init__(
        self, services: Services, *, transactional_id: str | None = None, **tuning: Setting
    ) -> None:
        self.sent = 0
        self.failed = 0
        self.first_failure: str | None = None
        raise NotImplementedError

    @property
    def delivered(self) -> int:
        """Records that the broker has acknowledged; exact after flush()."""
        raise NotImplementedError

    def send(
        self,
        topic: str,
        values: pa.BinaryArray,
        keys: pa.BinaryArray | None = None,
        timestamps: npt.NDArray[np.int64] | None = None,
        partitions: npt.NDArray[np.int32] | None = None,
        headers: Sequence[Headers] | None = None,
    ) -> None:
        """Hand records over; a null value is a tombstone. Waits while the queue to the broker is full."""
        raise NotImplementedError

    def flush(self, timeout: float = 30.0) -> None:
        """Return when all is delivered or has failed.

        Raises:
            UnavailableError: ``FLUSH_TIMEOUT``, records are still on their way after ``timeout`` seconds.
        """
        raise NotImplementedError

    def begin(self) -> None:
        """Open a transaction."""
        raise NotImplementedError

    def commit(
        self, offsets: Mapping[TopicPartition, int] | None, group_metadata: object | None
    ) -> None:
        """Commit the records sent since begin() together with the reader's next offsets.

        Raises:
            TransactionAborted, OutcomeUnknown, Fenced, ProducerBroken: see the top of this module.
        """
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the open transaction; without one it does nothing. Does not rewind the reader."""
        raise NotImplementedError

    def close(self, timeout: float = 10.0) -> None:
        """Abort an open transaction, or flush what was sent without one; a second call does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
