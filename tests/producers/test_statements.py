"""The written KSQL: the files in ksql/ are what the function writes, and names cannot break out of it."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradstream.sql_files import sql_file
from producers import statements
from producers.identifiers import literal, quoted, stored, stored_all
from producers.schemas import avro_schema


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [("regression", statements.regression()), ("fraud.sql", statements.fraud())],
)
def test_the_files_are_what_the_function_writes(name: str, pipeline: statements.Pipeline) -> None:
    assert sql_file(name).read_text() == statements.statements(pipeline)


def test_an_unknown_file_is_an_error_that_lists_the_others() -> None:
    with pytest.raises(FileNotFoundError, match=r"'nope.sql'; there are fraud.sql, regression.sql"):
        sql_file("nope")


def substituted(text: str) -> str:
    """The statements without DEFINE, its values put in, spaces made one."""
    values = dict(re.findall(r"DEFINE (\w+) = '([^']*)';", text))
    body = re.sub(r"DEFINE [^;]*;|--[^\n]*", "", text)
    return " ".join(re.sub(r"\$\{(\w+)\}", lambda m: values[m[1]], body).split())


def test_statements_of_regression() -> None:
    assert substituted(statements.statements(statements.regression(2))) == (
        "SET 'auto.offset.reset' = 'earliest'; "
        "CREATE STREAM IF NOT EXISTS regression_source ( "
        "ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, X2 DOUBLE, Y DOUBLE ) WITH ( "
        "KAFKA_TOPIC = 'regression_source', VALUE_FORMAT = 'DELIMITED', PARTITIONS = 2 ); "
        "CREATE STREAM IF NOT EXISTS regression_training WITH ( "
        "KAFKA_TOPIC = 'regression_training', VALUE_FORMAT = 'AVRO' ) AS SELECT "
        "MASK_LEFT(SENSOR, 2) AS SENSOR, X1, X2, Y FROM regression_source "
        "WHERE Y IS NOT NULL EMIT CHANGES;"
    )


def test_statements_of_a_file_with_awkward_names() -> None:
    pipeline = statements.Pipeline(
        title="a\nDROP STREAM y;",
        schema=pa.schema([("GROUP", pa.string()), ("N", pa.int32()), ("OK", pa.bool_())]),
        source_topic="my-topic.v1",
        training_topic=statements.training_topic("my-topic.v1"),
        masks={"GROUP": "MASK({})"},
        target="N",
    )
    text = statements.statements(pipeline)
    assert text.startswith("-- a DROP STREAM y;\nSET ")
    assert "DEFINE source_stream = 'my_topic_v1';" in text
    assert "DEFINE training_topic = 'my-topic.v1_training';" in text
    assert "`GROUP` VARCHAR, N INT, OK BOOLEAN" in text
    assert "MASK(`GROUP`) AS `GROUP`, N, OK" in text
    assert "WHERE N IS NOT NULL" in text


def test_without_a_target_nothing_is_dropped() -> None:
    pipeline = statements.Pipeline("t", pa.schema([("A", pa.int32())]), "a", "b")
    assert "WHERE" not in statements.statements(pipeline)


def test_another_topic_names_all_the_rest() -> None:
    pipeline = statements.renamed(statements.regression(), "plant7_source")
    assert (pipeline.source_topic, pipeline.training_topic) == ("plant7_source", "plant7_training")
    assert statements.renamed(statements.fraud(), "creditcardfraud_source") == statements.fraud()


@given(st.text())
def test_no_text_becomes_a_name_that_breaks_out(text: str) -> None:
    name = stored(text, "COLUMN_1")
    assert re.fullmatch(r"[A-Z_][A-Z0-9_]*", name)
    assert quoted(name) in (name, f"`{name}`")
    assert re.fullmatch(r"'([^']|'')*'", literal(text), re.DOTALL)


@given(st.lists(st.text(max_size=3), max_size=30))
def test_stored_names_are_each_there_once(texts: list[str]) -> None:
    names = stored_all(texts)
    assert len(set(names)) == len(names) == len(texts)


@pytest.mark.parametrize("word", ["SELECT", "FROM", "GROUP", "TABLE", "SIZE", "ON", "DECIMAL"])
def test_reserved_words_are_quoted(word: str) -> None:
    assert quoted(word) == f"`{word}`"


@pytest.mark.parametrize("word", ["TIME", "TIMESTAMP", "USER", "CLASS", "ID", "Y", "V1", "KEY"])
def test_words_of_the_pipeline_need_no_quotes(word: str) -> None:
    assert quoted(word) == word


def test_the_avro_schema_is_that_of_ksqldb() -> None:
    schema = avro_schema(pa.schema([("ID", pa.int64()), ("NAME", pa.string())]))
    assert schema["connect.name"] == "io.confluent.ksql.avro_schemas.KsqlDataSourceSchema"
    assert schema["fields"] == [
        {"name": "ID", "type": ["null", "long"], "default": None},
        {"name": "NAME", "type": ["null", "string"], "default": None},
    ]
