"""How fast does the engine turn fraud rows from text into filtered Avro, from broker to broker, exactly once?"""

from __future__ import annotations

import csv
import io
import time
import uuid

import fastavro
import pyarrow as pa

from benchmarks.figure import Figure
from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.wire import codec_delimited
from gradstream.wire.kafka import end_offsets
from gradstream.wire.reader import open_log_reader
from producers.fraud import KEPT, Fraud
from producers.schemas import avro_schema
from producers.send import produce
from producers.statements import fraud, renamed, statements

QUESTION = "fraud DELIMITED → masked, filtered Avro through the engine"
ROWS = 200_000
SAMPLE = 4_000
GIVE_UP = 120.0  # seconds


def measure(services: Services) -> list[Figure]:
    source = f"bench_{uuid.uuid4().hex[:8]}_source"
    produce(services, source, Fraud(rows=ROWS, empty_share=0.005).batches())
    rates = tuple(through_the_engine(services, source) for _ in range(2))
    reference = tuple(by_hand() for _ in range(2))
    title = "fraud DELIMITED (34 columns) → Avro, broker to broker, exactly once"
    return [Figure(title, rates, "csv + fastavro by hand, in memory", reference, 1.0, "rows")]


def through_the_engine(services: Services, source: str) -> float:
    """Rows of the source per second, from the statement's acceptance to the last row in the sink."""
    target = f"bench_{uuid.uuid4().hex[:8]}_source"
    pipeline = renamed(fraud(), target)
    text = statements(pipeline).replace(
        f"DEFINE source_topic = '{target}'", f"DEFINE source_topic = '{source}'"
    )
    with KsqlClient(services.ksql_url) as client:
        client.execute(text)
        start = time.perf_counter()
        seconds = drained(services, pipeline.training_topic, start)
    return ROWS / seconds


def drained(services: Services, topic: str, start: float) -> float:
    """Seconds until no further row has come for a while, without that while."""
    while not (ends := end_offsets(services, topic)):
        time.sleep(0.05)
    seen, last = 0, start
    with open_log_reader(services, dict.fromkeys(ends, 0)) as reader:
        while time.perf_counter() - start < GIVE_UP:
            if found := len(reader.fetch(50_000, 0.2)):
                seen, last = seen + found, time.perf_counter()
            elif seen >= ROWS * 0.99 and time.perf_counter() - last > 1.0:
                return last - start
    raise SystemExit(f"only {seen} of about {ROWS} rows came within {GIVE_UP:.0f} s")


def by_hand() -> float:
    """The loop that one would write without an engine, without its Kafka: rows per second."""
    rows: pa.RecordBatch = next(iter(Fraud(rows=SAMPLE).batches()))
    lines = [value.as_py().decode() for value in codec_delimited.encode(rows)]
    schema = fastavro.parse_schema(avro_schema(rows.select(list(KEPT)).schema))
    kinds = [int, *[float] * 29, str]
    start = time.perf_counter()
    for line in lines:
        fields = next(csv.reader([line]))[3:]
        if not fields[-1]:
            continue
        record = {name: kind(text) for name, kind, text in zip(KEPT, kinds, fields, strict=True)}
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, schema, record)
    return SAMPLE / (time.perf_counter() - start)
