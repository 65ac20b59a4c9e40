"""How long does a live record take from its source to published weights, over the whole path?

Producer, engine and trainer are processes of their own, as in life, and all that is said of the trainer is its batch
size. Single records are followed: created is when ``gradstream produce`` handed a record over (Kafka's timestamp, whole
milliseconds rounded down, which the engine passes on), visible when a reader of the training topic had it, learned when
a reader of the weights topic had the first weights record whose ranges cover its offset. Both read committed records
only, on the clock of the same machine.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
import pyarrow as pa

from benchmarks import effort, topics
from benchmarks.figure import Figure
from benchmarks.journeys import (
    FIRST,
    LIMITS,
    SECOND,
    WHOLE,
    Floats,
    Journeys,
    Published,
    Seen,
    followed,
)
from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import end_offsets, ensure_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.registry import Registry
from producers.statements import Pipeline, regression, renamed, statements, stream_name
from trainers.checkpoint import read_weights
from trainers.preflight import WEIGHTS_CONFIG

QUESTION = "a live record at 10,000 a second: from its source to the weights that learned from it"
RATE = 10_000  # records a second
FEATURES = 10
BATCH = 64
WARM = 10  # seconds until all processes are in their stride
STEADY = 20  # seconds that count
TAIL = 1  # seconds at the end that do not: the last batches wait for records that never come
WINDOW = 5  # seconds of each repeat
GIVE_UP = 60.0  # seconds for a process to end after its last record
SHARES = (*range(1, 100), 99.5, 99.9)  # per cent, of the picture


def measure(services: Services) -> list[Figure]:
    rows = effort.rows((WARM + STEADY + TAIL) * RATE)
    journeys = follow(services, rows)
    steady = [each for each in windows(journeys) if len(each.created)]
    return [*figures(steady), *curves(steady)]


def windows(journeys: Journeys) -> list[Journeys]:
    """The time that counts in equal parts, each a repeat; all of it in a quick run."""
    if effort.NOW.quick:
        return [journeys]
    first = float(journeys.created[0]) + WARM
    return [journeys.between(at, at + WINDOW) for at in np.arange(first, first + STEADY, WINDOW)]


def figures(steady: list[Journeys]) -> list[Figure]:
    made = [
        _figure(f"{WHOLE}, {word}", [w.whole for w in steady], share)
        for word, share in (("median", 50), ("90 %", 90), ("99 %", 99), ("slowest", 100))
    ]
    made.append(_figure(f"{FIRST}, median", [w.until_visible for w in steady], 50))
    made.append(_figure(f"{SECOND}, median", [w.until_learned for w in steady], 50))
    return made


def _figure(name: str, repeats: list[Floats], share: float) -> Figure:
    limit = LIMITS.get(int(share), 0.0) if name.startswith(WHOLE) else 0.0
    taken = tuple(float(np.percentile(each, share)) for each in repeats)
    return Figure(name, taken, unit="ms", limit=limit, smaller=True)


def curves(steady: list[Journeys]) -> list[Figure]:
    """Points for the picture: the milliseconds within which so many per cent were there."""
    parts = {
        WHOLE: [w.whole for w in steady],
        FIRST: [w.until_visible for w in steady],
        SECOND: [w.until_learned for w in steady],
    }
    return [
        Figure(name, (float(taken),), unit="ms", smaller=True, series=name, at=share)
        for name, times in parts.items()
        for share, taken in zip(SHARES, np.percentile(np.concatenate(times), SHARES), strict=True)
    ]


def follow(services: Services, rows: int, *flags: str) -> Journeys:
    """Sends so many records down the whole path.

    Args:
        flags: further ones of ``gradstream train``.
    """
    pipeline = renamed(regression(FEATURES), f"{topics.name('latency')}_source")
    weights = f"{pipeline.training_topic}_weights"
    ensure_topics(services, {weights: 1}, WEIGHTS_CONFIG)
    over = threading.Event()
    with query(services, pipeline), ThreadPoolExecutor(2) as pool:
        try:
            seen = pool.submit(watched, services, pipeline.training_topic, over)
            published = pool.submit(watched, services, weights, over)
            with running(services, *trainer(pipeline, weights, rows), *flags) as training:
                effort.NOW.say(f"{rows / RATE:.0f} seconds of records")
                with running(services, *producer(pipeline, rows)) as producing:
                    wait(producing, rows / RATE + GIVE_UP)
                wait(training, GIVE_UP)
        finally:
            over.set()
    return followed(seen.result(), chain(services, published.result()))


def producer(pipeline: Pipeline, rows: int) -> list[str]:
    what = ["regression", "--data", "gaussian", "--features", str(FEATURES), "--rows", str(rows)]
    return ["produce", *what, "--rate", str(RATE), "--topic", pipeline.source_topic]


def trainer(pipeline: Pipeline, weights: str, rows: int) -> list[str]:
    what = ["--source", pipeline.training_topic, "--target", "Y", "--batch-size", str(BATCH)]
    where = ["--weights-topic", weights, "--dead-letters-topic", f"{weights}_dead"]
    return ["train", *what, *where, "--mode", "live", "--max-records", str(rows)]


@contextmanager
def query(services: Services, pipeline: Pipeline) -> Iterator[None]:
    """The pipeline's statements, as long as they are needed."""
    with KsqlClient(services.ksql_url) as client:
        *_, made = client.execute(statements(pipeline))
        try:
            yield
        finally:
            client.execute(f"TERMINATE {made['commandStatus']['queryId']};")
            for topic in (pipeline.training_topic, pipeline.source_topic):
                client.execute(f"DROP STREAM {stream_name(topic)};")


@contextmanager
def running(services: Services, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command of gradstream in a process of its own, which does not outlive us."""
    broker = ("--bootstrap-servers", services.bootstrap_servers)
    registry = ("--schema-registry-url", services.schema_registry_url)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "gradstream.cli", *words, *broker, *registry],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait(process: subprocess.Popen[str], seconds: float) -> None:
    """Until a process has ended well."""
    _, said = process.communicate(timeout=seconds)
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}: {said[-1000:]}")


def watched(services: Services, topic: str, over: threading.Event) -> Seen:
    """All records of a topic, each chunk with the moment in which it came."""
    found = []
    with open_log_reader(services, dict.fromkeys(end_offsets(services, topic), 0)) as reader:
        while len(records := reader.fetch(8192, 0.5)) or not over.is_set():
            if len(records):
                found.append((time.time(), records))
    return found


def chain(services: Services, seen: Seen) -> Published:
    """What the weights records learned from, each with the moment in which it came."""
    values = pa.chunked_array([records.value for _, records in seen]).combine_chunks()
    moments = np.concatenate([np.full(len(records), when) for when, records in seen])
    with closing(Registry(services.schema_registry_url)) as registry:
        found = read_weights(AvroDecoder(registry), values)
    return list(zip(moments.tolist(), (record.inputs for record in found), strict=True))
