"""Runs of the trainer in tests: jobs on a topic of one's own, what they published, and how to kill them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradstream import failpoints
from gradstream.config import Services
from gradstream.wire.codec_avro import AvroDecoder, encode
from gradstream.wire.kafka import end_offsets
from gradstream.wire.reader import EARLIEST, open_log_reader
from gradstream.wire.reader_base import Isolation
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.trainers.feed import Topic
from trainers import chain
from trainers.chain import WeightsRecord
from trainers.checkpoint import read_weights
from trainers.job import Job
from trainers.loop import Result, train
from trainers.preflight import SCHEMAS

ROOT = Path(__file__).parents[2]


def job_on(topic: Topic, run: str, **more: Any) -> Job:
    return Job(
        topic.name,
        more.pop("target", "Y"),
        run=topic.run + run,
        weights_topic=topic.weights,
        dead_letters_topic=topic.dead,
        **more,
    )


def values(
    services: Services, topic: str, isolation: Isolation = "read_committed"
) -> pa.BinaryArray:
    """Every value of a one-partition topic, by default every committed one."""
    at = (topic, 0)
    end = end_offsets(services, topic)[at]
    found, deadline = [], time.monotonic() + 20
    with open_log_reader(services, {at: EARLIEST}, isolation=isolation) as reader:
        while reader.position().get(at, 0) < end and end:
            found.append(reader.fetch(10_000, 0.2).value)
            assert time.monotonic() < deadline
    return (
        pa.chunked_array(found, pa.binary()).combine_chunks()
        if found
        else pa.array([], pa.binary())
    )


def chain_of(topic: Topic, run: str) -> list[WeightsRecord]:
    """The run's records, after checking that they are one chain."""
    with decoder_of(topic) as decoder:
        records = read_weights(decoder, values(topic.services, topic.weights))
    found = [record for record in records if record.run == topic.run + run]
    parent = ""
    for record in found:
        assert record.parent == parent
        parent = record.sha256
    return found


@contextmanager
def decoder_of(topic: Topic) -> Iterator[AvroDecoder]:
    with closing(Registry(topic.services.schema_registry_url)) as registry:
        yield AvroDecoder(registry)


def dead(topic: Topic) -> list[dict[str, Any]]:
    with decoder_of(topic) as decoder:
        decoded = decoder.columns(values(topic.services, topic.dead))
    assert not len(decoded.faults)
    rows: list[dict[str, Any]] = decoded.batch.to_pylist()
    return rows


def publish_forged(topic: Topic, record: WeightsRecord) -> None:
    """Writes a record that no trainer has written."""
    text = (SCHEMAS / "weights.avsc").read_text()
    with closing(Registry(topic.services.schema_registry_url)) as registry:
        schema_id = registry.register(f"{topic.weights}-value", text)
    batch = pa.RecordBatch.from_pylist([record.to_row()], schema=chain.SCHEMA)
    with Writer(topic.services) as writer:
        value = encode(batch, text, schema_id)
        writer.send(topic.weights, value, pa.array([record.run.encode()], pa.binary()))
        writer.flush()


def tensor(result: Result) -> bytes:
    assert result.record is not None
    return result.record.tensors["w"].tobytes()


def everything(result: Result) -> dict[str, bytes]:
    """All that the last record keeps, to the bit."""
    assert result.record is not None
    return {name: tensor.tobytes() for name, tensor in result.record.tensors.items()}


# Forked from a process that has loaded everything and opened nothing: a trainer starts in a third of a second.
_LOADED = get_context("forkserver")
_LOADED.set_forkserver_preload(["tests.trainers.loaded"])


def crash(job: Job, services: Services, failpoint: str) -> None:
    """Trains in a process of its own, which dies at the failpoint: ``after_begin:2``, before its second commit."""
    process = _LOADED.Process(target=_dying, args=(job, services, failpoint))
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == -signal.SIGKILL, (failpoint, process.exitcode)


def _dying(job: Job, services: Services, failpoint: str) -> None:
    failpoints.arm({failpoints.VARIABLE: failpoint})
    train(job, services)


def environment(services: Services) -> dict[str, str]:
    return {
        **os.environ,
        "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers,
        "GRADSTREAM_SCHEMA_REGISTRY_URL": services.schema_registry_url,
        "OPENBLAS_NUM_THREADS": "1",
    }
