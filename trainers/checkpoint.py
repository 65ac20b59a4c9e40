"""Weights and offsets together: written in one transaction, found again after a crash, and checked against each other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError
from gradstream.wire.codec_avro import AvroDecoder, encode, encode_one
from gradstream.wire.faults import CODES
from gradstream.wire.kafka import begin_offsets, end_offsets
from gradstream.wire.reader import Reader, open_log_reader
from gradstream.wire.records import Records, TopicPartition
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from trainers import dead_letters
from trainers.chain import WeightsRecord
from trainers.dead_letters import DeadLetter
from trainers.preflight import SCHEMAS, Plan

BLOCK = (
    256  # records that a backward search looks at first; each block is four times the one before
)
LARGEST_BLOCK = 65_536
PATIENCE = 30.0  # seconds to wait for a transaction of someone else that hides the end of the topic


def backwards(services: Services, topic: str, partition: int) -> Iterator[Records]:
    """A partition's committed records in blocks, the newest block first; within a block in order of offsets."""
    at = (topic, partition)
    first, end = begin_offsets(services, topic)[at], end_offsets(services, topic)[at]
    if end <= first:
        return
    size = BLOCK
    with open_log_reader(services, {at: max(first, end - size)}) as reader:
        while end > first:
            start = max(first, end - size)
            reader.seek({at: start})
            yield from reversed(list(between(reader, at, end)))
            end, size = start, min(size * 4, LARGEST_BLOCK)


def between(reader: Reader, at: TopicPartition, end: int) -> Iterator[Records]:
    """What a reader gives up to an end offset.

    Raises:
        UnavailableError: WAITING_ON_TRANSACTION when an open transaction hides the end for too long.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        left = end - reader.position().get(at, 0)
        records = reader.fetch(max(1, min(8192, left)), 0.5)
        if len(records):
            deadline = time.monotonic() + PATIENCE
            count = int((records.offset < end).sum())
            yield records if count == len(records) else _head(records, count)
        if (len(records) and records.offset[-1] >= end - 1) or reader.position().get(at, 0) >= end:
            return
        if time.monotonic() > deadline:
            raise UnavailableError(
                "WAITING_ON_TRANSACTION",
                f"the end of topic {at[0]!r} partition {at[1]} (offset {end}) stayed hidden for {PATIENCE:.0f} s, "
                "probably behind an open transaction; try again once it has ended or timed out",
            )


def _head(records: Records, count: int) -> Records:
    return Records(
        topics=records.topics,
        topic=records.topic[:count],
        partition=records.partition[:count],
        offset=records.offset[:count],
        timestamp=records.timestamp[:count],
        key=records.key.slice(0, count),
        value=records.value.slice(0, count),
        headers=records.headers,
    )


def read_weights(decoder: AvroDecoder, values: pa.BinaryArray) -> list[WeightsRecord]:
    """Weights records from their values.

    Raises:
        DataError: BAD_WEIGHTS when a value cannot be read, WEIGHTS_HASH_MISMATCH when it was changed.
    """
    decoded = decoder.columns(values)
    for row in decoded.faults.tolist():
        raise DataError(
            "BAD_WEIGHTS",
            f"a weights record cannot be read: {CODES[decoded.codes[row]]} ({decoded.reason(row)}); "
            "does the topic hold something else?",
        )
    return [WeightsRecord.from_row(row) for row in decoded.batch.to_pylist()]


def newest(services: Services, registry: Registry, topic: str, run: str) -> WeightsRecord | None:
    """The newest committed weights of a run, None for a new run.

    Raises:
        DataError: CHAIN_FORKED or CHAIN_BROKEN when the run's newest records are not one chain, BAD_WEIGHTS and
            WEIGHTS_HASH_MISMATCH when the newest is not what was written.
    """
    decoder = AvroDecoder(registry)
    found = []
    for _, partition in sorted(end_offsets(services, topic)):
        values = _tail(services, decoder, topic, partition, run)
        found += read_weights(decoder, values.slice(max(0, len(values) - 1)))
    return max(found, key=lambda record: (record.step, record.created), default=None)


def _tail(
    services: Services, decoder: AvroDecoder, topic: str, partition: int, run: str
) -> pa.BinaryArray:
    """A run's newest records in a partition, checked to be one chain: two at least, unless there are fewer."""
    tail: list[pa.BinaryArray] = []
    for records in backwards(services, topic, partition):
        mine = pc.equal(records.key, pa.scalar(run.encode(), records.key.type))
        tail.insert(0, records.value.filter(pc.fill_null(mine, False)))
        values = pa.concat_arrays(tail)
        if len(values) and check_links(decoder, values, run, topic):
            return values
    return pa.concat_arrays(tail) if tail else pa.array([], pa.binary())


