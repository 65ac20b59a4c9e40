"""A weights record: what is in it, and the hash that chains it to the one before.

The canonical bytes under the hash are, in this order, each text as its length (8 bytes) and UTF-8, each integer as 8
bytes, each number as float64, all little-endian:

    "gradstream.weights.1"
    parent (hex text, empty for the first), run, step, epoch, position, turn
    the number of tensors, and for each by name: name, number of dimensions, dimensions, values in C order
    the number of inputs, and for each: topic, topic id, partition, start, end, records, batch group
    the number of commits, and for each: topic, partition, position
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from gradstream.errors import DataError
from gradstream.wire.records import TopicPartition
from trainers.batches import Range
from trainers.models import Floats

STAGES = ("fetch", "decode", "transfer", "compile", "compute", "publish")


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """One link of a run's chain; the fields are told in gradstream/wire/schemas/weights.avsc."""

    run: str
    step: int
    epoch: int
    position: int
    epochs: int
    mode: str
    model: str
    backend: str
    device: str
    dtype: str
    bias: bool
    target: str
    features: tuple[str, ...]
    batch_size: int
    learning_rate: float
    seed: int
    tensors: Mapping[str, Floats]
    loss: float | None
    records_trained: int
    records_rejected: int
    elapsed_us: int
    records_since: int
    timings_us: Mapping[str, int]
    inputs: tuple[Range, ...]
    topic_id: str
    turn: int
    commits: Mapping[TopicPartition, int]
    goal: Mapping[TopicPartition, int]
    configuration: str
    parent: str
    created: datetime
    reason: str = ""
    schema_id: int | None = None
    sql_sha256: str | None = None
    sql: str | None = None
    machine: str | None = None
    cluster_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def configuration_sha256(self) -> str:
        return hashlib.sha256(self.configuration.encode()).hexdigest()

    @property
    def unfinished(self) -> bool:
        """Whether the run was left in the middle of something that its successor has to go on with. Epochs are done
        once the offsets of their log are committed; a limit that comes before leaves them open.
        """
        if self.epochs:
            return any(position < self.goal[at] for at, position in self.commits.items())
        return not self.reason

    @property
    def records_per_second(self) -> float:
        return self.records_since / self.elapsed_us * 1e6 if self.elapsed_us else 0.0

    def canonical(self) -> bytes:
        parts = [_text("gradstream.weights.1"), _text(self.parent), _text(self.run)]
        parts.append(_whole(self.step, self.epoch, self.position, self.turn, len(self.tensors)))
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            parts += [_text(name), _whole(tensor.ndim, *tensor.shape)]
            parts.append(np.ascontiguousarray(tensor, "<f8").tobytes())
        parts.append(_whole(len(self.inputs)))
        for r in self.inputs:
            parts += [_text(r.topic), _text(self.topic_id)]
            parts.append(_whole(r.partition, r.start, r.end, r.records, r.group))
        parts.append(_whole(len(self.commits)))
        for (topic, partition), position in sorted(self.commits.items()):
            parts += [_text(topic), _whole(partition, position)]
        return b"".join(parts)

    def to_row(self) -> dict[str, Any]:
        """The fields of the Avro record."""
        row = {name: getattr(self, name) for name in SCHEMA.names if hasattr(self, name)}
        row["features"] = list(self.features)
        row["metrics"] = dict(self.metrics)
        row["timings_us"] = {stage: self.timings_us.get(stage, 0) for stage in STAGES}
        row["tensors"] = [
            {"name": name, "shape": list(tensor.shape), "values": tensor.ravel().tolist()}
            for name, tensor in sorted(self.tensors.items())
        ]
        row["inputs"] = [
            {
                "topic": r.topic,
                "topic_id": self.topic_id,
                "partition": r.partition,
                "start_offset": r.start,
                "end_offset": r.end,
                "records": r.records,
                "batch_group": r.group,
            }
            for r in self.inputs
        ]
        row["commits"], row["goal"] = _positions(self.commits), _positions(self.goal)
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> WeightsRecord:
        """The record that a decoder gave as a row.

        Raises:
            DataError: WEIGHTS_HASH_MISMATCH when the record is not what was hashed.
        """
        # A topic of older records only has no column of what came later.
        plain = {name: row.get(name) for name in SCHEMA.names if name in cls.__dataclass_fields__}
        plain["features"] = tuple(row["features"])
        plain["metrics"] = dict(row["metrics"])
        plain["tensors"] = {
            t["name"]: np.array(t["values"], np.float64).reshape(t["shape"]) for t in row["tensors"]
        }
        plain["inputs"] = tuple(
            Range(
                i["topic"],
                i["partition"],
                i["start_offset"],
                i["end_offset"],
                i["records"],
                i["batch_group"],
            )
            for i in row["inputs"]
        )
        plain["topic_id"] = (
            row["inputs"][0]["topic_id"] if row["inputs"] else row.get("topic_id") or ""
        )
        # A decoded time is one in UTC that does not say so, and would be taken for one of the reader's zone.
        plain["created"] = row["created"].replace(tzinfo=UTC)
        for name in ("commits", "goal"):
            plain[name] = {(p["topic"], p["partition"]): p["position"] for p in row[name]}
        record = cls(**plain)  # type: ignore[arg-type]
        if record.sha256 != row["sha256"]:
            raise DataError(
                "WEIGHTS_HASH_MISMATCH",
                f"run {record.run!r} step {record.step}: the record's hash is {row['sha256'][:12]}…, "
                f"its content's {record.sha256[:12]}…; something has changed it, so train with a new --run",
            )
        return record

    def summary(self) -> dict[str, Any]:
        """For people and programs: everything, as plain Python values that JSON can hold."""
        found = asdict(self)
        found["tensors"] = {name: tensor.tolist() for name, tensor in self.tensors.items()}
        found["commits"] = {f"{t}/{p}": o for (t, p), o in self.commits.items()}
        found["goal"] = {f"{t}/{p}": o for (t, p), o in self.goal.items()}
        found["created"] = self.created.astimezone(UTC).isoformat(timespec="milliseconds")
        found["sha256"] = self.sha256
        return found


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<q", len(raw)) + raw


