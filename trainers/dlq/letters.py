"""Dead letters as they stand in their topic: read as columns, chosen, each with a place of its own."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.config import Services
from gradstream.errors import DataError, UsageError
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import list_topics
from gradstream.wire.records import Records
from gradstream.wire.registry import Registry
from trainers import dead_letters
from trainers.links import forwards
from trainers.preflight import SCHEMAS

DEAD_LETTERS = "gradstream_dead_letters"
Row: TypeAlias = dict[str, Any]  # of the table of letters


class Place(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def read(cls, text: str) -> Place:
        """From ``TOPIC/PARTITION/OFFSET``.

        Raises:
            UsageError: BAD_PLACE.
        """
        topic, *numbers = text.split("/")
        if not topic or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
            raise UsageError(
                "BAD_PLACE", f"{text!r} is no place; give TOPIC/PARTITION/OFFSET, as the list does"
            )
        return cls(topic, int(numbers[0]), int(numbers[1]))


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant; what is None chooses nothing out.

    Attributes:
        since: milliseconds since 1970; letters that were written before are left out.
    """

    code: str | None = None
    topic: str | None = None
    found_by: str | None = None
    since: int | None = None

    @property
    def all(self) -> bool:
        return self == Choice()

    def of(self, letters: pa.Table) -> pa.Table:
        """Those of the letters that are meant."""
        for name in ("code", "topic", "found_by"):
            if (wanted := getattr(self, name)) is not None:
                letters = letters.filter(pc.equal(letters[name], wanted))
        if self.since is not None:
            letters = letters.filter(pc.greater_equal(letters["written"], self.since))
        return letters

    def __str__(self) -> str:
        flags = {"--code": self.code, "--topic": self.topic, "--found-by": self.found_by}
        words = [f"{flag} {value}" for flag, value in flags.items() if value is not None]
        return " ".join([*words, *(["--since"] if self.since is not None else [])])


def read(services: Services, registry: Registry, topic: str) -> pa.Table:
    """All letters of a topic, in its order.

    Returns:
        a table with the fields of dead_letter.avsc, times as int64 milliseconds, and of the letter itself
        ``letter_partition``, ``letter_offset`` and ``written``, milliseconds too.

    Raises:
        DataError: UNKNOWN_TOPIC; BAD_DEAD_LETTER where something else is in the topic.
    """
    if topic not in (found := list_topics(services)):
        near = difflib.get_close_matches(topic, found, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "the first trainer makes it"
        raise DataError("UNKNOWN_TOPIC", f"there is no topic {topic!r} of dead letters; {hint}")
    decoder = AvroDecoder(registry, reader_schema=(SCHEMAS / "dead_letter.avsc").read_text())
    parts = [_columns(decoder, block) for block in forwards(services, topic) if len(block)]
    none = np.array([], np.int64)
    return pa.concat_tables(parts) if parts else _placed(dead_letters.rows([]), none, none, none)


def _columns(decoder: AvroDecoder, records: Records) -> pa.Table:
    decoded = decoder.columns(records.value)
    for row in decoded.faults.tolist():
        topic, at = records.topics[records.topic[row]], f"offset {records.offset[row]}"
        raise DataError(
            "BAD_DEAD_LETTER",
            f"topic {topic!r} {at} is no dead letter: {decoded.code(row)} ({decoded.reason(row)}); "
            "give the right --dead-letters-topic",
        )
    return _placed(decoded.batch, records.partition, records.offset, records.timestamp)


def _placed(batch: pa.RecordBatch, *own: npt.NDArray[np.int32 | np.int64]) -> pa.Table:
    """With the columns of the letters themselves."""
    table = pa.Table.from_batches([batch])
    at = table.schema.get_field_index("timestamp")
    table = table.set_column(at, "timestamp", table["timestamp"].cast(pa.int64()))
    for name, column in zip(("letter_partition", "letter_offset", "written"), own, strict=True):
        table = table.append_column(name, pa.array(column, pa.int64()))
    return table


def chosen(letters: pa.Table, choice: Choice, topic: str) -> pa.Table:
    """The letters that are meant.

    Raises:
        DataError: NOTHING_MATCHES, naming what there is, where there are letters but none of these.
    """
    found = choice.of(letters)
    if letters.num_rows and not found.num_rows:
        there = (
            f"{', '.join(sorted(letters[name].unique().to_pylist())[:6])}"
            for name in ("code", "topic", "found_by")
        )
        raise DataError(
            "NOTHING_MATCHES",
            f"none of the {letters.num_rows:,} dead letters in {topic!r} is one of {choice}; there are: "
            + "; ".join(there),
        )
    return found


def origin(row: Row) -> Place:
    """Where a letter's record is."""
    return Place(row["topic"], row["partition"], row["offset"])


def own_place(row: Row, topic: str) -> Place:
    """Where the letter itself is."""
    return Place(topic, row["letter_partition"], row["letter_offset"])
