"""Records that nobody can train on, of every kind and at every place, among rows whose weights are known."""

from __future__ import annotations

import json
import struct
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa

from faults.attempt import Attempt, Plan
from faults.compare import hash_of, judged
from faults.lab import Lab
from faults.letters import letters_of
from faults.topic import Topic, data, schema_of
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer

QUESTION = "is each bad record a dead letter with its code, and are the weights those without it?"
NEEDS_STACK = False
ROWS, COLUMNS, BATCH = 1500, 3, 128
FLAGS = {"publish_every": 3, "batch_size": BATCH}
# Where it stands in the log, and how many in a row.
PLACES = {"first": (0, 1), "middle": (700, 1), "last": (ROWS, 1), "whole batch": (BATCH, BATCH)}
CODES = (
    *("EMPTY_VALUE", "TOMBSTONE", "SHORT_FRAME", "BAD_MAGIC", "UNKNOWN_SCHEMA_ID"),
    *("WRONG_SCHEMA_TYPE", "SUBJECT_MISMATCH", "TRUNCATED", "TRAILING_BYTES", "NON_FINITE"),
    *("OUT_OF_RANGE", "BAD_UNION", "NULL_FIELD", "MISSING_FIELD", "WRONG_TYPE"),
    *("TOO_MANY_ITEMS", "TOO_LARGE"),
)
SAMPLE, FULL = 3, len(CODES) * len(PLACES)
REST = struct.pack("<3d", 1.0, 2.0, 3.0)  # three doubles


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt]:
    clean = lab.topic(partitions=1, columns=COLUMNS)
    clean.send(*data(ROWS, COLUMNS, 11))
    expected = hash_of(lab.reference(clean, **FLAGS))
    cases = [(code, place) for place in PLACES for code in CODES]
    if plan.sample:
        plan.random.shuffle(cases)
    for number in range(plan.attempts):
        code, place = cases[number % len(cases)]
        attempt = Attempt("record", place, code)
        with attempt:
            poisoned(lab, attempt, code, place, expected)
            attempt.counted = True
        yield attempt


def poisoned(lab: Lab, attempt: Attempt, code: str, place: str, expected: str) -> None:
    """A run over the rows with bad records among them, and everything that is asked of its end."""
    at, count = PLACES[place]
    topic = lab.topic(partitions=1, columns=COLUMNS)
    bad = values(topic)
    rows = topic.values(*data(ROWS, COLUMNS, 11)).to_pylist()
    with Writer(topic.services) as writer:
        writer.send(
            topic.name, pa.array([*rows[:at], *[bad[code]] * count, *rows[at:]], pa.binary())
        )
        writer.flush()
    run = lab.run(topic, **FLAGS)
    last = run.finish()
    attempt.run, attempt.at = run.name, run.place()
    found = [(row["code"], row["offset"]) for row in letters_of(topic, run.name)]
    if found != [(code, at + each) for each in range(count)]:
        attempt.fail(f"dead letters: {found[:3]}, {len(found)} in all")
    if (last.records_trained, last.records_rejected) != (ROWS, count):
        attempt.fail(f"{last.records_trained} trained and {last.records_rejected} rejected")
    if hash_of(last) != expected:
        attempt.fail("the weights are not those of the log without it")
    for fault in judged(run).faults:
        attempt.fail(fault)


def values(topic: Topic) -> dict[str, bytes | None]:
    """A value for each code; registers the schemas that some of them need."""
    ids = other_schemas(topic)
    good: bytes = topic.values(np.ones((1, COLUMNS)), np.ones(1))[0].as_py()
    infinite: bytes = topic.values(np.full((1, COLUMNS), np.inf), np.ones(1))[0].as_py()
    large: bytes = topic.values(np.full((1, COLUMNS), 1e200), np.ones(1))[0].as_py()
    nulls = b"\0" * (COLUMNS + 2)  # of unions
    return {
        "EMPTY_VALUE": b"",
        "TOMBSTONE": None,
        "SHORT_FRAME": b"\0\0",
        "BAD_MAGIC": b'{"X1": 1}',
        "UNKNOWN_SCHEMA_ID": framed(2**31 - 17, REST),
        "WRONG_SCHEMA_TYPE": framed(ids["json"], b"{}"),
        "SUBJECT_MISMATCH": framed(ids["stranger"], REST),
        "TRUNCATED": good[:-3],
        "TRAILING_BYTES": good + b"more",
        "NON_FINITE": infinite,
        "OUT_OF_RANGE": large,
        "BAD_UNION": good[:5] + b"\x04" + good[6:],
        "NULL_FIELD": framed(topic.schema_id, nulls),
        "MISSING_FIELD": framed(ids["short"], REST),
        "WRONG_TYPE": framed(ids["boolean"], b"\1" + REST),
        "TOO_MANY_ITEMS": framed(ids["wide"], b"\0" + b"\x80" * 6 + b"\1"),
        "TOO_LARGE": framed(ids["wide"], b"\xfe\xff\xff\xff\x0f"),
    }


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\0" + struct.pack(">i", schema_id) + body


def other_schemas(topic: Topic) -> dict[str, int]:
    """Schemas of the same subject whose records lack something or hold something else, and two of other subjects.

    The newest of the subject has all columns, since a trainer takes their names from it.
    """
    subject = f"{topic.name}-value"
    ask(topic, "PUT", f"/config/{subject}", {"compatibility": "NONE"})
    whole = json.loads(schema_of(COLUMNS))
    extra = [("S", "string"), ("A", {"type": "array", "items": "double"})]
    doubles = [(name, "double") for name in ("X2", "X3", "Y")]
    with closing(Registry(topic.services.schema_registry_url)) as registry:
        ids = {
            "short": registry.register(subject, record(doubles)),
            "boolean": registry.register(subject, record([("X1", "boolean"), *doubles])),
            "stranger": registry.register(
                f"{topic.name}-stranger-value", record([("Q", "double")])
            ),
        }
        wide = json.loads(record(extra))
        wide["fields"] += whole["fields"]
        ids["wide"] = registry.register(subject, json.dumps(wide))
    kind = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    text = {"schemaType": "JSON", "schema": json.dumps({**kind, "title": topic.name})}
    ids["json"] = ask(topic, "POST", f"/subjects/{topic.name}-json/versions", text)["id"]
    return ids


def record(fields: Sequence[tuple[str, object]]) -> str:
    made = [{"name": name, "type": kind} for name, kind in fields]
    return json.dumps(
        {"type": "record", "name": "Row", "namespace": "gradstream.faults", "fields": made}
    )


def ask(topic: Topic, method: str, path: str, body: object) -> dict[str, int]:
    """What our own client has no call for, since nothing else of ours needs it."""
    asked = urllib.request.Request(  # noqa: S310  the registry's own address
        topic.services.schema_registry_url + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        method=method,
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
        found: dict[str, int] = json.load(answer)
    return found
