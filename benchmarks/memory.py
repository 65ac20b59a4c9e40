"""Does a trainer's memory stay as it is while it trains on ten million records?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TypeAlias

import numpy as np
import psutil

from benchmarks import effort, topics, trained
from benchmarks.figure import Figure
from benchmarks.process import ONE_THREAD, running
from gradstream.config import Services
from trainers.chain import WeightsRecord
from trainers.loop import train

QUESTION = "memory of a trainer from one to ten million records"
ROWS = 10_000_000
FROM = 0.1  # share of the records after which memory is to stay flat
FLAT = 1.05  # times as much, at most
POINTS = 40  # of the picture

Samples: TypeAlias = list[tuple[int, float]]
"""Records trained, MiB resident."""


def measure(services: Services) -> list[Figure]:
    rows = effort.rows(ROWS)
    topic = topics.regression(services, rows)
    samples = watched(services, topic, rows)
    topics.delete(services, topic)
    later = [size for records, size in samples if records >= FROM * rows]
    figure = Figure(
        f"most memory from {FROM * rows:,.0f} to {rows:,} records",
        (max(later),),
        f"memory at {FROM * rows:,.0f}",
        (later[0],),
        1 / FLAT,
        "MiB",
        smaller=True,
    )
    return [figure, *_line(samples)]


def _line(samples: Samples) -> list[Figure]:
    trained_on = [records for records, _ in samples]
    wanted = np.linspace(trained_on[0], trained_on[-1], POINTS)
    points = [samples[place] for place in np.unique(np.searchsorted(trained_on, wanted))]
    return [
        Figure("memory", (size,), unit="MiB", smaller=True, series="records", at=records)
        for records, size in points
    ]


def watched(services: Services, topic: str, rows: int) -> Samples:
    """Trains in a process of its own, which tells its resident memory after each transaction."""
    effort.NOW.say(f"training on {rows:,} records")
    addresses = (services.bootstrap_servers, services.schema_registry_url)
    names = (topics.name("weights"), topics.name("dead"))
    command = running("benchmarks.memory", *addresses, topic, *names)
    environment = {**os.environ, **ONE_THREAD}
    found: Samples = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            records, size = json.loads(line)
            found.append((records, size))
    assert process.returncode == 0, process.returncode
    assert found[-1][0] == rows, found[-1]
    return found


def main(argv: list[str]) -> None:
    """The trainer's process."""
    bootstrap, registry, topic, weights, dead = argv
    us = psutil.Process()

    def published(record: WeightsRecord) -> None:
        told = [record.records_trained, us.memory_info().rss / 2**20]
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    job = trained.job(topic, weights_topic=weights, dead_letters_topic=dead)
    train(job, Services.find(bootstrap, registry), on_publish=published)
