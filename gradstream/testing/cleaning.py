"""The end of a test: whatever bears its mark is dropped."""

from __future__ import annotations

from collections.abc import Sequence

from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import delete_topics, list_topics


def clean(services: Services, mark: str, made: Sequence[str], client: KsqlClient) -> None:
    """Terminate the queries of marked streams, drop these, delete all marked topics.

    Args:
        made: names of streams and tables without the mark, as far as any were made; without one the server is not
            asked.
    """
    try:
        if made:
            for statement in _farewell(client, mark, made):
                client.execute(statement)
    finally:
        delete_topics(services, [name for name in list_topics(services) if name.endswith(mark)])


def _farewell(client: KsqlClient, mark: str, made: Sequence[str]) -> list[str]:
    """The statements that drop what there is: queries, then sources, those first that others do not read."""
    queries, streams, tables = client.execute("SHOW QUERIES; SHOW STREAMS; SHOW TABLES;")
    ends = [
        f"TERMINATE {query['id']};"
        for query in queries["queries"]
        if any(sink.endswith(mark) for sink in query["sinks"])
    ]
    kinds = {found["name"]: ("STREAM", found["topic"]) for found in streams["streams"]}
    kinds |= {found["name"]: ("TABLE", found["topic"]) for found in tables["tables"]}
    mine = [name + mark for name in reversed(made) if name + mark in kinds]
    return ends + [_drop(name, *kinds[name], mark) for name in mine]


def _drop(name: str, kind: str, topic: str, mark: str) -> str:
    # With its topic also the topic's schemas are forgotten; one that is shared must not be touched.
    with_topic = " DELETE TOPIC" if topic.endswith(mark) else ""
    return f"DROP {kind} `{name}`{with_topic};"
