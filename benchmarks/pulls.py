"""How many pull queries a second does an engine answer to one client, over a table of 10,000 keys?

The limit is what the same server answers where there is nothing to do, ``/info`` over the same connection. While records
come, each answer has to look for what has been committed meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import numpy as np
import pyarrow as pa

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.writer import Writer

QUESTION = "pull queries a second over a table of 10,000 keys, one client"
KEYS = 10_000
ASKED = 200  # questions of a turn
SCANS = 5
RECORDS = 500  # that come at a time, ten times a second
INFO = "GET /info"
V1 = {"Accept": "application/vnd.ksql.v1+json"}
EARLIEST = {"auto.offset.reset": "earliest"}
GIVE_UP = 60.0  # seconds
Ask = Callable[[str], str]


def measure(services: Services) -> list[Figure]:
    topic = topics.name("pulls")
    ensure_topics(services, {topic: 4})
    base = (int(time.time()) - 3600) // 60 * 60_000
    _feed(services, topic, KEYS, base)
    with (
        KsqlClient(services.ksql_url) as client,
        httpx2.Client(base_url=services.ksql_url, trust_env=False, timeout=GIVE_UP) as http,
        _tables(client, topic) as (table, windows),
    ):
        ask = _asking(http)
        _await(ask, f"SELECT * FROM {table};")
        _await(ask, f"SELECT * FROM {windows};")
        return list(_figures(services, http, ask, topic, table, windows, base))


def _figures(
    services: Services,
    http: httpx2.Client,
    ask: Ask,
    topic: str,
    table: str,
    windows: str,
    base: int,
) -> Iterator[Figure]:
    count = effort.rows(ASKED)

    def looked_up(text: str) -> Callable[[], None]:
        return lambda: _each(ask, text, count)

    def while_fed() -> float:
        with _feeding(services, topic, base):
            started = time.perf_counter()
            _each(ask, key, count // 10 or 1)
            return 10 * (time.perf_counter() - started)

    def scanned() -> float:
        started = time.perf_counter()
        _each(ask, f"SELECT * FROM {table};", SCANS)
        return count / SCANS * (time.perf_counter() - started)

    def info() -> None:
        for _ in range(count):
            http.get("/info")

    key = f"SELECT * FROM {table} WHERE K = {{key}};"
    works: dict[str, Callable[[], float | None]] = {
        "one key": looked_up(key),
        "one key's windows in a span of time": looked_up(
            f"SELECT * FROM {windows} WHERE K = {{key}} AND WINDOWSTART >= {base};"
        ),
        "one key, while records come": while_fed,
        "all keys": scanned,
        INFO: info,
    }
    rates = in_turns(count, works)
    for name in works:
        if name != INFO:
            yield Figure(name, rates[name], INFO, rates[INFO], unit="queries")


def _each(ask: Ask, text: str, count: int) -> None:
    for n in range(count):
        answer = ask(text.format(key=n * 7 % KEYS))
        if '"row"' not in answer:
            raise SystemExit(answer)


def _asking(http: httpx2.Client) -> Ask:
    def ask(text: str) -> str:
        body = {"ksql": text, "streamsProperties": {}}
        answer: str = http.post("/query", json=body, headers=V1).raise_for_status().text
        return answer

    return ask


@contextmanager
def _tables(client: KsqlClient, topic: str) -> Iterator[tuple[str, str]]:
    """Counts of the topic's records by key, and by key and minute."""
    stream, table, windows = (f"{topic}_{of}".upper() for of in ("s", "t", "w"))
    counts = f"AS SELECT K, COUNT(*) AS N, SUM(V) AS V FROM {stream}"
    client.execute(
        f"CREATE STREAM {stream} (K BIGINT KEY, V BIGINT) "
        f"WITH (KAFKA_TOPIC='{topic}', KEY_FORMAT='KAFKA', VALUE_FORMAT='DELIMITED');"
        f"CREATE TABLE {table} WITH (VALUE_FORMAT='JSON') {counts} GROUP BY K;"
        f"CREATE TABLE {windows} WITH (VALUE_FORMAT='JSON') {counts} WINDOW TUMBLING (SIZE 1 MINUTE) GROUP BY K;",
        EARLIEST,
    )
    try:
        yield table, windows
    finally:
        for name in (table, windows):
            client.execute(f"DROP TABLE {name} DELETE TOPIC;")
        client.execute(f"DROP STREAM {stream};")


def _await(ask: Ask, text: str) -> None:
    """Until the table has all keys."""
    deadline = time.monotonic() + GIVE_UP
    while (found := ask(text).count('"row"')) < KEYS:
        if time.monotonic() > deadline:
            raise SystemExit(f"{found} of {KEYS} keys after {GIVE_UP:.0f} s")
        time.sleep(0.2)


def _feed(services: Services, topic: str, count: int, at: int) -> None:
    with Writer(services) as writer:
        keys = pa.array([n.to_bytes(8, "big") for n in range(count)], pa.binary())
        values = pa.array([b"%d" % n for n in range(count)], pa.binary())
        writer.send(topic, values, keys, np.full(count, at, np.int64))
        writer.flush(60)


@contextmanager
def _feeding(services: Services, topic: str, at: int) -> Iterator[None]:
    ended = threading.Event()

    def feed() -> None:
        while not ended.wait(0.1):
            _feed(services, topic, RECORDS, at)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
