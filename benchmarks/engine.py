"""How fast does a KSQL query turn text into masked, filtered Avro, from broker to broker, exactly once, and on what does
it spend its time?
"""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import fastavro
import pyarrow as pa
from pyarrow.csv import ConvertOptions, ReadOptions, read_csv

from benchmarks import effort, topics
from benchmarks.figure import Figure, in_turns
from gradstream.config import Services
from gradstream.engine.catalog import Catalog
from gradstream.engine.language import plan
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.rows.changelog import Changelog
from gradstream.engine.server.queries import PersistentQuery, Source, Surroundings
from gradstream.wire import codec_avro, codec_delimited, delimited_columns, gather, hand_over
from gradstream.wire.kafka import ensure_topics
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from producers import statements
from producers.fraud import KEPT, Fraud
from producers.regression import Regression
from producers.schemas import avro_schema
from producers.send import produce

QUESTION = "DELIMITED → masked, filtered Avro by a KSQL query, broker to broker, exactly once"
ARROW = "pyarrow's CSV reader alone, one thread, in memory"
BY_HAND = "csv and fastavro by hand, in memory"
STAGES = ("fetch", "parse", "evaluate", "encode", "produce", "commit")
GIVE_UP = 120.0  # seconds
SAMPLE = 20_000  # rows of the references


@dataclass(frozen=True, slots=True)
class Case:
    """Rows and the statements that they go through.

    Attributes:
        least: rows a second to reach.
    """

    name: str
    pipeline: statements.Pipeline
    data: Callable[[int], Iterator[pa.RecordBatch]]
    rows: int
    least: float


CASES = (
    Case(
        "fraud: 34 columns, 600 bytes a row",
        statements.fraud(),
        lambda rows: Fraud(rows=rows, empty_share=0.005).batches(),
        300_000,
        150_000,
    ),
    Case(
        "regression: ID, SENSOR, X1, Y",
        statements.regression(),
        lambda rows: Regression(data="gaussian", rows=rows, empty_share=0.05).batches(),
        1_000_000,
        400_000,
    ),
)


def measure(services: Services) -> list[Figure]:
    for loops in (codec_avro, delimited_columns, gather, hand_over):
        loops.compile_all()
    return [figure for case in CASES for figure in _measured(services, case)]


def _measured(services: Services, case: Case) -> Iterator[Figure]:
    count = effort.rows(case.rows)
    source = topics.name("engine")
    produce(services, source, case.data(count), partitions=2)
    profiles: list[dict[str, float]] = []
    sample = next(case.data(min(count, SAMPLE)))
    lines = codec_delimited.encode(sample).to_pylist()
    block = b"\n".join(lines)
    works: dict[str, Callable[[], float | None]] = {
        case.name: lambda: _through_a_query(services, case, source, count, profiles),
        ARROW: lambda: count / len(lines) * _seconds(partial(_parsed, block, sample.schema)),
    }
    if "CLASS" in sample.schema.names:
        works[BY_HAND] = lambda: count / len(lines) * _seconds(partial(_by_hand, lines, sample))
    rates = in_turns(count, works)
    for other in works:
        if other != case.name:
            yield Figure(
                case.name, rates[case.name], other, rates[other], unit="rows", limit=case.least
            )
    for stage in STAGES:
        shares = tuple(100 * profile[stage] for profile in profiles)
        yield Figure(f"{case.name}, share of its time: {stage}", shares, unit="%", smaller=True)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _parsed(block: bytes, schema: pa.Schema) -> None:
    """The limit: the same fields of the same types by the fastest reader of CSV for Python."""
    read = ReadOptions(use_threads=False, column_names=schema.names)
    read_csv(
        pa.BufferReader(block),
        read,
        convert_options=ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True
        ),
    )


def _by_hand(lines: list[bytes], rows: pa.RecordBatch) -> None:
    """The loop that one would write without an engine, and without its Kafka."""
    schema = fastavro.parse_schema(avro_schema(rows.select(list(KEPT)).schema))
    kinds = [int, *[float] * 29, str]
    for line in lines:
        fields = next(csv.reader([line.decode()]))[3:]
        if not fields[-1]:
            continue
        record = {name: kind(text) for name, kind, text in zip(KEPT, kinds, fields, strict=True)}
        fastavro.schemaless_writer(io.BytesIO(), schema, record)


