"""Says why no records come, where an open transaction of somebody else hides the next ones."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.wire.beside import Beside
from gradstream.wire.kafka import end_offsets
from gradstream.wire.records import TopicPartition

PATIENCE = 4.0  # seconds without a record after which we ask, and between two questions


class Waiting:
    """Asks the broker in a thread of its own, so that records that come meanwhile do not wait for the answer.

    Attributes:
        behind: what hides the next records, None while records come or nothing does.
    """

    def __init__(self, services: Services, topic: str) -> None:
        self.behind: str | None = None
        self._services, self._topic = services, topic
        self._since = time.monotonic()
        self._question: Beside | None = None

    def note(self, records: int, positions: Mapping[TopicPartition, int]) -> None:
        """After each fetch: how many records it gave, and up to where everything has been read."""
        now = time.monotonic()
        if records:
            self._since, self.behind = now, None
        elif now - self._since > PATIENCE and not (self._question and self._question.is_alive()):
            self._since = now
            self._question = Beside("waiting", lambda: self._ask(dict(positions)))

    def _ask(self, positions: Mapping[TopicPartition, int]) -> None:
        try:
            stable = end_offsets(self._services, self._topic, isolation="read_committed")
            ends = end_offsets(self._services, self._topic)
        except GradstreamError:  # the reader tells of a broker that is away
            return
        hidden = [at for at, end in stable.items() if positions.get(at, 0) >= end < ends[at]]
        self.behind = None
        if hidden:
            self.behind = (
                f"waiting behind an open transaction at offset {stable[hidden[0]]} of {self._topic} partition "
                f"{hidden[0][1]}: its producer has neither committed nor aborted, and the broker will after its timeout"
            )
