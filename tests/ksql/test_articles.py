"""What people wrote for KSQL in notebooks, call by call: card payments of 34 columns through the package ksql."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.ksql import query_frame
from producers.fraud import Fraud
from producers.send import produce

pytestmark = pytest.mark.integration

# fmt: off
SOURCE_COLUMNS = [
    "Id bigint", "Timestamp varchar", "User varchar", "Time int", "V1 double", "V2 double", "V3 double", "V4 double",
    "V5 double", "V6 double", "V7 double", "V8 double", "V9 double", "V10 double", "V11 double", "V12 double",
    "V13 double", "V14 double", "V15 double", "V16 double", "V17 double", "V18 double", "V19 double", "V20 double",
    "V21 double", "V22 double", "V23 double", "V24 double", "V25 double", "V26 double", "V27 double", "V28 double",
    "Amount double", "Class string",
]
KEPT_COLUMNS = [
    "Time", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "V11", "V12", "V13", "V14", "V15", "V16", "V17",
    "V18", "V19", "V20", "V21", "V22", "V23", "V24", "V25", "V26", "V27", "V28", "Amount", "Class",
]
# fmt: on
ROWS = 400


@pytest.fixture
def payments() -> pa.Table:
    """The records, before they are records."""
    return pa.Table.from_batches(Fraud(ROWS, fraud_share=0.02, empty_share=0.05).batches())


@pytest.fixture
def source(api: Any, services: Services, unique: Callable[[str], str]) -> str:
    """The stream of the article, over a topic with its records."""
    name = unique("creditcardfraud_source")
    fraud = Fraud(ROWS, fraud_share=0.02, empty_share=0.05)
    produce(services, name, fraud.batches(), partitions=1)
    made = api.create_stream(
        table_name=name, columns_type=SOURCE_COLUMNS, topic=name, value_format="DELIMITED"
    )
    assert made is True
    return name


def test_preprocessing(
    api: Any, source: str, payments: pa.Table, eventually: Callable[..., bool]
) -> None:
    api.ksql("SET 'auto.offset.reset'='earliest'")
    name = source.replace("source", "preprocessed_avro")
    made = api.create_stream_as(
        table_name=name,
        select_columns=KEPT_COLUMNS,
        src_table=source,
        conditions="Class is not null",
        kafka_topic=name,
        value_format="AVRO",
    )
    assert made is True
    wanted = payments.filter(pa.compute.is_valid(payments["CLASS"]))
    assert 0 < wanted.num_rows < ROWS
    text = f"SELECT * FROM {name};"
    assert eventually(lambda: len(query_frame(text)) == wanted.num_rows)
    found = query_frame(text)
    assert list(found.columns) == [column.upper() for column in KEPT_COLUMNS]
    assert set(map(str, found.dtypes)) == {"Int32", "float64", "string"}
    for column in found.columns:
        assert found[column].tolist() == wanted[column].to_pylist(), column
    described = api.ksql(f"DESCRIBE {name};")[0]["sourceDescription"]
    assert (described["valueFormat"], described["topic"]) == ("AVRO", name)


def test_rows_of_a_generator_become_numbers(api: Any, source: str, payments: pa.Table) -> None:
    query = api.query(f"SELECT V1, V2, V28, Amount FROM {source} LIMIT 50")
    next(query)
    rows = []
    for line in query:
        found = json.loads(line.rstrip(",\n").removesuffix("]") if "finalMessage" in line else line.rstrip(",\n"))  # fmt: skip
        if "row" in found:
            rows.append(found["row"]["columns"])
    x = np.array(rows, dtype=np.float64)
    assert x.shape == (50, 4)
    wanted = np.column_stack([payments[of].to_numpy()[:50] for of in ("V1", "V2", "V28", "AMOUNT")])
    np.testing.assert_array_equal(x, wanted)


def test_users_are_masked(api: Any, source: str, payments: pa.Table) -> None:
    text = f"SELECT Id, MASK_LEFT(User, 2) FROM {source} LIMIT 5;"
    found = list(api.query(text, return_objects=True))
    users = payments["USER"].to_pylist()[:5]
    masked = ["".join("X" if c.isupper() else "x" for c in user[:2]) + user[2:] for user in users]
    assert [of["KSQL_COL_0"] for of in found] == masked
    assert [of["ID"] for of in found] == payments["ID"].to_pylist()[:5]
    # The article shows **ns for Hans, for which the signs have to be named.
    text = f"SELECT MASK_LEFT(User, 2, '*', '*', '*', '*') AS M FROM {source} LIMIT 5;"
    assert [of["M"] for of in api.query(text, return_objects=True)] == ["**" + user[2:] for user in users]  # fmt: skip


def test_classes_that_are_missing_get_a_value(api: Any, source: str, payments: pa.Table) -> None:
    from ksql.errors import KSQLError

    with pytest.raises(KSQLError, match="IFNULL") as caught:  # as the article has it
        list(api.query(f"SELECT Id, IFNULL(Class, -1) FROM {source};"))
    assert caught.value.code == 40001
    text = f"SELECT Id, IFNULL(Class, '-1') AS CLASS FROM {source};"
    found = [of["CLASS"] for of in api.query(text, return_objects=True)]
    assert found == [of if of is not None else "-1" for of in payments["CLASS"].to_pylist()]
    assert "-1" in found
