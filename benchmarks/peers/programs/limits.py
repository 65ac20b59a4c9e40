"""What reading alone costs: nothing is decoded, nothing learned."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.peers.programs.reading import chunks, consumer
from benchmarks.peers.programs.task import BATCH, Clock, Task


def consume(task: Task, clock: Clock) -> None:
    """confluent-kafka's ``consume(256)`` in a loop; its messages are not even looked at."""
    source = consumer(task)
    while not clock.over:
        clock.tick(len(source.consume(BATCH, 1.0)))


def values(task: Task, clock: Clock) -> None:
    """The same, with the bytes of each message taken out."""
    for _ in chunks(task, clock):
        pass


def kcat(task: Task, clock: Clock) -> None:
    """kcat writes a dot for each record. Its librdkafka may be too old for ``fetch.queue.backoff.ms``; a queue that
    holds the whole topic does the same. It writes 4 KiB at a time, so what it tells last must not end the topic.
    """
    words = ["kcat", "-b", task.bootstrap, "-C", "-t", task.topic, "-o", "beginning", "-q"]
    with subprocess.Popen(
        [*words, "-f", ".", "-X", "queued.min.messages=1000000"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        clock.of_process(lambda: _cpu_seconds(process.pid))
        while not clock.tick(len(os.read(process.stdout.fileno(), 1 << 16))):
            pass
        process.kill()


def _cpu_seconds(process: int) -> float:
    """Of another process, by Linux's /proc; nothing elsewhere."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
