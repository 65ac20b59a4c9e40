"""How soon does the engine answer, and how much memory does it hold when it has nothing to do?"""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import delete_topics, end_offsets, list_topics

QUESTION = "an engine from its start to its first answer, and its memory at rest"
STARTED, READY, NOTHING = "start to /info", "start to ready", "python that does nothing"
IDLE, QUERIES = "resident at rest, no query", "resident at rest, 5 streams and 3 queries"
MOST_SECONDS, MOST_MEMORY = 1.5, 150
REPEATS = 5
GIVE_UP = 60.0  # seconds
STILL = 12.0  # seconds without a change of more than STEP: longer than the engine takes to see that it is at rest
STEP = 1.0  # MiB
ROWS = 20  # of each source

# 5 streams in all formats, and a query of each kind: columns as they are, rows left out, groups.
STREAMS = """
CREATE STREAM {0}A (ID BIGINT, NAME STRING, X DOUBLE) WITH (KAFKA_TOPIC='{0}A', VALUE_FORMAT='DELIMITED', PARTITIONS=2);
CREATE STREAM {0}B (K STRING KEY, X DOUBLE) WITH (KAFKA_TOPIC='{0}B', VALUE_FORMAT='JSON', PARTITIONS=2);
CREATE STREAM {0}C (ID BIGINT, NAME STRING) WITH (KAFKA_TOPIC='{0}C', VALUE_FORMAT='AVRO', PARTITIONS=2);
CREATE STREAM {0}D (ID BIGINT KEY, N INT) WITH (KAFKA_TOPIC='{0}D', FORMAT='KAFKA', PARTITIONS=1);
CREATE STREAM {0}E (ID BIGINT, TAGS ARRAY<STRING>) WITH (KAFKA_TOPIC='{0}E', VALUE_FORMAT='JSON', PARTITIONS=1);
CREATE STREAM {0}P WITH (VALUE_FORMAT='AVRO') AS SELECT ID, MASK_LEFT(NAME, 2) AS NAME, X FROM {0}A;
CREATE STREAM {0}Q AS SELECT ID, UCASE(NAME) AS NAME FROM {0}C WHERE ID >= 0;
CREATE TABLE {0}R AS SELECT K, COUNT(*) AS N, SUM(X) AS S FROM {0}B GROUP BY K;
"""
SINKS = "PQR"


def measure(services: Services) -> list[Figure]:
    with TemporaryDirectory(prefix="gradstream-bench-") as folder:
        log = Path(folder) / "engine.log"
        taken = _starts(services, log)
        idle, working = _at_rest(services, log)
    times = [
        Figure(name, taken[name], NOTHING, taken[NOTHING], unit="ms", limit=limit, smaller=True)
        for name, limit in ((STARTED, 1000 * MOST_SECONDS), (READY, 0))
    ]
    sizes = [
        Figure(name, (size,), unit="MiB", limit=MOST_MEMORY, smaller=True)
        for name, size in ((IDLE, idle), (QUERIES, working))
    ]
    return [*times, *sizes]


def _starts(services: Services, log: Path) -> dict[str, tuple[float, ...]]:
    """Milliseconds, by what was waited for."""

    def until(reached: Callable[[str], bool]) -> Callable[[], float]:
        def work() -> float:
            with engine(services, log, reached) as (_, _, seconds):
                return seconds

        return work

    def nothing() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    works = {STARTED: until(_informs), READY: until(_is_ready), NOTHING: nothing}
    rates = in_turns(1, works, REPEATS)
    return {name: tuple(1000 / each for each in found) for name, found in rates.items()}


def _at_rest(services: Services, log: Path) -> tuple[float, float]:
    """MiB: with nothing to do, and with queries that have worked."""
    with engine(services, log, _is_ready) as (process, url, _):
        idle = settled(process, "nothing to do")
        name = topics.name("REST").upper()
        client = KsqlClient(url)
        client.execute(STREAMS.format(name), {"auto.offset.reset": "earliest"})
        for number in range(ROWS):
            client.execute(_row(name, number))
        effort.NOW.say("queries work")
        deadline = time.monotonic() + GIVE_UP
        while not all(_written(services, f"{name}{of}") >= ROWS for of in SINKS):
            if time.monotonic() > deadline:
                raise SystemExit(f"the queries have not come to an end in {GIVE_UP:.0f} s")
            time.sleep(0.2)
        working = settled(process, "3 queries without work")
        client.execute("TERMINATE ALL;")
        client.close()
    topics.delete(services, *(of for of in list_topics(services) if of.startswith(name)))
    return idle, working


def _row(name: str, number: int) -> str:
    return (
        f"INSERT INTO {name}A (ID, NAME, X) VALUES ({number}, 'name {number}', {number}.5);"
        f"INSERT INTO {name}B (K, X) VALUES ('k{number}', {number}.5);"
        f"INSERT INTO {name}C (ID, NAME) VALUES ({number}, 'name {number}');"
    )


def _written(services: Services, topic: str) -> int:
    return sum(end_offsets(services, topic).values())


@contextmanager
def engine(
    services: Services, log: Path, reached: Callable[[str], bool]
) -> Iterator[tuple[psutil.Process, str, float]]:
    """An engine of its own as a process: with its address, and the seconds from its start until ``reached(address)``."""
    service = f"{topics.RUN}_{time.monotonic_ns()}_"
    port = _free_port()
    command = [
        *(sys.executable, "-m", "gradstream.cli", "engine", "--listen", f"127.0.0.1:{port}"),
        *("--service-id", service, "--bootstrap-servers", services.bootstrap_servers),
        *("--schema-registry-url", services.schema_registry_url),
    ]
    start = time.perf_counter()
    with log.open("wb") as said, subprocess.Popen(command, stderr=said, env=os.environ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            while not reached(url):
                if process.poll() is not None or time.perf_counter() - start > GIVE_UP:
                    raise SystemExit(f"the engine has not started: {log.read_text()[-500:]}")
                time.sleep(0.002)
            yield psutil.Process(process.pid), url, time.perf_counter() - start
        finally:
            process.terminate()
    own = [of for of in list_topics(services) if service in of]
    delete_topics(services, own)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _informs(url: str) -> bool:
    return _info(url) is not None


def _is_ready(url: str) -> bool:
    return bool(re.search(rb'"serverStatus":\s*"(RUNNING|READY)"', _info(url) or b""))


def _info(url: str) -> bytes | None:
    """What /info says, None while nobody answers."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=GIVE_UP)
    try:
        connection.request("GET", "/info")
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except ConnectionError:
        return None
    finally:
        connection.close()


def settled(process: psutil.Process, what: str) -> float:
    """MiB resident, once they no longer change; at the latest after a minute."""
    effort.NOW.say(f"memory with {what}")
    size = process.memory_info().rss / 2**20
    since = start = time.monotonic()
    still = 1.0 if effort.NOW.quick else STILL
    while time.monotonic() - since < still and time.monotonic() - start < GIVE_UP:
        time.sleep(0.5)
        now = process.memory_info().rss / 2**20
        if abs(now - size) > STEP:
            size, since = now, time.monotonic()
    return size
