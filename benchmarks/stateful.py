"""How fast are queries that keep something of the rows they have seen, from broker to broker, exactly once, and on what do
they spend their time?

Each runs over the same records as a query that keeps nothing, in turns with it. A row of a table that a query makes is
written again for each row that changes it, so all write about as many records as they read; what they keep goes to a
changelog in the same transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import effort, topics
from benchmarks.engine import GIVE_UP, Watched, planned
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.engine.server.queries import Surroundings
from gradstream.engine.server.restoring import make_topics
from gradstream.wire import delimited_columns, gather, hand_over
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer

Numbers: TypeAlias = npt.NDArray[np.int64]
QUESTION = (
    "queries that keep something beside one that does not, over the same records, broker to broker"
)
ROWS = 50_000
KEYS = (1_000, 100_000)
STEP = 2  # milliseconds from record to record
FEWER = 20  # times, of the stream that is joined: records of two streams that come in turns go one by one
PARTITIONS = 2
STATELESS = "a query that keeps nothing"
STAGES = ("fetch", "compute", "keep", "produce", "commit")
SINK = "WITH (KAFKA_TOPIC='{sink}', KEY_FORMAT='KAFKA', VALUE_FORMAT='JSON') AS"


@dataclass(frozen=True, slots=True)
class Case:
    """A statement, and which of the topics stream, table and other it reads."""

    name: str
    statement: str
    sources: tuple[str, ...] = ("stream",)


PLAIN = Case(STATELESS, f"CREATE STREAM O {SINK} SELECT K, V, W FROM S;")
CASES = (
    Case(
        "COUNT, SUM by key",
        f"CREATE TABLE O {SINK} SELECT K, COUNT(*) AS N, SUM(V) AS V, SUM(W) AS W FROM S GROUP BY K;",
    ),
    Case(
        "the same in windows of 10 s",
        f"CREATE TABLE O {SINK} SELECT K, COUNT(*) AS N, SUM(V) AS V, SUM(W) AS W FROM S "
        "WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY K;",
    ),
    Case(
        "joined with a table",
        f"CREATE STREAM O {SINK} SELECT S.K, V, C FROM S JOIN T ON S.K = T.K;",
        ("table", "stream"),
    ),
    Case(
        "joined with a stream of a twentieth of its rows, within 1 s",
        f"CREATE STREAM O {SINK} SELECT S.K, V, U FROM S JOIN R WITHIN 1 SECONDS GRACE PERIOD 1 SECONDS ON S.K = R.K;",
        ("stream", "other"),
    ),
)
FORMATS = "KEY_FORMAT='KAFKA', VALUE_FORMAT='DELIMITED'"
SOURCES = f"""
CREATE STREAM S (K BIGINT KEY, V BIGINT, W DOUBLE) WITH (KAFKA_TOPIC='{{stream}}', {FORMATS});
CREATE STREAM R (K BIGINT KEY, U BIGINT) WITH (KAFKA_TOPIC='{{other}}', {FORMATS});
CREATE TABLE T (K BIGINT PRIMARY KEY, C STRING) WITH (KAFKA_TOPIC='{{table}}', {FORMATS});
"""


def measure(services: Services) -> list[Figure]:
    for loops in (delimited_columns, gather, hand_over):
        loops.compile_all()
    return [figure for keys in KEYS for figure in _measured(services, keys)]


def _measured(services: Services, keys: int) -> Iterator[Figure]:
    count = effort.rows(ROWS)
    names = _filled(services, count, keys)
    sizes = {"stream": count, "other": len(range(0, count, FEWER)), "table": keys}
    profiles: dict[str, list[dict[str, float]]] = {case.name: [] for case in CASES}

    def work(case: Case) -> Callable[[], float]:
        """In seconds for ``count`` records, however many it reads."""
        whole = sum(sizes[of] for of in case.sources)
        run = partial(_through, services, case, names, whole, profiles.get(case.name, []))
        return lambda: run() * count / whole

    rates = in_turns(count, {case.name: work(case) for case in (*CASES, PLAIN)}, repeats=2)
    for case in CASES:
        name = f"{case.name}, {keys:,} keys"
        yield Figure(name, rates[case.name], STATELESS, rates[STATELESS], unit="rows")
        for stage in STAGES:
            shares = tuple(100 * profile[stage] for profile in profiles[case.name])
            yield Figure(f"{name}, share of its time: {stage}", shares, unit="%", smaller=True)
    topics.delete(services, *names.values())


def _filled(services: Services, count: int, keys: int) -> dict[str, str]:
    """Topics with records: keys by chance in the streams, each once in the table, whose rows are older."""
    names = {kind: topics.name(kind) for kind in ("stream", "other", "table")}
    ensure_topics(services, dict.fromkeys(names.values(), PARTITIONS))
    random = np.random.default_rng(0)
    began = int(time.time() * 1000) - 3_600_000
    times = began + STEP * np.arange(count)
    with Writer(services) as writer:
        for kind, step in (("stream", 1), ("other", FEWER)):
            own = times[::step]
            texts = [b"%d,%d.5" % (n, n % 97) if step == 1 else b"%d" % n for n in range(len(own))]
            _send(writer, names[kind], random.integers(0, keys, len(own)), texts, own)
        cities = [b"city %d" % (n % 1000) for n in range(keys)]
        _send(writer, names["table"], np.arange(keys), cities, np.full(keys, began - 1000))
        writer.flush(120)
    return names


def _send(writer: Writer, topic: str, keys: Numbers, values: list[bytes], times: Numbers) -> None:
    raw = [of.tobytes() for of in keys.astype(">i8")]
    writer.send(topic, pa.array(values, pa.binary()), pa.array(raw, pa.binary()), times)


def _through(
    services: Services,
    case: Case,
    names: dict[str, str],
    count: int,
    profiles: list[dict[str, float]],
) -> float:
    """Seconds from the first record read to the commit of the last; adds each stage's share of them to ``profiles``."""
    target = topics.name("stateful")
    ensure_topics(services, {target: PARTITIONS, f"{target}_log": 1})
    text = (SOURCES + case.statement).format(sink=target, **names)
    with closing(Registry(services.schema_registry_url)) as registry:
        around = Surroundings(services, registry, f"{target}_", f"{target}_log")
        query = Watched(planned(text), around, count)
        make_topics(services, query.changelog)
        seconds = query.ran(GIVE_UP)
    profiles.append({stage: query.spent[stage] / seconds for stage in STAGES})
    topics.delete(services, target, f"{target}_log", *query.changelog.topics)
    return seconds