def check_links(decoder: AvroDecoder, values: pa.BinaryArray, run: str, topic: str) -> bool:
    """Whether these records of a run, in the topic's order, say enough about its newest: the one before, or that there
    is none.

    Raises:
        DataError: CHAIN_FORKED, CHAIN_BROKEN.
    """
    links = decoder.columns(values, ["step", "parent", "sha256"]).batch.to_pylist()
    known = set()
    for before, link in pairwise(links):
        known.add(before["parent"])
        if link["parent"] == before["sha256"]:
            continue
        if link["parent"] in known:
            raise DataError(
                "CHAIN_FORKED",
                f"run {run!r}: the record of step {link['step']} in {topic!r} goes on from one that another goes on from "
                "already, so two trainers have written it; train with a new --run",
            )
        raise DataError(
            "CHAIN_BROKEN",
            f"run {run!r}: the record of step {link['step']} in {topic!r} goes on from {link['parent'][:12]}…, and "
            f"before it lies {before['sha256'][:12]}…, of step {before['step']}; train with a new --run",
        )
    return len(links) > 1 or not (links and links[0]["parent"])


def check_offsets(
    record: WeightsRecord | None, committed: Mapping[TopicPartition, int], plan: Plan
) -> None:
    """Compares the newest weights with the offsets that the group has committed.

    A broker may apply a commit late, so a transaction alone is no proof: both sides say where they stand, and only
    if they agree does training go on.

    Raises:
        DataError: TORN_TRANSACTION, TOPIC_RECREATED, CLUSTER_CHANGED.
    """
    run = plan.job.run_id
    if record and (record.cluster_id or plan.cluster_id) != plan.cluster_id:
        raise DataError(
            "CLUSTER_CHANGED",
            f"run {run!r} was trained on Kafka cluster {record.cluster_id}, and {plan.services.bootstrap_servers} is "
            f"{plan.cluster_id}: its offsets mean nothing here; give the other address, or train with a new --run",
        )
    if record and record.topic_id and record.topic_id != plan.topic_id:  # took the offsets along
        raise DataError(
            "TOPIC_RECREATED",
            f"run {run!r} was trained on another topic {plan.job.source!r} (id {record.topic_id}, now "
            f"{plan.topic_id}), so its offsets mean nothing here; train with a new --run",
        )
    advice = f"train with a new --run; {plan.job.group!r} is the group that disagrees"
    expected = dict(record.commits) if record else {}
    if expected != dict(committed):
        raise DataError(
            "TORN_TRANSACTION",
            f"run {run!r}: {f'weights of step {record.step}' if record else 'no weights'} stand for offsets "
            f"{_short(expected)}, but {_short(committed)} are committed; {advice}",
        )


def _short(offsets: Mapping[TopicPartition, int]) -> str:
    shown = [f"{topic}/{partition}: {at}" for (topic, partition), at in sorted(offsets.items())[:4]]
    return "{" + ", ".join(shown) + (", …" if len(offsets) > 4 else "") + "}"


