"""What the engine knows: streams, tables, their columns and formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gradstream.engine.types import SqlType

Role = Literal["key", "value", "header"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a source.

    Attributes:
        name: as stored, so upper case unless it was quoted.
        role: part of the record's key, of its value, or read from its headers.
        header: for role ``header``, the header's name, or None for all of them.
    """

    name: str
    type: SqlType
    role: Role = "value"
    header: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """How a key or a value is written: DELIMITED, JSON, AVRO, KAFKA or NONE, with the format's own settings.

    Attributes:
        delimiter: one character, DELIMITED only.
        full_schema_name: name of the Avro record, AVRO only; None means ksqlDB's default.
        wrap_single: whether a single column is written as a record or as a bare value; None means the format's default.
        schema_id: registered schema to write with, None to register the derived one.
    """

    name: str
    delimiter: str = ","
    full_schema_name: str | None = None
    wrap_single: bool | None = None
    schema_id: int | None = None


@dataclass(frozen=True, slots=True)
class TimestampColumn:
    """The column that gives the record's time, with a Java DateTimeFormatter pattern where it is text."""

    name: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class WindowedKey:
    """The windows that a source's keys carry; ``size`` in milliseconds, None for sessions."""

    kind: Literal["TUMBLING", "HOPPING", "SESSION"]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A stream or table over one topic."""

    name: str
    kind: Literal["stream", "table"]
    columns: tuple[Column, ...]
    topic: str
    key_format: Format
    value_format: Format
    timestamp: TimestampColumn | None = None
    statement: str = ""
    is_source: bool = False
    window: WindowedKey | None = None

    @property
    def key_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role == "key")

    @property
    def value_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role == "value")


@dataclass(slots=True)
class Catalog:
    """The sources by stored name; copied to try statements out before any of them takes effect."""

    sources: dict[str, Source] = field(default_factory=dict)
    types: dict[str, SqlType] = field(default_factory=dict)

    def copy(self) -> Catalog:
        return Catalog(dict(self.sources), dict(self.types))
