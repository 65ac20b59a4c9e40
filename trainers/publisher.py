"""Weights records go out in a thread of their own, one transaction at a time, while the loop reads and trains on.

A transaction is almost all waiting for the broker's answers. What the loop does meanwhile counts only once that
transaction has been committed: the next one is built on it and waits for it, and where it fails the loop goes back to
the newest committed record, as after any failure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gradstream.wire.writer import TransactionAborted, Writer
from trainers import checkpoint
from trainers.chain import WeightsRecord
from trainers.dead_letters import DeadLetter
from trainers.preflight import Plan

SLICE = 0.5  # seconds of waiting after which a signal is served
LAST_WAIT = 2.0  # seconds for a transaction under way while the program ends on an error


@dataclass(slots=True)
class _Transaction:
    record: WeightsRecord
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Publisher:
    """Publishes one record after another. Belongs to the loop's thread; the writer is its alone between start and wait.

    Args:
        on_publish: called in the loop's thread with each record after its transaction has been committed.

    Attributes:
        aborted: transactions in a row that have been aborted.
    """

    def __init__(
        self,
        plan: Plan,
        writer: Writer,
        on_publish: Callable[[WeightsRecord], None] | None = None,
    ) -> None:
        self._plan, self._writer, self._on_publish = plan, writer, on_publish
        self._open: _Transaction | None = None
        self.aborted = 0

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way; ``poll`` or ``wait`` tell how it ended."""
        return self._open is not None

    def start(
        self, record: WeightsRecord, letters: list[DeadLetter], group_metadata: object
    ) -> None:
        """Begins to publish; ``wait`` for the transaction before it first."""
        assert self._open is None
        self._open = _Transaction(record)
        # A daemon, so that a broker that is away cannot keep the program from ending.
        threading.Thread(
            target=self._publish,
            args=(self._open, letters, group_metadata),
            name="publish",
            daemon=True,
        ).start()

    def _publish(
        self, transaction: _Transaction, letters: list[DeadLetter], group_metadata: object
    ) -> None:
        try:
            checkpoint.publish(
                self._plan, self._writer, transaction.record, letters, group_metadata
            )
        except Exception as error:  # noqa: BLE001  the loop's thread raises it
            transaction.error = error
        finally:
            transaction.done.set()

    def poll(self) -> None:
        """Returns at once; if a transaction has ended, as ``wait``."""
        if self._open is not None and self._open.done.is_set():
            self.wait()

    def wait(self) -> None:
        """Returns once nothing is under way.

        Raises:
            What the transaction raised: see checkpoint.publish.
        """
        if (transaction := self._open) is None:
            return
        while not transaction.done.wait(SLICE):
            pass
        self._open = None
        if transaction.error is not None:
            self.aborted += isinstance(transaction.error, TransactionAborted)
            raise transaction.error
        self.aborted = 0
        if self._on_publish:
            self._on_publish(transaction.record)

    def settle(self) -> None:
        """As ``wait``, before what has been committed is read again: there an aborted transaction is no news."""
        with suppress(TransactionAborted):
            self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None and not self._open.done.wait(LAST_WAIT):
            self._writer.abandon()
