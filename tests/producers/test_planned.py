"""The KSQL files as the engine's language understands them, and as ksqlDB's variables allow them."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from gradstream.engine.catalog import Catalog, Source
from gradstream.engine.language import plan
from producers import statements
from producers.csv_file import scan

DEFINE = re.compile(r"DEFINE (\w+) = '(.*)';")


def sources(text: str) -> dict[str, Source]:
    """The streams that a file leaves in the catalog."""
    catalog = Catalog()
    variables: dict[str, str] = {}
    for statement in plan.split(text):
        if found := DEFINE.search(statement):
            variables[found[1]] = found[2].replace("''", "'")
            continue
        for tree in plan.parse(plan.substitute(statement, variables)):
            plan.apply(plan.plan_statement(tree, catalog, {}), catalog)
    return catalog.sources


def columns(source: Source) -> list[str]:
    return [f"{column.name} {column.type}" for column in source.value_columns]


def test_regression_is_planned() -> None:
    found = sources(statements.statements(statements.regression(3)))
    numbers = ["X1 DOUBLE", "X2 DOUBLE", "X3 DOUBLE", "Y DOUBLE"]
    source, training = found["REGRESSION_SOURCE"], found["REGRESSION_TRAINING"]
    assert columns(source) == ["ID BIGINT", "SENSOR STRING", *numbers]
    assert columns(training) == ["SENSOR STRING", *numbers]
    assert (source.topic, source.value_format.name) == ("regression_source", "DELIMITED")
    assert (training.topic, training.value_format.name) == ("regression_training", "AVRO")


def test_fraud_is_planned() -> None:
    found = sources(statements.statements(statements.fraud()))
    assert len(columns(found["CREDITCARDFRAUD_SOURCE"])) == 34
    names = [column.name for column in found["CREDITCARDFRAUD_PREPROCESSED_AVRO"].value_columns]
    assert names == ["TIME", *(f"V{number}" for number in range(1, 29)), "AMOUNT", "CLASS"]


def test_a_thousand_features_are_planned() -> None:
    found = sources(statements.statements(statements.regression(1000)))
    assert len(columns(found["REGRESSION_TRAINING"])) == 1002


def test_a_csv_with_awkward_names_is_planned(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(
        "select,Group By,2nd,sepal length (cm),ok,x'; DROP STREAM y;--\na,b,1,2.5,true,9\n"
    )
    file = scan(path)
    pipeline = statements.Pipeline(
        title=path.name,
        schema=file.schema,
        source_topic="table",
        training_topic=statements.training_topic("table"),
        target=file.column("ok"),
        masks={"SELECT": "MASK({})"},
    )
    found = sources(statements.statements(pipeline))
    assert columns(found["TABLE"]) == [
        "SELECT STRING",
        "GROUP_BY STRING",
        "_2ND INTEGER",
        "SEPAL_LENGTH_CM DOUBLE",
        "OK BOOLEAN",
        "X_DROP_STREAM_Y INTEGER",
    ]
    assert columns(found["TABLE_TRAINING"]) == columns(found["TABLE"])


@pytest.mark.parametrize("name", ["table", "orders", "my-topic.v1", "2020", "ROWTIME", "-"])
def test_any_topic_gives_a_stream_that_can_be_planned(name: str) -> None:
    schema = pa.schema([("A", pa.int32())])
    pipeline = statements.Pipeline("t", schema, name, statements.training_topic(name))
    assert {source.topic for source in sources(statements.statements(pipeline)).values()} == {
        name,
        f"{name}_training",
    }


def test_variables_stand_only_where_ksqldb_takes_them() -> None:
    """ksqlDB checks a variable that is an identifier against this pattern, and one that is a literal for a number."""
    text = statements.statements(statements.regression(2))
    values = dict(DEFINE.findall(text))
    for name in ("source_stream", "training_stream"):
        assert re.fullmatch(r"`?[A-Za-z_][A-Za-z0-9_@]*`?", values[name])
    assert values["partitions"].isdigit()
    body = DEFINE.sub("", text)
    used = re.findall(r"(STREAM IF NOT EXISTS |FROM |PARTITIONS = |')\$\{(\w+)\}", body)
    assert len(used) == body.count("${") == 7