def check_settings(record: WeightsRecord, plan: Plan) -> None:
    """Refuses to go on from weights that mean something else than this job's would.

    Raises:
        ConfigError: RESUME_MISMATCH, naming what differs.
    """
    job = plan.job
    sources = {topic for topic, _ in record.commits}
    pairs: list[tuple[str, object, object]] = [
        ("--source", ",".join(sorted(sources)), job.source),
        ("--model", record.model, job.model),
        ("--features", record.features, plan.features),
        ("--target", record.target, job.target),
        ("the intercept", record.bias, plan.model.bias),
        ("--dtype", record.dtype, plan.backend.dtype),
        *_kept(record, plan),
    ]
    if record.unfinished and bool(record.epochs) != job.in_epochs:
        pairs += [("--epochs", record.epochs or 1, job.epochs), _batch_sizes(record, plan)]
    elif record.unfinished and record.epochs:  # in the middle of them
        pairs += [_batch_sizes(record, plan), ("--seed", record.seed, job.seed)]
        pairs.append(
            ("--shuffle", json.loads(record.configuration or "{}").get("shuffle"), job.shuffle)
        )
    for what, before, now in pairs:
        if before != now:
            raise ConfigError(
                "RESUME_MISMATCH",
                f"run {job.run_id!r} was trained with {what} {_plain(before)}, not {_plain(now)}; "
                "give the same, or a new --run",
            )
    here = (plan.backend.name, plan.backend.device)
    if (record.backend, record.device) != here and not job.resume_with:
        raise ConfigError(
            "RESUME_MISMATCH",
            f"run {job.run_id!r} was trained by backend {record.backend} on {record.device}, and {here[0]} on {here[1]} "
            f"goes on to other bits; if the same answer within rounding will do, give --resume-with {here[0]}",
        )


def _kept(record: WeightsRecord, plan: Plan) -> list[tuple[str, object, object]]:
    """Settings without which the tensors of the record would mean something else, before and now."""
    before = json.loads(record.configuration or "{}")
    now = json.loads(plan.job.configuration(plan.features))
    flags = {
        "layers": "--layers",
        "optimizer": "--optimizer",
        "standardise": "--standardise",
        "class_weights": "--class-weights",
        "exact": "--exact",
    }
    pairs = [(flag, before.get(key), now.get(key)) for key, flag in flags.items()]
    schedules = [before.get("schedule"), now.get("schedule")]
    if now.get("optimizer") != "adam" and schedules.count("constant") == 1:
        pairs.append(("--schedule", *schedules))  # only one of the two counts steps
    return pairs


def _batch_sizes(record: WeightsRecord, plan: Plan) -> tuple[str, object, object]:
    return ("--batch-size", record.batch_size or "full", plan.job.batch_size or "full")


def _plain(value: object) -> str:
    if value in (None, "", [], ()):
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def publish(
    plan: Plan,
    writer: Writer,
    record: WeightsRecord,
    letters: list[DeadLetter],
    group_metadata: object,
) -> None:
    """One transaction: the weights, the dead letters, and the offsets of everything that both account for.

    Raises:
        TransactionAborted, OutcomeUnknown, Fenced, ProducerBroken: see gradstream.wire.writer.
        ConfigError: WEIGHTS_TOO_LARGE.
    """
    value = weights_value(plan, record)
    check_size(plan, len(value[0].as_py()))
    writer.begin()
    try:
        writer.send(plan.job.weights_topic, value, pa.array([record.run.encode()], value.type))
        if letters:
            rows = dead_letters.rows(letters)
            text = (SCHEMAS / "dead_letter.avsc").read_text()
            values = encode(rows, text, plan.dead_letters_schema_id)
            writer.send(plan.job.dead_letters_topic, values)
    except BaseException:
        writer.abort()  # whatever stopped us, half of it must not be committed
        raise
    writer.commit(record.commits, group_metadata)


def weights_value(plan: Plan, record: WeightsRecord) -> pa.BinaryArray:
    """The record's Avro value, an array of one."""
    return encode_one(record.to_row(), _weights_schema(), plan.weights_schema_id)


@cache
def _weights_schema() -> str:
    return (SCHEMAS / "weights.avsc").read_text()


def check_size(plan: Plan, size: int) -> None:
    """Raises:
    ConfigError: WEIGHTS_TOO_LARGE when the topic would refuse a record of so many bytes.
    """
    if size > plan.largest - 1024:  # the frame of a record batch
        raise ConfigError(
            "WEIGHTS_TOO_LARGE",
            f"a weights record has {size:,} bytes, and topic {plan.job.weights_topic!r} takes {plan.largest:,}; "
            "raise its max.message.bytes (8 MiB at most), or train on fewer features",
        )
