"""Records that nobody can train on, of every kind and at every place, among rows whose weights are known."""

from __future__ import annotations

import json
import struct
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from faults.attempt import Attempt, Plan
from faults.compare import hash_of, judged
from faults.lab import Lab
from faults.letters import letters_of
from faults.topic import Topic, data, schema_of
from gradstream.wire.codec_avro import encode
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer

QUESTION = "is each bad record a dead letter with its code, and are the weights those without it?"
NEEDS_STACK = False
ROWS, COLUMNS, BATCH = 1500, 3, 128
FLAGS: dict[str, object] = {"publish_every": 3, "batch_size": BATCH}
REST = struct.pack("<3d", 1.0, 2.0, 3.0)  # three doubles
DOUBLES = {"type": "array", "items": "double"}


def record(fields: Sequence[tuple[str, object]]) -> str:
    made = [{"name": name, "type": kind} for name, kind in fields]
    return json.dumps(
        {"type": "record", "name": "Row", "namespace": "gradstream.faults", "fields": made}
    )


class Place(NamedTuple):
    """Before which good row it stands, and how many in a row."""

    row: int
    times: int = 1


PLACES = {
    "first": Place(0),
    "whole batch": Place(BATCH, BATCH),
    "middle": Place(700),
    "last": Place(ROWS),
}


class Job(NamedTuple):
    """What is trained on the rows.

    Attributes:
        flags: of the trainer.
        schema: of the rows; None for a column each.
        labels: whether the target is a class.
    """

    flags: dict[str, object]
    schema: str | None = None
    labels: bool = False


COLUMNWISE = Job(FLAGS)
VECTOR = Job({**FLAGS, "features": f"X[0:{COLUMNS}]"}, record([("X", DOUBLES), ("Y", "double")]))
LABELS = Job({**FLAGS, "model": "logistic"}, labels=True)
# Those that a trainer gives; what the codes of keys, headers and ids are about is nothing that it looks at.
JOBS = {
    **dict.fromkeys(
        (
            *("EMPTY_VALUE", "TOMBSTONE", "SHORT_FRAME", "BAD_MAGIC", "UNKNOWN_SCHEMA_ID"),
            *("WRONG_SCHEMA_TYPE", "SUBJECT_MISMATCH", "TRUNCATED", "TRAILING_BYTES"),
            *("NON_FINITE", "OUT_OF_RANGE", "BAD_UTF8", "BAD_UNION", "NULL_FIELD"),
            *("MISSING_FIELD", "WRONG_TYPE", "TOO_MANY_ITEMS", "TOO_LARGE", "TOO_DEEP"),
            *("BAD_ENUM", "BAD_BOOLEAN", "BAD_DECIMAL"),
        ),
        COLUMNWISE,
    ),
    "WRONG_DIMENSION": VECTOR,
    "BAD_LABEL": LABELS,
}
SAMPLE, FULL = 3, len(JOBS)


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt]:
    codes = list(JOBS)
    if plan.sample:
        plan.random.shuffle(codes)
    clean: dict[str, Topic] = {}
    for number in range(plan.attempts):
        code = codes[number % len(codes)]
        job = JOBS[code]
        if repr(job) not in clean:
            clean[repr(job)] = unharmed(lab, job)
        bad = [(code, place) for place in PLACES.values()]
        yield attempted(lab, bad, clean[repr(job)], job)


def unharmed(lab: Lab, job: Job = COLUMNWISE) -> Topic:
    """The good rows alone."""
    topic = lab.topic(partitions=1, columns=COLUMNS)
    send(topic, rows_of(topic, job))
    return topic


def attempted(
    lab: Lab, bad: Sequence[tuple[str, Place]], clean: Topic, job: Job = COLUMNWISE
) -> Attempt:
    """A run over the rows with bad records among them, in the order of their places, and everything asked of its end."""
    attempt = Attempt("record", f"{len(bad)} places", ", ".join(dict.fromkeys(c for c, _ in bad)))
    with attempt:
        topic = lab.topic(partitions=1, columns=COLUMNS)
        log, expected = mixed(rows_of(topic, job), values(topic, job), bad)
        send(topic, log)
        run = lab.run(topic, **job.flags)
        last = run.finish()
        attempt.run, attempt.at = run.name, run.place()
        found = [(row["code"], row["offset"]) for row in letters_of(topic, run.name)]
        if found != expected:
            strange = sorted({*found} ^ {*expected})
            attempt.fail(f"{len(found)} dead letters for {len(expected)}: {strange[:3]}")
        if (last.records_trained, last.records_rejected) != (ROWS, len(expected)):
            attempt.fail(f"{last.records_trained} trained and {last.records_rejected} rejected")
        if hash_of(last) != hash_of(lab.reference(clean, **job.flags)):
            attempt.fail("the weights are not those of the log without it")
        for fault in judged(run).faults:
            attempt.fail(fault)
        attempt.detail = f"{len(expected)} bad records, each a dead letter"
        attempt.counted = True
    return attempt


