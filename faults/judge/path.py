"""From the source of a statement to the training topic: each row once, filtered, or in the processing log."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from faults.judge.avro import Bad, Reader
from faults.judge.registry import Registry
from faults.judge.topics import Broker, Message

NUMBERS = ("INT", "INTEGER", "BIGINT", "DOUBLE")
MASKED = re.compile(
    r"[Xxn-]*"
)  # what a mask leaves of a text, so that it may look like an unmasked one
Row = dict[str, Any]


@dataclass(frozen=True)
class Sql:
    """A statement that filters and masks one topic into another.

    Attributes:
        source: the topic that it reads.
        columns: of the source, as ``ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE``.
        identity: the column that tells rows apart; where the training topic has not got it, all numbers that both have.
        filtered_by: the column without which a row is dropped; empty where none is.
        sensitive: columns whose values must never be in the training topic.
        log: the processing log.
    """

    source: str
    columns: str
    identity: str = "ID"
    filtered_by: str = ""
    sensitive: tuple[str, ...] = ()
    log: str = "default_ksql_processing_log"


def check_path(
    sql: Sql,
    broker: Broker,
    registry: Registry,
    training: str,
    faults: list[str],
    counted: dict[str, int],
) -> None:
    """Adds what is wrong on the path, and how many rows went where."""
    arrived = _training_rows(broker, registry, training, faults)
    logged = Counter(_logged(broker.read(sql.log), sql.source))
    keys = _keys(sql, arrived)
    expected: Counter[tuple[Any, ...]] = Counter()
    secrets: set[str] = set()
    rows = unreadable = filtered = 0
    for message in broker.read(sql.source):
        rows += 1
        place = message.partition, message.offset
        row = _row(sql, message)
        secrets |= {
            str(value) for name in sql.sensitive if (value := (row or {}).get(name)) is not None
        }
        if row is None:
            unreadable += 1
            if (times := logged.pop(place, 0)) != 1:
                word = "REPEATED" if times else "LOST"
                faults.append(
                    f"{word}: {_at(sql, place)}: no row, and {times} times in the processing log"
                )
            continue
        if times := logged.pop(place, 0):
            if times > 1:
                faults.append(f"REPEATED: {_at(sql, place)}: {times} times in the processing log")
        elif sql.filtered_by and row[sql.filtered_by] is None:
            filtered += 1
        else:
            expected[tuple(row[key] for key in keys)] += 1
    faults += [
        f"WRONG_LETTER: {_at(sql, place)}: in the processing log, no such record"
        for place in logged
    ]
    faults += _differences(
        expected, Counter(tuple(row.get(key) for key in keys) for row in arrived), keys
    )
    faults += _unmasked({text for text in secrets if not MASKED.fullmatch(text)}, arrived)
    counted |= {
        "rows of the source": rows,
        "rows without a target": filtered,
        "unreadable rows": unreadable,
        "rows of the training topic": len(arrived),
    }


def _at(sql: Sql, place: tuple[int, int]) -> str:
    return f"{sql.source}/{place[0]}, offset {place[1]}"


def _training_rows(
    broker: Broker, registry: Registry, training: str, faults: list[str]
) -> list[Row]:
    reader = Reader(registry.schemas(f"{training}-value"))
    found = []
    for message in broker.read(training):
        try:
            found.append(reader.read(message.value)[1])
        except Bad as why:
            faults.append(
                f"INVENTED: {training}/{message.partition}, offset {message.offset}: {why}"
            )
    return found


def _keys(sql: Sql, arrived: Sequence[Row]) -> list[str]:
    """The columns by which rows are matched."""
    names = set(arrived[0]) if arrived else {sql.identity}
    if sql.identity in names:
        return [sql.identity]
    return [name for name, kind in _columns(sql) if name in names and kind in NUMBERS]


def _columns(sql: Sql) -> list[tuple[str, str]]:
    """Name and type of each."""
    return [(words[0], words[1].upper()) for words in map(str.split, sql.columns.split(","))]


def _row(sql: Sql, message: Message) -> Row | None:
    """A row of the source, None where it cannot be read; an empty field is None."""
    if message.value is None:
        return None
    columns = _columns(sql)
    try:
        text = message.value.decode()
        if text.startswith("{"):
            told = {name.upper(): value for name, value in json.loads(text).items()}
            fields: list[Any] = [told.get(name) for name, _ in columns]
        else:
            (fields,) = csv.reader(io.StringIO(text))
        return {
            name: _value(field, kind) for (name, kind), field in zip(columns, fields, strict=True)
        }
    except (ValueError, csv.Error):
        return None


def _value(field: Any, kind: str) -> Any:
    if field is None or field == "":
        return None
    if kind in NUMBERS:
        return float(field) if kind == "DOUBLE" else int(field)
    return field


def _logged(messages: Iterable[Message], source: str) -> Iterable[tuple[int, int]]:
    """Where the rows lay that the processing log tells of."""
    for message in messages:
        told = json.loads(message.value or b"{}").get("message", {})
        for body in told.values():
            if isinstance(body, dict) and body.get("topic") == source:
                yield body["partition"], body["offset"]


def _differences(
    expected: Counter[tuple[Any, ...]], seen: Counter[tuple[Any, ...]], keys: Sequence[str]
) -> list[str]:
    named = ", ".join(keys)
    faults = [
        f"LOST: the row with ({named}) = {key} is not in the training topic"
        for key in expected - seen
    ]
    for key in seen - expected:
        if key in expected:
            faults.append(
                f"REPEATED: the row with ({named}) = {key}: {seen[key]} times, not {expected[key]}"
            )
        else:
            faults.append(
                f"INVENTED: no row of the source has ({named}) = {key}, or it should have been dropped"
            )
    return faults


def _unmasked(secrets: set[str], arrived: Sequence[Row]) -> list[str]:
    """The value itself is not repeated here."""
    return [
        f"UNMASKED: row {number} of the training topic: column {name} holds a value of the source as it was"
        for number, row in enumerate(arrived)
        for name, value in row.items()
        if isinstance(value, str) and value in secrets
    ]
