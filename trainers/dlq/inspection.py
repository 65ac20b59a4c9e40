"""Everything about one dead letter: the letter, its record where that is still to be had, and the record's fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
from rich.text import Text

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire import avro_schema
from gradstream.wire.avro_walk import FRAME, Field, walk
from gradstream.wire.registry import Registry, UnknownSchema
from trainers.dlq.ledger import Ledger
from trainers.dlq.letters import Place, Row, origin, own_place, read
from trainers.dlq.originals import Gone, Original, Originals
from trainers.dlq.overview import iso
from trainers.dlq.replay import ORIGIN, judge
from trainers.weights import cut

LINE = 16  # bytes of a line of hex


@dataclass(frozen=True, slots=True)
class Inspected:
    """A letter and what could be found out about its record.

    Attributes:
        place: the letter's own.
        record: the record, from its topic or out of the letter; else why there is none.
        source: where it is from, in words.
        schema: its schema, in words.
        fields: of the record, as far as they can be read; empty without a record or a schema of Avro.
        faulty: the field that the letter names, None where it names none.
        sent: topics that the record was sent to again, with the time in milliseconds.
    """

    place: Place
    letter: Row
    record: Original | Gone
    source: str
    schema: str
    fields: tuple[Field, ...]
    faulty: str | None
    sent: tuple[tuple[str, int], ...]

    @property
    def came_from(self) -> str | None:
        """The place of the record that this one is a replay of."""
        headers = self.record.headers if isinstance(self.record, Original) else []
        found = [value for name, value in headers if name == ORIGIN and value is not None]
        return found[-1].decode(errors="replace") if found else None


def inspect(services: Services, registry: Registry, topic: str, place: Place) -> list[Inspected]:
    """The letters about a record, or the letter, at a place.

    Raises:
        DataError: NO_SUCH_LETTER; UNKNOWN_TOPIC, of the dead letters.
    """
    letters = read(services, registry, topic)
    names = (
        ("letter_partition", "letter_offset") if place.topic == topic else ("partition", "offset")
    )
    mine = pc.and_(
        pc.equal(letters[names[0]], place.partition), pc.equal(letters[names[1]], place.offset)
    )
    if place.topic != topic:
        mine = pc.and_(mine, pc.equal(letters["topic"], place.topic))
    rows: list[Row] = letters.filter(mine).to_pylist()
    if not rows:
        raise DataError(
            "NO_SUCH_LETTER",
            f"none of the {letters.num_rows:,} dead letters in {topic!r} is about {place}; "
            "see which there are with gradstream dlq list --each",
        )
    ledger = Ledger(services, registry, topic)
    ledger.refresh()
    ledger.close()
    with Originals(services) as originals:
        found = originals.fetch(map(origin, rows))
    return [_inspected(registry, topic, row, found[origin(row)], ledger) for row in rows]


def _inspected(
    registry: Registry, topic: str, row: Row, found: Original | Gone, ledger: Ledger
) -> Inspected:
    record = judge(row, found, moves=True)
    if isinstance(record, Gone):
        source = f"not to be had: {record.why}"
    elif record is found:
        source = "in its topic; its hash agrees with the letter's"
    else:
        source = "out of the letter, without headers; in its topic it is gone"
    schema, fields = _read_fields(registry, record)
    at = origin(row)
    sent = [
        (key.to, time) for key, time in ledger.entries.items() if key[:2] == (at, row["sha256"])
    ]
    return Inspected(
        own_place(row, topic),
        row,
        record,
        source,
        schema,
        fields,
        _faulty(row, fields),
        tuple(sent),
    )


def _read_fields(registry: Registry, record: Original | Gone) -> tuple[str, tuple[Field, ...]]:
    value = record.value if isinstance(record, Original) else None
    if value is None or len(value) < FRAME or value[0] != 0:
        return "", ()
    number = int.from_bytes(value[1:FRAME], "big", signed=True)
    try:
        schema = registry.schema(number)
        if schema.type != "AVRO":
            return f"{number}, of type {schema.type}", ()
        return f"{number}", tuple(walk(avro_schema.parse(schema.text, schema.references), value))
    except UnknownSchema:
        return f"{number}, which the registry does not know", ()
    except DataError as error:
        return f"{number}, which cannot be read ({error})", ()


def _faulty(row: Row, fields: tuple[Field, ...]) -> str | None:
    """The field that the reason names; reasons name at most one, and hold no values."""
    if named := re.search(r"\bfield (\S+) \(", row["reason"]):
        return named[1]
    words = set(re.findall(r"[\w.]+", row["reason"]))
    return next((field.name for field in fields if field.name in words), None)


def lines(found: Inspected, width: int, values: bool) -> Text:
    """For people; values of the record only if asked for, since they may be private."""
    shown = Text(no_wrap=True)
    shown.append(f"{origin(found.letter)}\n", "bold")
    for name, text in _facts(found):
        shown.append(f"  {name:<12}", "dim")
        shown.append(f"{text}\n")
    if found.fields:
        _add_fields(shown, found, width, values)
    if values and isinstance(found.record, Original):
        _add_bytes(shown, found.record)
    shown.rstrip()
    return shown


def _facts(found: Inspected) -> Iterator[tuple[str, str]]:
    letter, record = found.letter, found.record
    yield "code", letter["code"]
    yield "reason", letter["reason"]
    yield "found by", letter["found_by"]
    yield "dead letter", f"{found.place}, written {iso(letter['written'])}"
    yield "record", found.source
    if found.schema or letter["schema_id"] is not None:
        yield "schema", found.schema or str(letter["schema_id"])
    yield "sha256", letter["sha256"] or "none, since the value is null"
    yield "timestamp", iso(letter["timestamp"])
    if isinstance(record, Original):
        yield "size", _sizes(record)
        if record.headers:
            yield "headers", ", ".join(dict.fromkeys(name for name, _ in record.headers))
    if found.came_from:
        yield "came from", f"{found.came_from}; it was sent again from there, and refused again"
    sent = [f"to {topic} at {iso(time)}" for topic, time in found.sent]
    yield "sent again", "; ".join(sent) or "not yet"


def _sizes(record: Original) -> str:
    key = "no key" if record.key is None else f"key of {len(record.key)} bytes"
    value = "a null value" if record.value is None else f"value of {len(record.value)} bytes"
    return f"{key}, {value}"


def _add_fields(shown: Text, found: Inspected, width: int, values: bool) -> None:
    names = [field.name for field in found.fields]
    widest = min(max(map(len, names)), 32)
    title = "" if values else " (hidden; --values shows it)"
    shown.append(f"  {'field':<{widest}}  {'type':<10} {'bytes':<9} value{title}\n", "bold")
    for field in found.fields:
        faulty = bool(field.fault) or field.name == found.faulty
        line = f"{'→' if faulty else ' '} {cut(field.name, widest):<{widest}}  {field.kind:<10} "
        line += f"{f'{field.begin}–{field.end - 1}':<9} {_value(field, values)}"
        shown.append(cut(line, width).rstrip() + "\n", "red" if faulty else "")


def _value(field: Field, values: bool) -> str:
    if field.fault:
        return field.fault
    if field.value is None:
        return "null"
    return repr(field.value) if values else "…"


def _add_bytes(shown: Text, record: Original) -> None:
    parts = [("key", record.key), ("value", record.value)]
    parts += [(f"header {name}", value) for name, value in record.headers]
    for name, data in parts:
        if data is None:
            continue
        shown.append(f"  {name}\n", "bold")
        for at in range(0, len(data), LINE):
            row = data[at : at + LINE]
            text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)
            shown.append(f"  {at:>6}  {row.hex(' '):<{3 * LINE}} {text}\n")


def as_json(found: Inspected, values: bool) -> dict[str, Any]:
    """For scripts."""
    record = found.record if isinstance(found.record, Original) else None
    made: dict[str, Any] = {
        "place": str(origin(found.letter)),
        "dead_letter": str(found.place),
        **{
            name: found.letter[name]
            for name in ("code", "reason", "found_by", "schema_id", "sha256")
        },
        "timestamp": iso(found.letter["timestamp"]),
        "written": iso(found.letter["written"]),
        "record": found.source,
        "there": record is not None,
        "came_from": found.came_from,
        "faulty": found.faulty,
        "sent_again": [{"to": topic, "at": iso(time)} for topic, time in found.sent],
        "fields": [
            {
                "name": field.name,
                "type": field.kind,
                "bytes": [field.begin, field.end],
                **({"fault": field.fault} if field.fault else {}),
                **({"value": _plain(field.value)} if values and not field.fault else {}),
            }
            for field in found.fields
        ],
    }
    if values and record is not None:
        made["key_hex"] = None if record.key is None else record.key.hex()
        made["value_hex"] = None if record.value is None else record.value.hex()
    return made


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
