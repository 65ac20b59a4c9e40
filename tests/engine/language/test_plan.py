"""Statements to actions: what they ask for, what is refused and where, and what queries make of batches."""

from __future__ import annotations

from typing import Any

import pytest

from gradstream.engine.catalog import Column, Format
from gradstream.engine.language import plan
from gradstream.engine.types import BIGINT, INTEGER, STRING
from gradstream.errors import SqlError

SOURCE = """CREATE STREAM people (id INT KEY, name STRING, age INT, `Town` STRING)
  WITH (KAFKA_TOPIC='people', KEY_FORMAT='KAFKA', VALUE_FORMAT='DELIMITED', VALUE_DELIMITER='|', PARTITIONS=3);"""
ROWS: list[dict[str, Any] | None] = [
    {"NAME": "Hans", "AGE": 30, "Town": "Ulm"},
    {"NAME": None, "AGE": 40, "Town": "Bonn"},
    None,
    {"NAME": "Eva", "AGE": None, "Town": None},
]
KEYS = [{"ID": n} for n in range(4)]


@pytest.fixture
def people(sql: Any) -> Any:
    sql.run(SOURCE)
    return sql


def test_create_stream(people: Any) -> None:
    source = people.catalog.sources["PEOPLE"]
    assert source.columns == (
        Column("ID", INTEGER, "key"), Column("NAME", STRING), Column("AGE", INTEGER), Column("Town", STRING),
    )  # fmt: skip
    assert source.value_format == Format("DELIMITED", "|")
    assert people.actions[0].topic.partitions == 3
    assert source.statement == SOURCE


def test_projection_names_and_null_records(people: Any) -> None:
    text = "CREATE STREAM o AS SELECT id, MASK_LEFT(name, 2), age + 1 AS older, `Town` FROM people;"
    assert people.rows(text, ROWS, keys=KEYS) == [
        {"KSQL_COL_0": "Xxns", "OLDER": 31, "Town": "Ulm"},
        {"KSQL_COL_0": None, "OLDER": 41, "Town": "Bonn"},
        None,
        {"KSQL_COL_0": "Xxa", "OLDER": None, "Town": None},
    ]
    action = people.actions[-1]
    assert action.query.query_id == "CSAS_O_1"
    assert action.query.columns == ("ID", "NAME", "AGE", "Town")
    assert action.sink.value_format == Format("DELIMITED", "|")  # inherited, delimiter and all
    assert action.sink.topic == "O"
    assert people.catalog.sources["O"] == action.sink


def test_where_drops_null_records_and_logs_errors(people: Any) -> None:
    answer = people.evaluate(
        "SELECT name FROM people WHERE age > 0 OR name LIKE 'E%' EMIT CHANGES;", ROWS, keys=KEYS
    )
    assert answer.rows.tolist() == [0, 1, 3]
    answer = people.evaluate(
        "SELECT id FROM people WHERE name LIKE 'H%' EMIT CHANGES;", ROWS, keys=KEYS
    )
    assert answer.rows.tolist() == [0]
    assert [(row, step) for row, step, _ in answer.errors] == [(1, "WHERE")]


def test_an_error_nulls_its_item_alone(people: Any) -> None:
    answer = people.evaluate(
        "SELECT 10 / (age - 30) AS a, name FROM people EMIT CHANGES;", ROWS, keys=KEYS
    )
    assert answer.values.to_pylist()[0] == {"A": None, "NAME": "Hans"}
    assert answer.values.to_pylist()[1] == {"A": 1, "NAME": None}
    assert {row for row, _, _ in answer.errors} == {0, 3}


def test_columns_only_passed_on_stay_arrow(people: Any) -> None:
    """The output array is the input's, not a copy made through Python."""
    import numpy as np
    import pyarrow as pa

    query = people.query("CREATE STREAM o AS SELECT id, name, age FROM people;")
    batch = pa.RecordBatch.from_pydict(
        {"ID": pa.array([1], pa.int32()), "NAME": ["x"], "AGE": pa.array([2], pa.int32())}
    )
    values = query.evaluate(batch, np.zeros(1, np.int64), None).values
    assert values.column("NAME").buffers()[2].address == batch.column("NAME").buffers()[2].address


