"""Records that cannot be trained on: kept with code and position until their transaction, then written with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.wire.faults import CODES
from gradstream.wire.records import Records, TopicPartition

SCHEMA = pa.schema(
    {
        "topic": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "code": pa.string(),
        "reason": pa.string(),
        "schema_id": pa.int32(),
        "sha256": pa.string(),
        "value": pa.binary(),
        "found_by": pa.string(),
        "timestamp": pa.timestamp("ms", tz="UTC"),
        "key": pa.binary(),
    }.items()
)
FRAME = 5  # magic byte and schema id
LARGEST = 900_000  # bytes of key and value that a letter carries: with its other fields below a topic's usual limit


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The fields are told in gradstream/wire/schemas/dead_letter.avsc."""

    topic: str
    partition: int
    offset: int
    code: str
    reason: str
    schema_id: int | None
    sha256: str | None
    value: bytes | None
    found_by: str
    timestamp: int
    key: bytes | None = None


class DeadLetters:
    """Bad records that were read but whose offsets are not committed yet.

    Args:
        found_by: who refuses them, such as ``trainer:RUN``.
        keep_values: whether to carry the bytes; by default their hash only, since they may be private. Those of a
            record that is so large that its letter would be refused are left out all the same.
    """

    def __init__(self, found_by: str, keep_values: bool = False) -> None:
        self.found_by = found_by
        self.keep_values = keep_values
        self._waiting: list[DeadLetter] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, records: Records, codes: npt.NDArray[np.uint8], reason: Callable[[int, int], str]
    ) -> None:
        """Takes in the rows whose code is not OK; ``reason(row, code)`` tells why."""
        for row in np.flatnonzero(codes).tolist():
            value = records.value[row].as_py()
            key = records.key[row].as_py() if self.keep_values else None
            keep = self.keep_values and len(value or b"") + len(key or b"") <= LARGEST
            code = int(codes[row])
            framed = value is not None and len(value) >= FRAME and value[0] == 0
            self._waiting.append(
                DeadLetter(
                    topic=records.topics[records.topic[row]],
                    partition=int(records.partition[row]),
                    offset=int(records.offset[row]),
                    code=CODES[code],
                    reason=reason(row, code),
                    schema_id=int.from_bytes(value[1:FRAME], "big", signed=True)
                    if framed
                    else None,
                    sha256=None if value is None else hashlib.sha256(value).hexdigest(),
                    value=value if keep else None,
                    found_by=self.found_by,
                    timestamp=int(records.timestamp[row]),
                    key=key if keep else None,
                )
            )

    def before(self, positions: Mapping[TopicPartition, int]) -> list[DeadLetter]:
        """Those whose offsets are before the given ones: what belongs into the transaction that commits these."""
        return [d for d in self._waiting if d.offset < positions.get((d.topic, d.partition), 0)]

    def written(self, letters: list[DeadLetter]) -> None:
        """Forgets letters whose transaction has been committed."""
        gone = {(d.topic, d.partition, d.offset) for d in letters}
        self._waiting = [d for d in self._waiting if (d.topic, d.partition, d.offset) not in gone]

    def forget(self) -> None:
        """When reading starts over, they will be met again."""
        self._waiting = []


def rows(letters: list[DeadLetter]) -> pa.RecordBatch:
    """The letters as the columns of their Avro schema."""
    columns = [
        pa.array([getattr(letter, field.name) for letter in letters], field.type)
        for field in SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
