"""Features that are the numbers of one array column."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire.codec_avro import encode
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import dead, job_on, tensor
from tests.trainers.test_training import recomputed
from trainers.loop import train

pytestmark = pytest.mark.integration

ARRAY = {"type": "array", "items": "double"}
FIELDS = [{"name": "X", "type": ARRAY}, {"name": "Y", "type": "double"}]
SCHEMA = json.dumps({"type": "record", "name": "Row", "fields": FIELDS})


@pytest.fixture
def topic(services: Services, unique: Unique) -> Topic:
    made = Topic(services, unique, 3)
    made.name = unique("arrays")
    ensure_topics(services, {made.name: 1})
    registry = Registry(services.schema_registry_url)
    made.schema_id = registry.register(f"{made.name}-value", SCHEMA)
    registry.close()
    return made


def test_an_array_of_numbers_is_trained_on_as_columns_are(topic: Topic) -> None:
    X, y = data(2000, 3)
    rows = [list(row) for row in X]
    rows.insert(700, [1.0, 2.0])  # one too few
    batch = pa.record_batch({"X": pa.array(rows), "Y": pa.array(np.insert(y, 700, 0.0))})
    with Writer(topic.services) as writer:
        writer.send(topic.name, encode(batch, SCHEMA, topic.schema_id))
    result = train(job_on(topic, "r", features=("X[0:3]",)), topic.services)
    assert tensor(result) == recomputed(X, y).tobytes()
    assert list(result.weights) == ["intercept", "X[0]", "X[1]", "X[2]"]
    assert [letter["code"] for letter in dead(topic)] == ["WRONG_DIMENSION"]


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (("X",), r"--features X: the column is an array; say how many numbers .* 'X\[0:10\]'"),
        (("Y[0:3]",), r"--features Y\[0:3\]: the column is double; only the features of an array"),
        (("Z[0:3]",), r"UNKNOWN_COLUMN: --features Z"),
        ((), r"NO_FEATURES: .*X \(array\)"),
    ],
)
def test_what_is_asked_of_an_array_must_fit(
    topic: Topic, features: tuple[str, ...], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        train(job_on(topic, "r", features=features), topic.services)