def test_star_pseudo_columns_and_time(people: Any) -> None:
    people.run(
        "CREATE STREAM s AS SELECT *, ROWTIME AS t, ROWPARTITION AS p, ROWOFFSET AS o FROM people;"
    )
    assert [c.name for c in people.catalog.sources["S"].columns] == [
        "ID",
        "NAME",
        "AGE",
        "Town",
        "T",
        "P",
        "O",
    ]
    text = "SELECT ROWTIME, ROWPARTITION, ROWOFFSET FROM people WHERE ROWTIME > '1970-01-01T00:00:00.001' EMIT CHANGES;"
    assert people.rows(text, ROWS[:2], keys=KEYS[:2], timestamps=[1, 2]) == [
        {"ROWTIME": 2, "ROWPARTITION": 3, "ROWOFFSET": 1}
    ]


def test_partition_by(people: Any) -> None:
    answer = people.evaluate(
        "CREATE STREAM o AS SELECT * FROM people PARTITION BY name;", ROWS, keys=KEYS
    )
    sink = people.catalog.sources["O"]
    assert [(c.name, c.role) for c in sink.columns] == [
        ("NAME", "key"),
        ("AGE", "value"),
        ("Town", "value"),
        ("ID", "value"),
    ]
    assert answer.keys.to_pylist() == [
        {"NAME": "Hans"},
        {"NAME": None},
        {"NAME": None},
        {"NAME": "Eva"},
    ]
    assert answer.null_values.tolist() == [False, False, True, False]


def test_the_sinks_own_timestamp(people: Any) -> None:
    text = "CREATE STREAM o WITH (TIMESTAMP='T', TIMESTAMP_FORMAT='yyyy') AS SELECT id, CAST(age * 100 AS STRING) AS t FROM people;"
    rows: list[dict[str, Any]] = [{"AGE": 20}, {"AGE": 1}]
    answer = people.evaluate(text, rows, keys=KEYS[:2])
    assert (answer.rows.tolist(), answer.timestamps.tolist()) == ([0], [946684800000])
    assert answer.errors[0][:2] == (1, "TIMESTAMP")


def test_insert_select_widens_and_checks(people: Any) -> None:
    people.run(
        "CREATE STREAM sink (id INT KEY, n STRING, a BIGINT) WITH (KAFKA_TOPIC='k', VALUE_FORMAT='JSON', PARTITIONS=1);"
    )
    action = people.run("INSERT INTO sink SELECT id, name AS n, age AS a FROM people;")
    assert (action.query.query_id, action.creates_sink) == ("INSERTQUERY_2", False)
    assert action.query.output[2] == Column("A", BIGINT)
    with pytest.raises(SqlError, match="Incompatible schema between results and sink"):
        people.run("INSERT INTO sink SELECT id, name AS n FROM people;")


def test_insert_values(people: Any) -> None:
    action = people.run("INSERT INTO people (ROWTIME, id, name) VALUES (5, 1, UCASE('x'));")
    assert (action.values, action.timestamp) == ((1, "X", None, None), 5)
    action = people.run("INSERT INTO people VALUES (1, 'a', 2, 'b');")
    assert action.values == (1, "a", 2, "b")
    for text, words in {
        "INSERT INTO people (id) VALUES ('x');": "Expected type INTEGER for field `ID` but got 'x'(STRING)",
        "INSERT INTO people (nam) VALUES ('x');": "Did you mean NAME?",
        "INSERT INTO people VALUES (1);": "Expected a value for each column",
        "INSERT INTO people (name) VALUES (age);": "Illegal column reference `AGE`",
        'INSERT INTO "people" (id) VALUES (1);': "Did you mean PEOPLE? Hint: try removing double quotes",
        "INSERT INTO nobody (id) VALUES (1);": "unknown stream/table: `NOBODY`",
    }.items():
        with pytest.raises(SqlError) as caught:
            people.run(text)
        assert words in caught.value.bare_message


def test_transient_queries(people: Any) -> None:
    push = people.run("SELECT name AS n, id FROM people EMIT CHANGES LIMIT 2;")
    assert (push.kind, push.query.limit, push.sink) == ("push", 2, None)
    assert [c.name for c in push.query.output] == ["N", "ID"]
    assert push.query.query_id.startswith("transient_PEOPLE_")
    assert people.run("SELECT * FROM people;").kind == "pull"