def mixed(
    rows: Sequence[bytes | None],
    values: Mapping[str, bytes | None],
    bad: Iterable[tuple[str, Place]],
) -> tuple[list[bytes | None], list[tuple[str, int]]]:
    """The log with bad records among the rows, and (code, offset) of each of them."""
    log: list[bytes | None] = []
    found: list[tuple[str, int]] = []
    done = 0
    for code, place in bad:
        log += rows[done : place.row]
        found += [(code, len(log) + each) for each in range(place.times)]
        log += [values[code]] * place.times
        done = place.row
    return [*log, *rows[done:]], found


def rows_of(topic: Topic, job: Job) -> list[bytes | None]:
    """The good rows; the newest schema of the topic's subject is theirs."""
    X, y = data(ROWS, COLUMNS, 11)
    if job.labels:
        y = (y > 0).astype(np.float64)
    if not job.schema:
        return topic.values(X, y).to_pylist()  # type: ignore[no-any-return]
    batch = pa.record_batch({"X": pa.array(list(X)), "Y": pa.array(y)})
    return encode(batch, job.schema, registered(topic, job.schema)).to_pylist()  # type: ignore[no-any-return]


def send(topic: Topic, log: Sequence[bytes | None]) -> None:
    with Writer(topic.services) as writer:
        writer.send(topic.name, pa.array(log, pa.binary()))
        writer.flush()


def values(topic: Topic, job: Job) -> dict[str, bytes | None]:
    """A value for each code of a job; registers the schemas that some of them need."""
    one = np.ones(1)
    if job is VECTOR:
        short = pa.record_batch({"X": pa.array([[1.0] * (COLUMNS - 1)]), "Y": pa.array(one)})
        assert job.schema
        return {
            "WRONG_DIMENSION": encode(short, job.schema, registered(topic, job.schema))[0].as_py()
        }
    good: bytes = topic.values(np.ones((1, COLUMNS)), one)[0].as_py()
    if job is LABELS:
        return {"BAD_LABEL": topic.values(np.ones((1, COLUMNS)), one * 2)[0].as_py()}
    infinite: bytes = topic.values(np.full((1, COLUMNS), np.inf), one)[0].as_py()
    large: bytes = topic.values(np.full((1, COLUMNS), 1e200), one)[0].as_py()
    ids = other_schemas(topic)
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
        "BAD_UTF8": framed(ids["map"], b"\2\4\xff\xfe" + REST[:8] + b"\0" + REST + REST[:8]),
        "BAD_UNION": good[:5] + b"\x04" + good[6:],
        "NULL_FIELD": framed(topic.schema_id, nulls),
        "MISSING_FIELD": framed(ids["short"], REST),
        "WRONG_TYPE": framed(ids["boolean"], b"\1" + REST),
        "TOO_MANY_ITEMS": framed(ids["wide"], b"\0" + b"\x80" * 6 + b"\1"),
        "TOO_LARGE": framed(ids["wide"], b"\xfe\xff\xff\xff\x0f"),
        "TOO_DEEP": framed(ids["deep"], REST + REST[:8] + b"\0"),
        "BAD_ENUM": framed(ids["enum"], b"\4" + REST + REST[:8]),
        "BAD_BOOLEAN": framed(ids["flag"], b"\2" + REST + REST[:8]),
        "BAD_DECIMAL": framed(ids["decimal"], b"\6\x7f\xff\xff" + REST),
    }


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\0" + struct.pack(">i", schema_id) + body


def other_schemas(topic: Topic) -> dict[str, int]:
    """Schemas of the same subject whose records lack something or hold something else, and two of other subjects.

    The newest of the subject has all columns, since a trainer takes their names from it.
    """
    doubles: list[tuple[str, object]] = [(name, "double") for name in ("X2", "X3", "Y")]
    all_columns: list[tuple[str, object]] = [("X1", "double"), *doubles]
    enum = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    schemas = {
        "short": record(doubles),
        "boolean": record([("X1", "boolean"), *doubles]),
        "map": record([("M", {"type": "map", "values": "double"}), *all_columns]),
        "deep": record([*all_columns, ("NEXT", ["null", "Row"])]),
        "enum": record([("E", enum), *all_columns]),
        "flag": record([("F", "boolean"), *all_columns]),
        "decimal": record([("X1", decimal), *doubles]),
    }
    ids = {name: registered(topic, schema) for name, schema in schemas.items()}
    wide = json.loads(record([("S", "string"), ("A", DOUBLES)]))
    wide["fields"] += json.loads(schema_of(COLUMNS))["fields"]
    ids["wide"] = registered(topic, json.dumps(wide))
    ids["stranger"] = registered(topic, record([("Q", "double")]), f"{topic.name}-stranger-value")
    kind = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    text = {"schemaType": "JSON", "schema": json.dumps({**kind, "title": topic.name})}
    ids["json"] = ask(topic, "POST", f"/subjects/{topic.name}-json/versions", text)["id"]
    return ids


def registered(topic: Topic, schema: str, subject: str = "") -> int:
    """The id of a schema, by default the topic's own newest now."""
    subject = subject or f"{topic.name}-value"
    ask(topic, "PUT", f"/config/{subject}", {"compatibility": "NONE"})
    with closing(Registry(topic.services.schema_registry_url)) as registry:
        return registry.register(subject, schema)


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