def _through_a_query(
    services: Services, case: Case, source: str, count: int, profiles: list[dict[str, float]]
) -> float:
    """Seconds from the first record read to the commit of the last; adds each stage's share of them to ``profiles``."""
    target = topics.name("engine")
    ensure_topics(services, {target: 2, f"{target}_log": 1})
    pipeline = replace(case.pipeline, source_topic=source, training_topic=target)
    with closing(Registry(services.schema_registry_url)) as registry:
        around = Surroundings(services, registry, f"{target}_", f"{target}_log")
        query = Watched(planned(statements.statements(pipeline)), around, count)
        seconds = query.ran(GIVE_UP)
    profiles.append({stage: query.spent[stage] / seconds for stage in STAGES})
    topics.delete(services, target, f"{target}_log")
    return seconds


def planned(text: str) -> StartQuery:
    """What the last statement of a file starts, without an engine around it."""
    catalog, variables = Catalog(), dict[str, str]()
    action: plan.Action | None = None
    for number, piece in enumerate(plan.split(text)):
        (statement,) = plan.parse(plan.substitute(piece, variables))
        action = plan.plan_statement(statement, catalog, {}, number=number)
        if isinstance(action, plan.DefineVariable):
            variables[action.name] = str(action.value)
        plan.apply(action, catalog)
    assert isinstance(action, StartQuery)
    return action


class Watched(PersistentQuery):
    """A query that keeps the seconds of its stages, from the first record on.

    Attributes:
        spent: by stage, some of them parts of others; of commits the time that the query waits for them.
        done: set when ``count`` records have been read and committed, at ``ended``.
    """

    def __init__(self, action: StartQuery, around: Surroundings, count: int) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        evaluated = self._timed("evaluate", action.query.evaluate)
        action = replace(action, query=replace(action.query, evaluate=evaluated))
        super().__init__(
            action, around, start={}, reset="earliest", properties={}, fatal=lambda why: None
        )
        self.count = count
        self.began = self.ended = time.perf_counter()
        self.done = threading.Event()
        self._watch("compute", self.pipeline, "run")
        self._watch("parse", self.pipeline.inputs.each[0].values, "decode")
        self._watch("encode", self.pipeline.values, "encode")

    def ran(self, limit: float) -> float:
        """Runs it; seconds from the first record read to the commit of the last."""
        self.start()
        try:
            while not self.done.wait(0.1):
                if self.failure or time.perf_counter() - self.began > limit:
                    read = f"{self.counts.read} of {self.count} rows in {limit:.0f} s"
                    raise SystemExit(self.failure or read)
        finally:
            self.stop()
            self.join(10)
        return self.ended - self.began

    def _new_changelog(self) -> Changelog:
        changelog = super()._new_changelog()
        changelog.take_changes = self._timed("keep", changelog.take_changes)  # type: ignore[method-assign]
        return changelog

    def _timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self._clock(stage):
                return work(*arguments, **named)

        return timed

    def _watch(self, stage: str, owner: Any, method: str) -> None:
        setattr(owner, method, self._timed(stage, getattr(owner, method)))

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[stage] += time.perf_counter() - start

    def _loop(self, reader: Source, writer: Writer) -> None:
        fetch = reader.fetch

        def first(*arguments: Any) -> Any:
            records = fetch(*arguments)
            if len(records):
                self.began = time.perf_counter()
                reader.fetch = self._timed("fetch", fetch)  # type: ignore[method-assign]
            return records

        reader.fetch = first  # type: ignore[method-assign, assignment]
        self._watch("produce", writer, "send")
        super()._loop(reader, writer)

    def _end_commit(self) -> float:
        with self._clock("commit"):
            took = super()._end_commit()
        if self._began is None and self.counts.read >= self.count and not self.done.is_set():
            self.ended = time.perf_counter()
            self.done.set()
        return took
