"""Weights records go out in a thread of their own, one transaction at a time, while the loop reads and trains on.

A transaction is almost all waiting for the broker's answers. What the loop does meanwhile counts only once that
transaction has been committed: the next one is built on it and waits for it, and where it fails the loop goes back to
the newest committed record, as after any failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from gradstream.errors import UnavailableError
from gradstream.wire.beside import Beside
from gradstream.wire.writer import TransactionAborted, Writer
from trainers import checkpoint
from trainers.chain import WeightsRecord
from trainers.dead_letters import DeadLetter
from trainers.preflight import Plan

SLICE = 0.5  # seconds of waiting after which a signal is served
LONGEST = (
    180.0  # seconds after which a transaction is given up, whose own time limits are long over
)
LAST_WAIT = 2.0  # seconds for a transaction under way while the program ends on an error


class Publisher:
    """Publishes one record after another. Belongs to the loop's thread; the writer is its alone between start and wait.

    Args:
        on_publish: called in the loop's thread with each record after its transaction has been committed.

    Attributes:
        aborted: transactions in a row that have been aborted.
        committed: the newest record whose transaction is known to be committed, None before the first.
    """

    def __init__(
        self,
        plan: Plan,
        writer: Writer,
        on_publish: Callable[[WeightsRecord], None] | None = None,
    ) -> None:
        self._plan, self._writer, self._on_publish = plan, writer, on_publish
        self._open: tuple[WeightsRecord, Beside] | None = None
        self.aborted = 0
        self.committed: WeightsRecord | None = None

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way; ``poll`` or ``wait`` tell how it ended."""
        return self._open is not None

    def watch_out(self, check: Callable[[], None]) -> None:
        """Has this called before the writer fences others by a new start; what it raises, the transaction raises."""
        self._writer.before_renewal = check

    def renew(self) -> None:
        """A new producer, after the broker has ended the old one's transaction for its age."""
        self._writer.renew()

    def start(
        self, record: WeightsRecord, letters: list[DeadLetter], group_metadata: object
    ) -> None:
        """Begins to publish; ``wait`` for the transaction before it first."""
        assert self._open is None
        work = partial(
            checkpoint.publish, self._plan, self._writer, record, letters, group_metadata
        )
        self._open = record, Beside("publish", work)

    def poll(self) -> None:
        """Returns at once; if a transaction has ended, as ``wait``."""
        if self._open is not None and not self._open[1].is_alive():
            self.wait()

    def wait(self) -> None:
        """Returns once nothing is under way.

        Raises:
            What the transaction raised: see checkpoint.publish.
        """
        if self._open is None:
            return
        record, transaction = self._open
        deadline = time.monotonic() + LONGEST
        while transaction.is_alive():
            transaction.join(SLICE)
            if time.monotonic() > deadline:
                raise UnavailableError(
                    "PUBLISH_STUCK",
                    f"the transaction of step {record.step} has had no answer for {LONGEST:.0f} s; start again, and the "
                    "run goes on where the broker says that it stands",
                )
        self._open = None
        try:
            transaction.check()
        except TransactionAborted:
            self.aborted += 1
            raise
        self.aborted, self.committed = 0, record
        if self._on_publish:
            self._on_publish(record)

    def settle(self) -> None:
        """As ``wait``, before what has been committed is read again: there an aborted transaction is no news.

        A writer that could not be made anew while the broker was away is made now, so that the broker has ended its
        transaction one way or the other before anybody looks.
        """
        with suppress(TransactionAborted):
            self.wait()
        self._writer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is None:
            return
        transaction = self._open[1]
        transaction.join(LAST_WAIT)
        if transaction.is_alive():
            self._writer.abandon()