def _whole(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def _positions(offsets: Mapping[TopicPartition, int]) -> list[dict[str, Any]]:
    return [
        {"topic": topic, "partition": partition, "position": position}
        for (topic, partition), position in sorted(offsets.items())
    ]


_POSITIONS = pa.list_(
    pa.struct({"topic": pa.string(), "partition": pa.int32(), "position": pa.int64()}.items())
)
# Arrow's image of weights.avsc, field by field.
SCHEMA = pa.schema(
    {
        "run": pa.string(),
        "step": pa.int64(),
        "epoch": pa.int64(),
        "position": pa.int64(),
        "epochs": pa.int64(),
        "mode": pa.string(),
        "model": pa.string(),
        "backend": pa.string(),
        "device": pa.string(),
        "dtype": pa.string(),
        "bias": pa.bool_(),
        "target": pa.string(),
        "features": pa.list_(pa.string()),
        "batch_size": pa.int64(),
        "learning_rate": pa.float64(),
        "seed": pa.int64(),
        "tensors": pa.list_(
            pa.struct(
                {
                    "name": pa.string(),
                    "shape": pa.list_(pa.int64()),
                    "values": pa.list_(pa.float64()),
                }.items()
            )
        ),
        "loss": pa.float64(),
        "metrics": pa.map_(pa.string(), pa.float64()),
        "records_trained": pa.int64(),
        "records_rejected": pa.int64(),
        "elapsed_us": pa.int64(),
        "records_since": pa.int64(),
        "timings_us": pa.struct([(stage, pa.int64()) for stage in STAGES]),
        "inputs": pa.list_(
            pa.struct(
                {
                    "topic": pa.string(),
                    "topic_id": pa.string(),
                    "partition": pa.int32(),
                    "start_offset": pa.int64(),
                    "end_offset": pa.int64(),
                    "records": pa.int64(),
                    "batch_group": pa.int32(),
                }.items()
            )
        ),
        "turn": pa.int32(),
        "commits": _POSITIONS,
        "goal": _POSITIONS,
        "schema_id": pa.int32(),
        "sql_sha256": pa.string(),
        "sql": pa.string(),
        "machine": pa.string(),
        "topic_id": pa.string(),
        "cluster_id": pa.string(),
        "configuration": pa.string(),
        "configuration_sha256": pa.string(),
        "reason": pa.string(),
        "parent": pa.string(),
        "sha256": pa.string(),
        "created": pa.timestamp("ms", tz="UTC"),
    }.items()
)
