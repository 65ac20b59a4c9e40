"""A test's pipeline on the real stack: rows of every shape in, statements, rows and weights out, nothing left."""

from __future__ import annotations

import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import DataError, SqlError, UnavailableError, UsageError
from gradstream.shell.client import KsqlClient
from gradstream.testing import Pipeline
from gradstream.wire.kafka import list_topics
from producers.regression import Regression
from trainers.job import Job

pytestmark = pytest.mark.integration

PEOPLE = """
    CREATE STREAM people (ID BIGINT, NAME STRING, WEIGHT DOUBLE)
      WITH (KAFKA_TOPIC='people', VALUE_FORMAT='{format}');
    CREATE STREAM masked AS SELECT ID, MASK(NAME) AS NAME FROM people WHERE people.WEIGHT IS NOT NULL;
"""
ROWS = [{"ID": 1, "NAME": "Hans", "WEIGHT": 80}, {"id": 2, "name": "Anna"}]


@pytest.mark.parametrize("format", ["JSON", "AVRO", "DELIMITED"])
def test_rows_go_in_as_the_stream_says(gradstream: Pipeline, format: str) -> None:
    gradstream.sql(PEOPLE.format(format=format))
    assert gradstream.produce("people", ROWS) == 2
    assert gradstream.rows("people") == [
        {"ID": 1, "NAME": "Hans", "WEIGHT": 80.0},
        {"ID": 2, "NAME": "Anna", "WEIGHT": None},
    ]
    assert gradstream.rows("MASKED") == [{"ID": 1, "NAME": "Xxxx"}]
    assert gradstream.rows("SELECT NAME FROM masked WHERE masked.ID = 1") == [{"NAME": "Xxxx"}]


def test_rows_come_in_every_shape(gradstream: Pipeline) -> None:
    batch = pa.RecordBatch.from_pylist([{"A": 2, "B": "y"}])
    for rows in (
        [{"A": 1, "B": "x"}, {"B": "x", "A": 1}],
        pd.DataFrame({"A": [2], "B": ["y"]}),
        batch,
        pa.table(batch),
        iter([batch, batch]),
        ['{"A": 3, "B": "z"}', b'{"A": 4}'],
    ):
        gradstream.produce("t", rows, "JSON")
    found = gradstream.rows("t", count=9)
    assert [row["A"] for row in found] == [1, 1, 2, 2, 2, 2, 2, 3, 4]
    assert found[-1] == {"A": 4}


def test_rows_of_an_avro_topic_need_no_stream(gradstream: Pipeline) -> None:
    gradstream.produce("t", [{"A": 1}, {"A": None}], "AVRO")
    assert gradstream.rows("t") == [{"A": 1}, {"A": None}]
    gradstream.sql("CREATE STREAM t WITH (KAFKA_TOPIC='t', VALUE_FORMAT='AVRO')")
    assert gradstream.rows("t") == [{"A": 1}, {"A": None}]


def test_keys_and_nested_types_are_written_as_declared(gradstream: Pipeline) -> None:
    gradstream.sql(
        "CREATE STREAM t (K INT KEY, D DECIMAL(6, 2), L ARRAY<INT>, S STRUCT<A INT>) "
        "WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', PARTITIONS=2)"
    )
    gradstream.produce("t", [{"K": 7, "D": decimal.Decimal("1.10"), "L": [1, 2], "S": {"A": 3}}])
    assert gradstream.rows("t") == [
        {"K": 7, "D": decimal.Decimal("1.10"), "L": [1, 2], "S": {"A": 3}}
    ]
    assert gradstream.values("t") == [b'{"D":1.10,"L":[1,2],"S":{"A":3}}']


def test_queries_in_a_row_are_waited_for(gradstream: Pipeline) -> None:
    gradstream.produce("a", [{"X": number} for number in range(500)], "JSON")
    gradstream.sql("""
        CREATE STREAM a (X INT) WITH (KAFKA_TOPIC='a', VALUE_FORMAT='JSON');
        CREATE STREAM b AS SELECT X + 1 AS X FROM a;
        CREATE STREAM c AS SELECT X + 1 AS X FROM b;
        INSERT INTO c SELECT X FROM a WHERE X < 10;
    """)
    assert sorted(row["X"] for row in gradstream.rows("c")) == sorted([*range(2, 502), *range(10)])


def test_statements_of_production_train_as_they_are(gradstream: Pipeline) -> None:
    gradstream.sql("regression.sql")
    data = Regression("gaussian", 2000, weights=(3.0, 2.0), empty_share=0.1)
    gradstream.produce("regression_source", data)
    result, records = gradstream.train(
        "regression_training", "Y", exact=True, features=("X1",), publish_steps=1
    )
    assert result.trained == sum(row["Y"] is not None for b in data.batches() for row in b.to_pylist())  # fmt: skip
    assert np.allclose([result.weights["intercept"], result.weights["X1"]], [3, 2], atol=0.02)
    assert result.record is not None
    assert records[-1].sha256 == result.record.sha256
    assert records[0].parent == ""
    assert all(row["SENSOR"][:2] == "Xx" for row in gradstream.rows("regression_training"))


def test_a_run_goes_on_where_it_stopped(gradstream: Pipeline) -> None:
    data = Regression("gaussian", 600, features=2)
    gradstream.produce("training", data, "AVRO", partitions=2)
    job = Job("training", "Y", features=("X1", "X2"), run="mine", batch_size=100)
    first, one = gradstream.train(job)
    gradstream.produce("training", data, "AVRO")
    second, two = gradstream.train(job)
    assert (first.trained, second.trained) == (600, 600)
    assert [record.sha256 for record in two[: len(one)]] == [record.sha256 for record in one]
    assert two[len(one)].parent == one[-1].sha256


