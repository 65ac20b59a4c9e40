"""What reading a topic costs when nothing is done with its records: the limits of everything that trains on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Literal

from confluent_kafka import Consumer

from gradstream.config import Services
from gradstream.wire.kafka import end_offsets, settings
from gradstream.wire.reader import open_log_reader

# The best settings that we know for a client in a loop. Without the first, fetching stops for a second whenever
# the client's queue is full.
TUNED = {"fetch.queue.backoff.ms": 5, "queued.min.messages": 100_000}
CHUNK = 8192  # records that our reader is asked for, as the trainer does
PIPE = 4096  # bytes that kcat writes at a time
CONSUME, KCAT = "bare consume(256)", "kcat, which only reads"
KCAT_THERE = shutil.which("kcat") is not None


def consumed(services: Services, topic: str, rows: int) -> float:
    """Seconds for a loop of confluent-kafka's consume(256) over so many records, without the wait for the first."""
    consumer = Consumer(
        {
            **settings(services),
            **TUNED,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    try:
        return _timed(lambda most: len(consumer.consume(min(256, most), 0.5)), rows)
    finally:
        consumer.close()


def fetched(
    services: Services, topic: str, rows: int, client: Literal["librdkafka", "confluent"]
) -> float:
    """Seconds until our reader has given so many records as columns, without the wait for the first."""
    offsets = dict.fromkeys(end_offsets(services, topic), 0)
    with open_log_reader(services, offsets, client=client) as reader:
        return _timed(lambda most: len(reader.fetch(min(CHUNK, most), 0.5)), rows)


def _timed(read: Callable[[int], int], rows: int) -> float:
    """Seconds for so many records at the rate of all but the first few: the clock starts when those have come.

    Args:
        read: takes how many at most, else it would wait at the end for more; says how many came.
    """
    while not (first := read(256)):
        pass
    start, seen = time.perf_counter(), first
    while seen < rows:
        seen += read(rows - seen)
    return (time.perf_counter() - start) * rows / (rows - first)


def kcat(services: Services, topic: str, rows: int) -> float:
    """Seconds in which kcat reads so many records, one byte down a pipe for each, from the first that it tells of.

    It writes whole buffers, so the first and what remains after the last full one are counted by their rate.
    """
    words = ["kcat", "-b", services.bootstrap_servers, "-C", "-t", topic, "-o", "beginning"]
    quiet = ["-q", "-e", "-c", str(rows), "-f", ".", "-X", "queued.min.messages=1000000"]
    full = rows // PIPE * PIPE
    with subprocess.Popen([*words, *quiet], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = first = len(os.read(process.stdout.fileno(), PIPE))
        start = time.perf_counter()
        while seen < full:
            if not (found := len(os.read(process.stdout.fileno(), 1 << 16))):
                raise SystemExit(f"kcat ended after {seen} of {rows} records of {topic}")
            seen += found
        seconds = time.perf_counter() - start
        process.kill()
    return seconds * rows / (full - first)
