"""Waiting for queries to catch up: which statements have one to wait for, and that waiting ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from gradstream.errors import DataError, UnavailableError
from gradstream.shell import catch_up
from gradstream.shell.catch_up import sink_of, wait_for
from gradstream.shell.client import KsqlClient


@pytest.mark.parametrize(
    ("statement", "sink"),
    [
        ("CREATE STREAM a WITH (KAFKA_TOPIC='t') AS SELECT * FROM b;", "a"),
        ("create or replace stream if not exists `a b` as\nselect x from b emit changes;", "`a b`"),
        ("CREATE TABLE t AS SELECT k, COUNT(*) FROM b GROUP BY k;", "t"),
        ("CREATE STREAM a (x INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');", None),
        ("INSERT INTO a SELECT * FROM b;", None),
        ("SELECT * FROM b EMIT CHANGES;", None),
    ],
)
def test_sink_of_a_statement(statement: str, sink: str | None) -> None:
    assert sink_of(statement) == sink


class Answers:
    """A server whose query reads up to the given offsets, one at each look."""

    def __init__(self, committed: list[int | None], end: int) -> None:
        self.committed, self.end = committed, end

    def execute(self, statement: str) -> list[dict[str, Any]]:
        assert statement == "DESCRIBE a EXTENDED;"
        now = self.committed.pop(0) if len(self.committed) > 1 else self.committed[0]
        at = {"partition": 0, "logStartOffset": 10, "logEndOffset": self.end, "consumerOffset": now}
        summary = {"groupId": "g", "topicSummaries": [{"kafkaTopic": "t", "offsets": [at]}]}
        self.end += 5  # the source goes on growing, which must not keep us waiting
        return [{"sourceDescription": {"queryOffsetSummaries": [summary]}}]


def test_waits_for_what_the_source_held_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "LOOK_SECONDS", 0.0)
    told: list[tuple[int, int]] = []
    answers = Answers([None, 40, 110], end=110)
    found = wait_for(cast(KsqlClient, answers), ["a", "a"], lambda *n: told.append(n))
    assert found == 100
    assert told == [(0, 100), (30, 100), (100, 100)]


def test_says_so_when_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(catch_up, "STUCK_SECONDS", 0.05)
    with pytest.raises(UnavailableError, match="CATCHING_UP: 90 records"):
        wait_for(cast(KsqlClient, Answers([20], end=110)), ["a"], lambda *n: None)


def test_a_query_that_has_failed_is_told_at_once() -> None:
    class Failed:
        def execute(self, statement: str) -> list[dict[str, Any]]:
            return [{"sourceDescription": {"writeQueries": [{"id": "CSAS_A_1", "state": "ERROR"}]}}]

    with pytest.raises(DataError, match=r"^QUERY_FAILED: query CSAS_A_1 behind a has stopped"):
        wait_for(cast(KsqlClient, Failed()), ["a"], lambda *n: None)


class FirstCommitIsLate:
    """ksqlDB's way: a query's topics are listed from its first commit on, here the third look."""

    def __init__(self, reset: str, rows: list[list[int]]) -> None:
        self.reset, self.rows, self.looks = reset, rows, 0

    def execute(self, statement: str) -> list[dict[str, Any]]:
        if statement == "EXPLAIN `CSAS_A_1`;":
            properties = {"ksql.streams.auto.offset.reset": self.reset}
            explained = {"overriddenProperties": properties, "sources": ["SOURCE"]}
            return [{"queryDescription": explained}]
        self.looks += 1
        at = {"partition": 0, "logStartOffset": 0, "logEndOffset": 7, "consumerOffset": 7}
        topics = [{"kafkaTopic": "t", "offsets": [at]}] if self.looks >= 3 else []
        summary = {"groupId": "g", "topicSummaries": topics}
        queries = [{"id": "CSAS_A_1", "state": "RUNNING"}]
        described = {"writeQueries": queries, "queryOffsetSummaries": [summary]}
        return [{"sourceDescription": described}]

    @contextmanager
    def query(self, statement: str) -> Iterator[list[list[int]]]:
        assert statement == "SELECT * FROM `SOURCE` LIMIT 1;"
        yield self.rows


@pytest.mark.parametrize(
    ("reset", "rows", "read", "looks"),
    [("earliest", [[1]], 7, 3), ("earliest", [], 0, 1), ("latest", [[1]], 0, 1)],
)
def test_a_query_that_has_committed_nothing_yet_is_waited_for_where_it_has_something_to_read(
    reset: str, rows: list[list[int]], read: int, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "LOOK_SECONDS", 0.0)
    server = FirstCommitIsLate(reset, rows)
    assert wait_for(cast(KsqlClient, server), ["a"], lambda *n: None) == read
    assert server.looks == looks