def test_the_plan_prints_as_a_tree(people: Any) -> None:
    action = people.run(
        "EXPLAIN CREATE STREAM o AS SELECT id, name FROM people WHERE age > 3 PARTITION BY id;"
    )
    lines = action.plan.split("\n")
    assert [line.split("]")[0].strip(" >[") for line in lines] == [
        "SINK",
        "PROJECT",
        "REKEY",
        "FILTER",
        "SOURCE",
    ]
    assert "(AGE > 3)" in lines[3]
    assert [len(line) - len(line.lstrip()) for line in lines] == sorted(
        len(line) - len(line.lstrip()) for line in lines
    )
    assert "O" not in people.catalog.sources


def test_if_not_exists_or_replace_and_drop(people: Any) -> None:
    with pytest.raises(SqlError, match="ALREADY_EXISTS"):
        people.run(SOURCE)
    again = people.run(SOURCE.replace("STREAM people", "STREAM IF NOT EXISTS people"))
    assert isinstance(again, plan.Nothing)
    assert again.warning
    assert people.run(SOURCE.replace("CREATE", "CREATE OR REPLACE")).replace
    assert isinstance(people.run("DROP STREAM IF EXISTS nobody;"), plan.Nothing)
    with pytest.raises(SqlError, match="Did you mean PEOPLE"):
        people.run("DROP STREAM peple;")
    people.run("DROP STREAM people DELETE TOPIC;")
    assert people.catalog.sources == {}


def test_planning_on_a_copy_leaves_the_catalog_alone(people: Any) -> None:
    copy = people.catalog.copy()
    [statement] = plan.parse("CREATE STREAM o AS SELECT * FROM people;")
    plan.apply(plan.plan_statement(statement, copy, {}), copy)
    assert "O" in copy.sources
    assert "O" not in people.catalog.sources


def test_custom_types(sql: Any) -> None:
    sql.run("CREATE TYPE address AS STRUCT<town STRING, no INT>;")
    sql.run(
        "CREATE STREAM s (a address, b ARRAY<address>) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', PARTITIONS=1);"
    )
    assert (
        str(sql.catalog.sources["S"].columns[1].type)
        == "ARRAY<STRUCT<`TOWN` STRING, `NO` INTEGER>>"
    )
    sql.run("DROP TYPE address;")
    with pytest.raises(SqlError, match="UNKNOWN_TYPE"):
        sql.run(
            "CREATE STREAM u (a address) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', PARTITIONS=1);"
        )


