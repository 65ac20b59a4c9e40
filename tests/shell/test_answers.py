"""Answers of servers as things to read."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gradstream.shell import answers
from gradstream.shell.answers import Steps, Table, blocks, said, steps

QUERY = {
    "id": "CSAS_A_1",
    "queryType": "PERSISTENT",
    "state": "RUNNING",
    "queryString": "CREATE STREAM A AS\n  SELECT\n    *\n  FROM B;",
}
ENGINE = """[ SINK ] | X | Topic: X
 > [ PROJECT ] | Schema: `N` STRING KEY, `C` BIGINT | Logger: CTAS_X_0.Project
    > [ JOIN ] | INNER on (S.ID = U.ID) | Logger: CTAS_X_0.Join
       > [ SOURCE ] | S as S | Topic: t
       > [ SOURCE ] | U as U | Topic: u"""
# As ksqlDB indents: by two tabs, and the first line by a space.
KSQLDB = """ > [ PROJECT ] | Schema: `F` BIGINT | Logger: Project
\t\t > [ LEFT_JOIN ] | Schema: `F` BIGINT | Logger: Join
\t\t\t\t > [ SOURCE ] | Schema: `A` BIGINT | Logger: Left
\t\t\t\t > [ SOURCE ] | Schema: `B` BIGINT | Logger: Right
"""


def printed(entity: dict[str, Any], width: int = 80, terminal: bool = True) -> list[str]:
    file = io.StringIO()
    out = Console(file=file, force_terminal=terminal, width=width, color_system=None)
    answers.show(out, entity)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80])
def test_the_statement_of_a_query_is_one_line_that_fits(width: int) -> None:
    heading, _, line = printed({"@type": "queries", "queries": [QUERY]}, width)
    assert heading.split() == ["query", "type", "state", "statement"]
    assert line.startswith("CSAS_A_1  PERSISTENT  RUNNING  CREATE STREAM A AS SELECT")
    assert len(line) <= width


def test_topics_have_partitions_and_replicas() -> None:
    entity = {"@type": "kafka_topics", "topics": [{"name": "t", "replicaInfo": [3, 3]}]}
    assert blocks(entity) == [Table(("topic", "partitions", "replicas"), [["t", 2, 3]])]


@pytest.mark.parametrize(
    ("plan", "depths", "first"),
    [
        (ENGINE, [0, 1, 2, 3, 3], "SINK  X  Topic: X"),
        (KSQLDB, [0, 1, 2, 2], "PROJECT  Schema: `F` BIGINT"),
        ("", [], ""),
    ],
)
def test_a_plan_is_a_tree_whoever_wrote_it(plan: str, depths: list[int], first: str) -> None:
    found = steps(plan).steps
    assert [depth for depth, _ in found] == depths
    assert "".join(step for _, step in found[:1]) == first
    assert not any("Logger" in step for _, step in found)


def test_explain_draws_the_tree() -> None:
    description = {
        "id": "CTAS_X_0", "queryType": "PERSISTENT", "state": "RUNNING", "executionPlan": ENGINE,
        "fields": [{"name": "N", "schema": {"type": "STRING"}, "type": "KEY"}],
        "overriddenProperties": {"auto.offset.reset": "earliest"},
    }  # fmt: skip
    lines = printed({"@type": "queryDescription", "queryDescription": description})
    assert lines[0] == "CTAS_X_0: persistent query, RUNNING"
    assert lines[-5:] == [
        "SINK  X  Topic: X",
        "└── PROJECT  Schema: `N` STRING KEY, `C` BIGINT",
        "    └── JOIN  INNER on (S.ID = U.ID)",
        "        ├── SOURCE  S as S  Topic: t",
        "        └── SOURCE  U as U  Topic: u",
    ]
    assert "auto.offset.reset  earliest" in lines
    assert steps(ENGINE).text().splitlines() == lines[-5:]


def test_a_plan_in_a_pipe_is_not_folded() -> None:
    plan = " > [ PROJECT ] | Schema: " + "`A` BIGINT, " * 40
    entity = {"@type": "queryDescription", "queryDescription": {"executionPlan": plan}}
    assert len(printed(entity, 80, terminal=False)[-1]) > 400
    assert max(map(len, printed(entity, 80))) <= 80


def test_a_function_is_told_with_its_signatures() -> None:
    entity = {
        "@type": "describe_function", "name": "MASK", "type": "SCALAR", "description": "Masks.",
        "functions": [
            {"arguments": [{"name": "", "type": "VARCHAR", "isVariadic": False}], "returnType": "VARCHAR", "description": "Masks."},
            {"arguments": [{"name": "x", "type": "INT", "isVariadic": True}], "returnType": "INT"},
        ],
    }  # fmt: skip
    assert blocks(entity) == [
        Table(
            ("call", "gives"),
            [("MASK(VARCHAR)", "VARCHAR"), ("MASK(x INT...)", "INT")],
            "MASK: scalar function; Masks.",
        )
    ]


def test_extended_tells_queries_and_offsets() -> None:
    offsets = {"partition": 0, "logStartOffset": 1, "logEndOffset": 9, "consumerOffset": 5}
    described = {
        "name": "A", "type": "STREAM", "topic": "a", "keyFormat": "KAFKA", "valueFormat": "JSON", "extended": True,
        "fields": [{"name": "X", "schema": {"type": "ARRAY", "memberSchema": {"type": "DOUBLE"}}}],
        "writeQueries": [QUERY], "readQueries": [], "partitions": 1, "statement": "CREATE …",
        "queryOffsetSummaries": [{"groupId": "g", "topicSummaries": [{"kafkaTopic": "b", "offsets": [offsets]}]}],
    }  # fmt: skip
    fields, facts, queries, places = blocks(
        {"@type": "source_descriptions", "sourceDescriptions": [described]}
    )
    assert fields == Table(("field", "type"), [("X", "ARRAY<DOUBLE>")], "A: stream on topic a, values in JSON")  # fmt: skip
    assert isinstance(facts, Table)
    assert ("partitions", 1) in facts.rows
    assert isinstance(queries, Table)
    assert queries.rows[0][:3] == ("CSAS_A_1", "writes it", "RUNNING")
    assert isinstance(places, Table)
    assert places.rows == [("b", 0, 1, 9, 5)]


def test_what_nobody_knows_is_shown_as_it_came() -> None:
    assert printed({"@type": "connector_list", "statementText": "…", "connectors": ["c"]}) == [
        "{",
        '  "connectors": [',
        '    "c"',
        "  ]",
        "}",
    ]


@pytest.mark.parametrize(
    ("entity", "told"),
    [
        ({"@type": "currentStatus", "commandStatus": {"message": "Stream created"}}, "Stream created"),
        ({"@type": "currentStatus", "commandStatus": {"message": "Created query with ID CSAS_X_1"}}, "query CSAS_X_1 runs"),
        ({"@type": "warning_entity", "message": "Cannot add stream `A`: A stream with the same name already exists."}, "exists already, left as it is"),
        ({"@type": "terminate_query", "queryId": "q", "wasTerminated": True}, "query q was ended"),
        ({"@type": "streams", "streams": [], "warnings": [{"message": "w"}]}, "(warning: w)"),
        ({"@type": "streams", "streams": []}, ""),
    ],
)  # fmt: skip
def test_what_is_said_fits_into_a_line(entity: dict[str, Any], told: str) -> None:
    assert said(entity) == told


def test_steps_without_a_common_root_are_all_drawn() -> None:
    assert Steps([(0, "A"), (0, "B")]).text().splitlines() == ["A", "B"]
