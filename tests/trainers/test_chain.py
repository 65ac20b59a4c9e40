"""Weights records: what goes in comes out, the hash holds it, and a second Avro library reads it."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from dataclasses import replace
from datetime import UTC, datetime

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from gradstream.errors import DataError
from gradstream.wire.codec_avro import encode
from gradstream.wire.faults import CODES, NUMBER
from gradstream.wire.records import Records
from trainers import chain, dead_letters
from trainers.batches import Range
from trainers.chain import WeightsRecord
from trainers.preflight import SCHEMAS

RECORD = WeightsRecord(
    run="r",
    step=3,
    epoch=0,
    position=0,
    epochs=0,
    mode="bounded",
    model="linear",
    backend="numpy",
    device="cpu",
    dtype="float64",
    bias=True,
    target="Y",
    features=("A", "B"),
    batch_size=256,
    learning_rate=0.01,
    seed=0,
    tensors={"w": np.array([1.5, -2.0, 1e-300])},
    loss=0.25,
    metrics={"rmse": 0.5},
    records_trained=700,
    records_rejected=2,
    elapsed_us=1000,
    records_since=700,
    timings_us=dict.fromkeys(chain.STAGES, 0) | {"fetch": 5, "compute": 7},
    inputs=(Range("t", 0, 10, 712, 700, 0),),
    topic_id="id",
    turn=0,
    commits={("t", 0): 712},
    goal={("t", 0): 9000},
    configuration="{}",
    parent="p" * 64,
    created=datetime(2026, 1, 2, 3, 4, 5, 6000, UTC),
    reason="",
    schema_id=4,
)


def value_of(record: WeightsRecord) -> bytes:
    batch = pa.RecordBatch.from_pylist([record.to_row()], schema=chain.SCHEMA)
    value: bytes = encode(batch, (SCHEMAS / "weights.avsc").read_text(), 7)[0].as_py()
    return value


def row_of(value: bytes) -> dict[str, object]:
    schema = fastavro.parse_schema(json.loads((SCHEMAS / "weights.avsc").read_text()))
    row = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    assert isinstance(row, dict)
    return row


def test_the_record_survives_avro_and_a_second_library_reads_it() -> None:
    value = value_of(RECORD)
    assert value[:5] == b"\0" + (7).to_bytes(4, "big")
    row = row_of(value)
    assert row["tensors"] == [{"name": "w", "shape": [3], "values": [1.5, -2.0, 1e-300]}]
    assert row["sha256"] == RECORD.sha256
    again = WeightsRecord.from_row(row)
    assert again.summary() == RECORD.summary()
    assert again.tensors["w"].tobytes() == RECORD.tensors["w"].tobytes()


def test_a_time_without_a_zone_as_our_decoder_gives_it_is_one_in_utc() -> None:
    row = row_of(value_of(RECORD)) | {"created": RECORD.created.replace(tzinfo=None)}
    assert WeightsRecord.from_row(row).created == RECORD.created


def test_arrow_schema_has_the_fields_of_the_avro_schema() -> None:
    for name, schema in (("weights", chain.SCHEMA), ("dead_letter", dead_letters.SCHEMA)):
        fields = json.loads((SCHEMAS / f"{name}.avsc").read_text())["fields"]
        assert [f["name"] for f in fields] == schema.names


def test_hash_is_that_of_the_canonical_bytes_as_documented() -> None:
    """Written out a second time, from the module's description alone."""

    def text(t: str) -> bytes:
        return struct.pack("<q", len(t)) + t.encode()

    def whole(*n: int) -> bytes:
        return b"".join(struct.pack("<q", x) for x in n)

    expected = (
        text("gradstream.weights.1")
        + text("p" * 64)
        + text("r")
        + whole(3, 0, 0, 0)
        + whole(1)
        + text("w")
        + whole(1, 3)
        + struct.pack("<3d", 1.5, -2.0, 1e-300)
        + whole(1)
        + text("t")
        + text("id")
        + whole(0, 10, 712, 700, 0)
        + whole(1)
        + text("t")
        + whole(0, 712)
    )
    assert hashlib.sha256(expected).hexdigest() == RECORD.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"parent": ""},
        {"step": 4},
        {"tensors": {"w": np.array([1.5, -2.0, 0.0])}},
        {"tensors": {"v": np.array([1.5, -2.0, 1e-300])}},
        {"inputs": (Range("t", 0, 10, 713, 700, 0),)},
        {"topic_id": "other"},
        {"commits": {("t", 0): 711}},
    ],
)
def test_what_matters_changes_the_hash_and_a_changed_record_is_refused(
    change: dict[str, object],
) -> None:
    other = replace(RECORD, **change)  # type: ignore[arg-type]
    assert other.sha256 != RECORD.sha256
    forged = {**other.to_row(), "sha256": RECORD.sha256}
    with pytest.raises(DataError, match="WEIGHTS_HASH_MISMATCH: run 'r' step"):
        WeightsRecord.from_row(forged)


def records(values: list[bytes | None]) -> Records:
    n = len(values)
    return Records(
        topics=("t",),
        topic=np.zeros(n, np.int32),
        partition=np.zeros(n, np.int32),
        offset=np.arange(100, 100 + n),
        timestamp=np.full(n, 1_700_000_000_000),
        key=pa.nulls(n, pa.binary()),
        value=pa.array(values, pa.binary()),
    )


def test_dead_letters_wait_for_their_offsets() -> None:
    letters = dead_letters.DeadLetters("trainer:r")
    codes = np.array([0, NUMBER["TOMBSTONE"], NUMBER["TRUNCATED"], NUMBER["SHORT_FRAME"]], np.uint8)
    chunk = records([b"x", None, b"\0\0\0\0\x09abc", b"\0"])
    letters.add(chunk, codes, lambda row, code: f"why {row} {CODES[code]}")
    assert [d.offset for d in letters.before({("t", 0): 102})] == [101]
    first = letters.before({("t", 0): 103})
    assert [(d.code, d.schema_id) for d in first] == [("TOMBSTONE", None), ("TRUNCATED", 9)]
    assert first[1].reason == "why 2 TRUNCATED"
    assert first[0].sha256 is None
    assert first[1].sha256 == hashlib.sha256(b"\0\0\0\0\x09abc").hexdigest()
    assert first[1].value is None
    letters.written(first)
    assert [d.offset for d in letters.before({("t", 0): 999})] == [103]
    assert letters.before({("t", 1): 999}) == []
    assert dead_letters.rows(first).to_pylist()[1]["code"] == "TRUNCATED"


def test_dead_letters_carry_values_on_request_only() -> None:
    letters = dead_letters.DeadLetters("trainer:r", keep_values=True)
    letters.add(records([b"secret"]), np.array([NUMBER["BAD_MAGIC"]], np.uint8), lambda r, c: "")
    assert letters.before({("t", 0): 999})[0].value == b"secret"


def test_a_letter_leaves_out_a_value_that_its_topic_would_refuse() -> None:
    letters = dead_letters.DeadLetters("trainer:r", keep_values=True)
    large = b"s" * (1 << 20)
    letters.add(records([large]), np.array([NUMBER["BAD_MAGIC"]], np.uint8), lambda r, c: "")
    (letter,) = letters.before({("t", 0): 999})
    assert letter.value is None
    assert letter.sha256 == hashlib.sha256(large).hexdigest()