def test_variables_go_before_those_of_the_file(gradstream: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "three.sql"
    file.write_text(
        "DEFINE wide = 'INT'; DEFINE format = 'AVRO';\n"
        "CREATE STREAM t (A ${wide}) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='${format}');"
    )
    gradstream.sql(file, format="JSON")
    gradstream.produce("t", [{"A": 1}])
    assert gradstream.values("t") == [b'{"A":1}']


def test_a_file_is_found_beside_the_test(services: Services, tmp_path: Path) -> None:
    (tmp_path / "t.sql").write_text("CREATE STREAM t (A INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');")  # fmt: skip
    with Pipeline(services, folder=tmp_path) as pipeline:
        pipeline.sql("t.sql")
        assert pipeline.rows("t") == []


def test_rows_are_waited_for(gradstream: Pipeline) -> None:
    gradstream.sql(PEOPLE.format(format="JSON"))
    gradstream.produce("people", ROWS)
    pushed = "SELECT ID FROM people EMIT CHANGES"
    assert gradstream.rows(pushed, count=2) == [{"ID": 1}, {"ID": 2}]
    assert gradstream.rows(f"{pushed} LIMIT 1") == [{"ID": 1}]
    for of in ("masked", "SELECT * FROM masked", "SELECT * FROM masked EMIT CHANGES"):
        with pytest.raises(UnavailableError, match=r"MISSING_ROWS: 1 of 2 rows .*'Xxxx'"):
            gradstream.rows(of, count=2, timeout=0.7)
    with pytest.raises(UsageError, match="ENDLESS"):
        gradstream.rows(pushed)


def test_errors_tell_what_to_do(gradstream: Pipeline) -> None:
    gradstream.sql(PEOPLE.format(format="DELIMITED"))
    with pytest.raises(DataError, match=r"UNKNOWN_COLUMN: .* 'NAMEN'; did you mean NAME\?"):
        gradstream.produce("people", [{"ID": 1, "NAMEN": "Hans"}])
    with pytest.raises(DataError, match="BAD_VALUE: column ID takes int64"):
        gradstream.produce("people", [{"ID": "one"}])
    with pytest.raises(DataError, match="BAD_VALUE: column A takes values of one type"):
        gradstream.produce("others", [{"A": 1}, {"A": "x"}])
    with pytest.raises(UsageError, match="NO_ROWS"):
        gradstream.produce("people", [])
    with pytest.raises(UsageError, match="BAD_ROWS: int is no row"):
        gradstream.produce("people", [1])
    with pytest.raises(UsageError, match="BAD_FORMAT"):
        gradstream.produce("people", ROWS, "XML")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"NO_FILE: cannot read nowhere\.sql"):
        gradstream.sql("nowhere.sql")
    with pytest.raises(UsageError, match="NOT_FOR_SQL"):
        gradstream.sql("SELECT * FROM people;")
    with pytest.raises(DataError, match="UNKNOWN_TOPIC"):
        gradstream.rows("nowhere")
    with pytest.raises(UsageError, match="did you mean learning_rate"):
        gradstream.train("people", "ID", lerning_rate=1.0)
    gradstream.produce("text", ["1,2"])
    with pytest.raises(DataError, match="NO_COLUMNS"):
        gradstream.rows("text")


def test_a_refused_statement_tells_its_place(gradstream: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "wrong.sql"
    file.write_text(PEOPLE.format(format="JSON").replace("MASK(NAME)", "MASK(NAMEN)"))
    with pytest.raises(SqlError) as caught:
        gradstream.sql(file)
    assert "wrong.sql: " in str(caught.value)
    assert "NAMEN" in str(caught.value)
    assert caught.value.line == 4
    assert "^" in caught.value.__notes__[0]


def test_nothing_is_left(services: Services) -> None:
    with Pipeline(services) as pipeline:
        pipeline.sql(
            PEOPLE.format(format="AVRO") + "INSERT INTO masked SELECT ID, NAME FROM people;"
        )
        pipeline.produce("people", ROWS)
        pipeline.produce("training", Regression("gaussian", 300), "AVRO")
        pipeline.train("training", "Y", features=("X1",))
        mark = pipeline.mark
        assert sum(name.endswith(mark) for name in list_topics(services)) > 4
    assert not [name for name in list_topics(services) if name.endswith(mark)]
    with KsqlClient(services.ksql_url) as client:
        assert mark not in str(client.execute("SHOW QUERIES; SHOW STREAMS; SHOW TABLES;"))
    pipeline.close()  # a second time it does nothing


def test_what_is_kept_or_shared_stays(services: Services) -> None:
    with Pipeline(services, keep=True) as first:
        topic = first.topic("orders")
        first.produce("orders", [{"A": 1}], "JSON")
    with Pipeline(services) as second:
        second.share(topic)
        second.sql(f"CREATE STREAM o (A INT) WITH (KAFKA_TOPIC='{topic}', VALUE_FORMAT='JSON')")
        assert second.rows("o") == [{"A": 1}]
        assert second.rows(topic) == [{"A": 1}]
    assert topic in list_topics(services)
    first.keep = False
    first.close()
    assert topic not in list_topics(services)
