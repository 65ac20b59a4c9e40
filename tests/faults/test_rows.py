"""The judge has a decoder of its own, and its opinion of hostile records is the trainer's: good or a dead letter."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from faults.judge.avro import Bad, Reader
from faults.judge.rows import lanes
from faults.judge.topics import Message
from gradstream.errors import DataError
from gradstream.wire.avro_schema import parse
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.registry import Schema, UnknownSchema
from tests.faults.test_judge import encoded

SCHEMA = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "NAME", "type": ["null", "string"]},
        {"name": "FLAG", "type": "boolean"},
        {"name": "KIND", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b", "c"]}},
        {"name": "LIST", "type": {"type": "array", "items": "int"}},
        {"name": "MAP", "type": {"type": "map", "values": "long"}},
        {"name": "X1", "type": ["null", "double"]},
        {"name": "X2", "type": "int"},
        {"name": "X3", "type": ["string", "null"]},
        {"name": "X4", "type": "float"},
        {
            "name": "INNER",
            "type": {"type": "record", "name": "Inner", "fields": [{"name": "X5", "type": "long"}]},
        },
        {"name": "V", "type": {"type": "array", "items": "double"}},
        {"name": "Y", "type": ["null", "double"]},
    ],
}
COLUMNS = ["X1", "X2", "X3", "X4", "INNER.X5", "V[0:2]", "Y"]
FEATURES = ["X1", "X2", "X3", "X4", "INNER.X5", "V[0]", "V[1]"]


def row(random: np.random.Generator) -> dict[str, Any]:
    texts = ["1", "-2.5e3", "", "nan", "x", " 1", "1_0", "+.5", "1e400", "5."]
    return {
        "NAME": random.choice(["Hans", "Ülle", ""]),
        "FLAG": bool(random.integers(2)),
        "KIND": "abc"[random.integers(3)],
        "LIST": random.integers(-9, 9, random.integers(4)).tolist(),
        "MAP": {"k": 1} if random.integers(2) else {},
        "X1": random.choice([1.5, np.nan, np.inf, 1e200]) if random.random() < 0.2 else 0.5,
        "X2": int(random.integers(-(2**31), 2**31)),
        "X3": str(random.choice(texts)) if random.random() < 0.3 else "1.5",
        "X4": random.choice([0.5, np.inf]) if random.random() < 0.1 else 0.25,
        "INNER": {"X5": int(random.integers(-(2**62), 2**62))},
        "V": [1.0] * int(random.choice([2, 2, 2, 1, 3])),
        "Y": None if random.random() < 0.1 else 1.0,
    }


def hostile(random: np.random.Generator, value: bytes) -> bytes | None:
    """A value, half of the time with some bytes changed, cut off or added."""
    made = bytearray(value)
    for _ in range(random.integers(3) if random.random() < 0.5 else 0):
        at = int(random.integers(len(made) + 1))
        match random.integers(4):
            case 0:
                del made[at:]
            case 1:
                made[at:at] = random.bytes(int(random.integers(1, 4)))
            case 2:
                del made[at : at + 1]
            case _:
                made[at : at + 1] = random.bytes(1)
    return bytes(made)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_good_is_good_for_both(seed: int) -> None:
    random = np.random.default_rng(seed)
    frame = b"\0\0\0\0\7"
    values: list[bytes | None] = [
        hostile(random, frame + encoded(SCHEMA, row(random))) for _ in range(1500)
    ]
    values += [None, b"", b"\0", frame, b"\1" + frame]
    decoder = AvroDecoder(Answers(), subject="rows-value")  # type: ignore[arg-type]
    matrix, codes = decoder.matrix(pa.array(values, pa.binary()), COLUMNS)
    with np.errstate(invalid="ignore"):
        theirs = (codes == 0) & (np.abs(matrix) <= 1e150).all(axis=1)
    messages = [Message(0, offset, None, value) for offset, value in enumerate(values)]
    reader = Reader({7: SCHEMA})
    lane = lanes(messages, [0], reader, FEATURES, "Y", labelled=False, dtype="float64")[0]
    mine = np.zeros(len(values), bool)
    mine[lane.good] = True
    apart = np.flatnonzero(mine != theirs)
    told = [(values[i], int(codes[i]), lane.bad.get(int(i))) for i in apart.tolist()]
    assert told == []
    assert 200 < mine.sum() < 1300
    np.testing.assert_array_equal(matrix[mine, :-1], np.array(lane.xs))
    np.testing.assert_array_equal(matrix[mine, -1], np.array(lane.ys))


class Answers:
    """A registry that knows one schema."""

    def schema(self, schema_id: int) -> Schema:
        if schema_id != 7:
            raise UnknownSchema("UNKNOWN_SCHEMA_ID", "no such schema")
        return Schema(7, "AVRO", json.dumps(SCHEMA))

    def has(self, subject: str, schema_id: int) -> bool:
        return schema_id == 7

    def latest(self, subject: str) -> tuple[int, int, str]:
        return 7, 1, json.dumps(SCHEMA)


def test_a_record_that_may_hold_itself_is_bad_for_both() -> None:
    inner = {"name": "NEXT", "type": ["null", {"type": "array", "items": "a.Row"}]}
    number = {"name": "Y", "type": "double"}
    schema = {"type": "record", "name": "Row", "namespace": "a", "fields": [number, inner]}
    with pytest.raises(DataError, match="TOO_DEEP"):
        parse(json.dumps(schema))
    with pytest.raises(Bad, match="holds itself"):
        Reader({7: schema}).read(b"\0\0\0\0\7" + b"\0" * 9)
    twice = {"type": "record", "name": "Two", "fields": [number]}
    again = {
        "type": "record",
        "name": "Row",
        "fields": [{"name": "A", "type": twice}, {"name": "B", "type": "Two"}],
    }
    _, found = Reader({7: again}).read(b"\0\0\0\0\7" + b"\0" * 16)
    assert found == {"A": {"Y": 0.0}, "B": {"Y": 0.0}}
