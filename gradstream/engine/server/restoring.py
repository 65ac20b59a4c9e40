"""What a query has logged of what it keeps, from Kafka back into the query."""

from __future__ import annotations

import time
from collections.abc import Callable

from gradstream.config import Services
from gradstream.engine.rows.changelog import Changelog
from gradstream.errors import UnavailableError
from gradstream.wire.kafka import begin_offsets, end_offsets, ensure_topics
from gradstream.wire.reader import open_log_reader

CONFIGS = {"cleanup.policy": "compact"}
CHUNK = 16384  # records
PATIENCE = 60.0  # seconds without a record


def make_topics(services: Services, changelog: Changelog) -> None:
    """One partition each: a query is one thread, which has all partitions of its sources, so nothing is divided."""
    if changelog.topics:
        ensure_topics(services, dict.fromkeys(changelog.topics, 1), CONFIGS)


def restore(services: Services, changelog: Changelog, stopped: Callable[[], bool]) -> None:
    """Fills the stores of a query just started with what has been committed.

    No transaction of the query may be open: its end would be waited for. Records of one that was aborted are passed over.

    Raises:
        DataError: BAD_CHANGELOG, UNKNOWN_TOPIC.
        UnavailableError: STATE_UNREAD.
    """
    ends: dict[tuple[str, int], int] = {}
    position: dict[tuple[str, int], int] = {}
    for topic in changelog.topics:
        position |= begin_offsets(services, topic)
        # Also what a commit of a moment ago has not made visible yet.
        ends |= end_offsets(services, topic, isolation="read_uncommitted")
    position = {at: offset for at, offset in position.items() if offset < ends[at]}
    if position:
        deadline = time.monotonic() + PATIENCE
        with open_log_reader(services, position) as reader:
            while any(position[at] < ends[at] for at in position) and not stopped():
                records = reader.fetch(CHUNK, 0.2)
                changelog.put_back(records.key.to_pylist(), records.value.to_pylist())
                position |= reader.position()
                if len(records):
                    deadline = time.monotonic() + PATIENCE
                elif time.monotonic() > deadline:
                    raise UnavailableError(
                        "STATE_UNREAD",
                        f"{', '.join(changelog.topics)}: nothing more came in {PATIENCE:.0f} s, at {position} of {ends}; "
                        "is a transaction open there?",
                    )
    changelog.finish()