def test_inference_asks_for_the_columns(sql: Any) -> None:
    asked = []

    def infer(topic: str, is_key: bool, format_: Format) -> tuple[Column, ...]:
        asked.append((topic, is_key, format_.name))
        if is_key:
            raise SqlError("UNKNOWN_SCHEMA", "none")
        return (Column("V", STRING),)

    [statement] = plan.parse("CREATE STREAM s WITH (KAFKA_TOPIC='t', FORMAT='AVRO');")
    action = plan.plan_statement(statement, sql.catalog, {}, infer=infer)
    assert isinstance(action, plan.CreateSource)
    assert action.inferred
    assert asked == [("t", True, "AVRO"), ("t", False, "AVRO")]
    assert action.source.columns == (Column("V", STRING),)


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        ("SELECT * FROM poeple EMIT CHANGES;", "UNKNOWN_STREAM", (1, 15), "Did you mean PEOPLE?"),
        ("SELECT\n  nmae FROM people EMIT CHANGES;", "UNKNOWN_COLUMN", (2, 3), "Did you mean NAME?"),
        ("SELECT * FROM people WHERE name EMIT CHANGES;", "TYPE_MISMATCH", (1, 28), "Should evaluate to boolean but is NAME (STRING)"),
        ("SELECT * FROM people WHERE age = 'x' EMIT CHANGES;", "TYPE_MISMATCH", (1, 28), "Error in WHERE expression: Cannot compare AGE (INTEGER) to 'x' (STRING) with EQUAL."),
        ("CREATE STREAM o AS SELECT name FROM people;", "BAD_PROJECTION", (1, 20), "must include the key column ID in its projection"),
        ("CREATE STREAM o AS SELECT id, id AS b, age FROM people;", "BAD_PROJECTION", (1, 20), "more than once, aliased as: ID and B."),
        ("CREATE STREAM o AS SELECT id FROM people;", "BAD_PROJECTION", (1, 20), "contains no value columns"),
        ("CREATE STREAM o AS SELECT id, age, name AS age FROM people;", "BAD_PROJECTION", (1, 20), "Duplicate value columns"),
        ("CREATE STREAM o AS SELECT id, age AS rowtime FROM people;", "RESERVED_NAME", (1, 31), "`ROWTIME` is a reserved column name"),
        ("CREATE STREAM o AS SELECT id, ARRAY[age] FROM people;", "BAD_SCHEMA", (1, 1), "The 'DELIMITED' format does not support type 'ARRAY'"),
        ("SELECT * FROM people WINDOW TUMBLING (SIZE 1 HOUR) EMIT CHANGES;", "UNSUPPORTED", (1, 29), "WINDOW clause requires a GROUP BY clause."),
        ("CREATE STREAM s (a INT) WITH (VALUE_FORMAT='JSON');", "BAD_SETTING", (1, 1), 'Missing required property "KAFKA_TOPIC"'),
        ("CREATE STREAM s (a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSN');", "BAD_SETTING", (1, 1), "Unknown format: JSN"),
        ("CREATE STREAM s (a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='PROTOBUF');", "UNSUPPORTED", (1, 1), "PROTOBUF is not supported"),
        ("CREATE STREAM s (a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', KEY='a');", "BAD_SETTING", (1, 1), "Invalid config variable(s) in the WITH clause: KEY"),
        ("CREATE STREAM s (a INT, a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');", "BAD_SCHEMA", (1, 18), "Duplicate column names: A"),
        ("CREATE STREAM s (a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', TIMESTAMP='b');", "UNKNOWN_COLUMN", (1, 1), "does not exist in the schema: 'B'"),
        ("CREATE TABLE t (a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');", "BAD_SCHEMA", (1, 1), "Tables require a PRIMARY KEY."),
        ("DESCRIBE peopl;", "UNKNOWN_STREAM", (1, 1), "Could not find STREAM/TABLE 'PEOPL' in the Metastore"),
        ("CREATE SOURCE CONNECTOR c WITH ('a'='b');", "UNSUPPORTED", (1, 1), "CREATE CONNECTOR is not supported yet"),
        ("EXPLAIN SHOW STREAMS;", "UNSUPPORTED", (1, 1), "does not run a ksql query"),
    ],
)  # fmt: skip
def test_refusals_say_where_and_what(
    people: Any, text: str, code: str, place: tuple[int, int], words: str
) -> None:
    with pytest.raises(SqlError) as caught:
        people.run(text)
    error = caught.value
    assert (error.code, (error.line, error.column)) == (code, place)
    assert words in error.bare_message
    assert error.excerpt.startswith(text.split("\n")[place[0] - 1])


def test_a_script_is_cut_with_its_places_kept() -> None:
    pieces = plan.split("SHOW STREAMS;\n  -- no; statement\n SELECT ';' FROM s; DROP")
    assert [piece.strip() for piece in pieces] == ["SHOW STREAMS;", "SELECT ';' FROM s;", "DROP"]
    [statement] = plan.parse(pieces[1])
    assert (statement.line, statement.column) == (3, 2)
    with pytest.raises(SqlError) as caught:
        plan.parse(pieces[2])
    assert (caught.value.line, caught.value.column) == (3, 25)


def test_variables() -> None:
    variables = {"name": "people", "Text": "it's", "bad": "x; DROP STREAM y", "n": "-3"}
    substituted = plan.substitute(
        "SELECT '${text}', ${N} FROM ${name} -- ${name}\n WHERE `${name}` = ${other};", variables
    )
    assert substituted == "SELECT 'it''s', -3 FROM people -- ${name}\n WHERE `people` = ${other};"
    with pytest.raises(SqlError, match="BAD_VARIABLE") as caught:
        plan.substitute("SELECT * FROM ${bad};", variables)
    assert caught.value.excerpt.endswith("^^^^^^")


def test_describe_function(sql: Any) -> None:
    action = sql.run("DESCRIBE FUNCTION mask_left;")
    assert (action.kind, action.signatures[0]) == (
        "SCALAR",
        (("STRING", "INTEGER"), "STRING", False),
    )
    with pytest.raises(SqlError, match="Did you mean MASK"):
        sql.run("DESCRIBE FUNCTION maks;")
