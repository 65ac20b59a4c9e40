"""Rows that come as JSON objects: /inserts-stream."""

from __future__ import annotations

import base64
import binascii
import decimal
import time
from typing import Any

import orjson

from gradstream.engine import types
from gradstream.engine.catalog import Column, Source
from gradstream.engine.rows.pipeline import Inserter
from gradstream.engine.server.replies import Entity, generic_error
from gradstream.engine.server.requests import refuse
from gradstream.engine.server.runtime import Engine
from gradstream.engine.types import Array, Map, SqlType, Struct
from gradstream.errors import GradstreamError


class InsertStream:
    """Writes rows into one source until one cannot be taken.

    Raises:
        RequestError: there is no such stream.

    Attributes:
        failed: whether a row was refused; none is taken after it.
    """

    def __init__(self, engine: Engine, target: str) -> None:
        name = target[1:-1] if target[:1] == "`" and target[-1:] == "`" else target.upper()
        source = engine.catalog.sources.get(name)
        if source is None:
            raise refuse(40000, f"Cannot insert values into an unknown stream/table: {target}")
        if any(column.role == "header" for column in source.columns):
            raise refuse(40000, f"Cannot insert into {name}, since it has header columns")
        self.engine = engine
        self.source: Source = source
        self.failed = False
        self._inserter = Inserter(source, engine.registry)
        self._sequence = 0

    def insert(self, lines: list[bytes]) -> list[Entity]:
        """Writes the rows; an acknowledgement for each, the last of which may be an error."""
        records: list[tuple[bytes | None, bytes | None]] = []
        error: Entity | None = None
        for line in lines:
            try:
                records.append(self._inserter.record(self._row(line)))
            except (ValueError, GradstreamError, ArithmeticError) as failure:
                text = failure.message if isinstance(failure, GradstreamError) else str(failure)
                error = generic_error(40000, text)
                break
        answers: list[Entity] = []
        if records:
            now = [time.time_ns() // 1_000_000] * len(records)
            keys = [key for key, _ in records]
            values = [value for _, value in records]
            try:
                self.engine.write(self.source.topic, keys, values, now)
            except GradstreamError as failure:
                error, records = generic_error(50000, str(failure)), []
        for _ in records:
            answers.append({"seq": self._sequence, "status": "ok"})
            self._sequence += 1
        if error:
            self.failed = True
            answers.append({**error, "status": "error", "seq": self._sequence})
        return answers

    def _row(self, line: bytes) -> tuple[Any, ...]:
        """One row's values in the order of the source's columns.

        Raises:
            ValueError: not an object, an unknown column, a missing key, a value of another type.
        """
        try:
            given = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ValueError(f"Invalid JSON in inserts stream: {line[:80]!r}") from None
        if not isinstance(given, dict):
            raise ValueError("a row must be a JSON object")
        columns = {column.name: column for column in self.source.columns}
        row: dict[str, Any] = {}
        for field, value in given.items():
            name = field[1:-1] if field[:1] == "`" and field[-1:] == "`" else field.upper()
            if name not in columns:
                raise ValueError(f"Column name {name} does not exist.")
            row[name] = coerced(value, columns[name].type, name)
        for key in self.source.key_columns:
            if key.name not in row:
                raise ValueError(f"Key field must be specified: {key.name}")
        return tuple(row.get(column.name) for column in self.source.columns)


def coerced(value: Any, type_: SqlType, name: str) -> Any:
    """A JSON value as a column's value.

    Raises:
        ValueError: it does not fit.
    """
    if value is None:
        return None
    match type_:
        case Array(item) if isinstance(value, list):
            return [coerced(of, item, name) for of in value]
        case Map(_, inner) if isinstance(value, dict):
            return {key: coerced(of, inner, name) for key, of in value.items()}
        case Struct(fields) if isinstance(value, dict):
            by_name = {key.upper(): of for key, of in value.items()}
            return {
                field: coerced(value.get(field, by_name.get(field)), of, name)
                for field, of in fields
            }
        case types.Decimal(_, scale) if isinstance(value, str | int | float) and value is not True:
            try:
                return decimal.Decimal(str(value)).quantize(decimal.Decimal(1).scaleb(-scale))
            except decimal.InvalidOperation:
                raise _cannot(value, type_, name) from None
    return _coerced_primitive(value, type_, name)


def _coerced_primitive(value: Any, type_: SqlType, name: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if type_ == types.BOOLEAN and isinstance(value, bool):
        return value
    if type_ in (types.INTEGER, types.BIGINT, types.DATE, types.TIME, types.TIMESTAMP):
        bits = 31 if type_ in (types.INTEGER, types.DATE, types.TIME) else 63
        if number and isinstance(value, int) and -(1 << bits) <= value < 1 << bits:
            return value
    if type_ == types.DOUBLE and number:
        return float(value)
    if type_ == types.STRING and isinstance(value, str):
        return value
    if type_ == types.BYTES and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            raise _cannot(value, type_, name) from None
    raise _cannot(value, type_, name)


def _cannot(value: Any, type_: SqlType, name: str) -> ValueError:
    kind = type(value).__name__
    return ValueError(f"Can't coerce a field of type {kind} ({name}) into type {type_}")


__all__ = ["Column", "InsertStream", "coerced"]
