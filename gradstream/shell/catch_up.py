"""Waiting until queries have read what their sources held when we began to wait."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from gradstream.errors import DataError, UnavailableError
from gradstream.shell.client import KsqlClient, RefusedStatementError

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
    goals: dict[str, dict[Place, int]] = {name: {} for name in names}
    moved, before = time.monotonic(), -1
    while True:
        left = total = 0
        described = {name: _described(client, name) for name in names}
        for name in names:
            for at, (start, end, committed) in _places(described[name]).items():
                goal = goals[name].setdefault(at, end)
                total += goal - start
                left += max(0, goal - max(committed, start))
        on_count(total - left, total)
        if not left and not any(_has_not_begun(client, each) for each in described.values()):
            return total
        if left != before:
            moved, before = time.monotonic(), left
        elif time.monotonic() - moved > STUCK_SECONDS:
            raise UnavailableError(
                "CATCHING_UP",
                f"{f'{left:,} ' if left else ''}records of the sources of {', '.join(names)} are still unread, and "
                f"nothing moved for {STUCK_SECONDS:.0f} s; see the state of the queries with "
                "gradstream sql -e 'SHOW QUERIES;'",
            )
        time.sleep(LOOK_SECONDS)


def _described(client: KsqlClient, name: str) -> Mapping[str, Any]:
    """What the server says of a stream; raises QUERY_FAILED where a query that fills it has stopped."""
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
    return described


def _places(described: Mapping[str, Any]) -> dict[Place, tuple[int, int, int]]:
    """(first, end, committed) offset by (topic, partition) of what a stream's queries read."""
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


def _has_not_begun(client: KsqlClient, described: Mapping[str, Any]) -> bool:
    """Whether a query that is to start with the oldest row has committed nothing yet, though there are rows.

    ksqlDB lists a query's topics only from its first commit on, some seconds after it was made; gradstream's engine
    lists them at once, so it is not asked for more.
    """
    queries = described.get("writeQueries", [])
    begun = sum(bool(each["topicSummaries"]) for each in described.get("queryOffsetSummaries", []))
    return begun < len(queries) and any(_starts_with_rows(client, query["id"]) for query in queries)


def _starts_with_rows(client: KsqlClient, query: str) -> bool:
    explained = client.execute(f"EXPLAIN `{query}`;")[0]["queryDescription"]
    properties = explained["overriddenProperties"].items()
    if ("auto.offset.reset", "earliest") not in (
        (name.removeprefix("ksql.streams."), value) for name, value in properties
    ):
        return False
    return any(_has_rows(client, source) for source in explained["sources"])


def _has_rows(client: KsqlClient, source: str) -> bool:
    try:
        with client.query(f"SELECT * FROM `{source}` LIMIT 1;") as rows:  # noqa: S608  as the server has it
            return any(True for _ in rows)
    except RefusedStatementError:  # not every table can be asked
        return False
