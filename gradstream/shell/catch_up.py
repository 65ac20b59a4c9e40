"""Waiting until queries have read what their sources held when we began to wait."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from gradstream.errors import DataError, UnavailableError
from gradstream.shell.client import KsqlClient

OnCount: TypeAlias = Callable[[int, int], None]
Place: TypeAlias = tuple[str, int]

STUCK_SECONDS = 30.0  # without any progress
LOOK_SECONDS = 0.2
_SINK = re.compile(
    r"(?is)\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:STREAM|TABLE)\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    r"(`[^`]+`|\"[^\"]+\"|[\w-]+).*?\bAS\s+SELECT\b"
)


def sink_of(statement: str) -> str | None:
    """The name, as written, of the stream or table that a CREATE … AS SELECT fills; None for other statements."""
    found = _SINK.match(statement)
    return found[1] if found else None


def wait_for(client: KsqlClient, sinks: Iterable[str], on_count: OnCount) -> int:
    """Returns once the queries behind these streams have read all that their sources hold now.

    Args:
        on_count: called with the records read and to be read, now and then.

    Returns:
        the number of records of the sources.

    Raises:
        UnavailableError: CATCHING_UP when nothing moves for half a minute.
        DataError: QUERY_FAILED when a query has stopped with an error: nobody else would say that its stream stays
            as it is.
    """
    names = list(dict.fromkeys(sinks))
    goals = {name: {at: end for at, (_, end, _) in _places(client, name).items()} for name in names}
    moved, before = time.monotonic(), -1
    while True:
        left = total = 0
        for name in names:
            for at, (start, _, committed) in _places(client, name).items():
                goal = goals[name].get(at, start)
                total += goal - start
                left += max(0, goal - max(committed, start))
        on_count(total - left, total)
        if not left:
            return total
        if left != before:
            moved, before = time.monotonic(), left
        elif time.monotonic() - moved > STUCK_SECONDS:
            raise UnavailableError(
                "CATCHING_UP",
                f"{left:,} records of the sources of {', '.join(names)} are still unread, and nothing moved for "
                f"{STUCK_SECONDS:.0f} s; see the state of the queries with gradstream sql -e 'SHOW QUERIES;'",
            )
        time.sleep(LOOK_SECONDS)


def _places(client: KsqlClient, name: str) -> dict[Place, tuple[int, int, int]]:
    """(first, end, committed) offset by (topic, partition) of what a stream's queries read."""
    described: Mapping[str, Any] = client.execute(f"DESCRIBE {name} EXTENDED;")[0][
        "sourceDescription"
    ]
    for query in described.get("writeQueries", []):
        if query.get("state") == "ERROR":
            raise DataError(
                "QUERY_FAILED",
                f"query {query['id']} behind {name} has stopped with an error; see why with "
                f"gradstream sql -e 'EXPLAIN {query['id']};', then TERMINATE it and apply the statement again",
            )
    return {
        (topic["kafkaTopic"], at["partition"]): (
            at["logStartOffset"],
            at["logEndOffset"],
            at.get("consumerOffset") or 0,
        )
        for query in described.get("queryOffsetSummaries", [])
        for topic in query["topicSummaries"]
        for at in topic["offsets"]
    }
