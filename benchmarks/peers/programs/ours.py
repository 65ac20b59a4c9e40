"""gradstream's trainer, and its decoder in a loop of one's own. These run in gradstream's environment."""

from __future__ import annotations

import os
import time
import uuid

import numpy as np

from benchmarks.peers.programs.by_hand import Model, commit, transactional
from benchmarks.peers.programs.reading import consumer
from benchmarks.peers.programs.task import BATCH, Clock, Task


def train(task: Task, clock: Clock) -> None:
    """As ``gradstream train`` does it. The clock starts with the first commit and ends with the last."""
    os.environ["GRADSTREAM_CLIENT"] = task.options.get("client", "librdkafka")
    from gradstream.config import Services
    from trainers.chain import WeightsRecord
    from trainers.job import Job
    from trainers.loop import train as train_job

    seen = 0

    def published(record: WeightsRecord) -> None:
        nonlocal seen
        clock.tick(record.records_trained - seen)
        seen = record.records_trained

    job = Job(
        task.topic,
        task.target,
        run=f"peers-{uuid.uuid4().hex[:10]}",
        publish_seconds=task.options["every"],
        publish_steps=task.options.get("steps"),
        max_records=task.records,
        weights_topic=task.options["weights_topic"],
        dead_letters_topic=task.options["weights_topic"] + "_dead",
        **task.options["job"],
    )
    services = Services.find(task.bootstrap, task.registry)
    result = train_job(job, services, on_publish=published)
    clock.weights = [result.weights[name] for name in task.features]


def decoded_by_hand(task: Task, clock: Clock) -> None:
    """confluent-kafka's Consumer, gradstream's compiled decoder, NumPy steps, and the same transactions."""
    import pyarrow as pa

    from gradstream.wire.codec_avro import AvroDecoder
    from gradstream.wire.registry import Registry

    decode = AvroDecoder(Registry(task.registry))
    columns = [*task.features, task.target]
    source = consumer(task, enable_auto_commit=False, isolation_level="read_committed")
    writer = transactional(task)
    every = task.options["every"]
    model, due = Model(), time.perf_counter() + every
    while not clock.over:
        messages = source.consume(task.options["chunk"], 1.0)
        values = pa.array([message.value() for message in messages], pa.binary())
        both, codes = decode.matrix(values, columns)
        assert not np.any(codes)
        for first in range(0, len(both), BATCH):
            part = both[first : first + BATCH]
            model.learn(part[:, :-1], part[:, -1])
        if time.perf_counter() >= due:
            commit(writer, source, task, model)
            due = time.perf_counter() + every
        clock.tick(len(messages))
    clock.weights = model.w
