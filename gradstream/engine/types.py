"""KSQL's types, how they print, and the Arrow type of a column of each.

Generated code sees plain Python values: BOOLEAN bool, INTEGER and BIGINT int, DOUBLE float, DECIMAL
``decimal.Decimal``, STRING str, BYTES bytes, DATE int (days since 1970), TIME int (milliseconds of the day),
TIMESTAMP int (milliseconds since 1970), ARRAY list, MAP dict, STRUCT dict by field name, NULL None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SqlType:
    """Base of all types; two are equal when they print the same."""


@dataclass(frozen=True, slots=True)
class Primitive(SqlType):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Decimal(SqlType):
    precision: int
    scale: int

    def __str__(self) -> str:
        return f"DECIMAL({self.precision}, {self.scale})"


@dataclass(frozen=True, slots=True)
class Array(SqlType):
    item: SqlType

    def __str__(self) -> str:
        return f"ARRAY<{self.item}>"


@dataclass(frozen=True, slots=True)
class Map(SqlType):
    key: SqlType
    value: SqlType

    def __str__(self) -> str:
        return f"MAP<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True)
class Struct(SqlType):
    fields: tuple[tuple[str, SqlType], ...]

    def __str__(self) -> str:
        return "STRUCT<" + ", ".join(f"`{name}` {type_}" for name, type_ in self.fields) + ">"


BOOLEAN = Primitive("BOOLEAN")
INTEGER = Primitive("INTEGER")
BIGINT = Primitive("BIGINT")
DOUBLE = Primitive("DOUBLE")
STRING = Primitive("STRING")
BYTES = Primitive("BYTES")
TIME = Primitive("TIME")
DATE = Primitive("DATE")
TIMESTAMP = Primitive("TIMESTAMP")

PRIMITIVES: dict[str, Primitive] = {
    "BOOLEAN": BOOLEAN,
    "INT": INTEGER,
    "INTEGER": INTEGER,
    "BIGINT": BIGINT,
    "DOUBLE": DOUBLE,
    "STRING": STRING,
    "VARCHAR": STRING,
    "BYTES": BYTES,
    "TIME": TIME,
    "DATE": DATE,
    "TIMESTAMP": TIMESTAMP,
}

_ARROW: dict[SqlType, pa.DataType] = {
    BOOLEAN: pa.bool_(),
    INTEGER: pa.int32(),
    BIGINT: pa.int64(),
    DOUBLE: pa.float64(),
    STRING: pa.string(),
    BYTES: pa.binary(),
    TIME: pa.time32("ms"),
    DATE: pa.date32(),
    TIMESTAMP: pa.timestamp("ms"),
}


def arrow_type(type_: SqlType) -> pa.DataType:
    """The Arrow type of a column of this KSQL type; every level is nullable."""
    match type_:
        case Decimal(precision, scale) if precision > 38:
            # The widest that Arrow has; what needs more digits does not fit and is an error of its row.
            return pa.decimal256(min(precision, 76), min(scale, 76))
        case Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        case Array(item):
            return pa.list_(arrow_type(item))
        case Map(key, value):
            return pa.map_(arrow_type(key), arrow_type(value))
        case Struct(fields):
            return pa.struct([pa.field(name, arrow_type(field)) for name, field in fields])
    return _ARROW[type_]


def _plain_arrow_type(type_: SqlType) -> pa.DataType:
    """As arrow_type, but times as the integers that generated code works with."""
    match type_:
        case Array(item):
            return pa.list_(_plain_arrow_type(item))
        case Map(key, value):
            return pa.map_(_plain_arrow_type(key), _plain_arrow_type(value))
        case Struct(fields):
            return pa.struct([pa.field(name, _plain_arrow_type(field)) for name, field in fields])
    if type_ in (DATE, TIME):
        return pa.int32()
    if type_ == TIMESTAMP:
        return pa.int64()
    return arrow_type(type_)


def to_python(column: pa.Array, type_: SqlType) -> list[Any]:
    """A column as the Python values that generated code works with."""
    values: list[Any] = column.cast(_plain_arrow_type(type_)).to_pylist(maps_as_pydicts="strict")
    return values


def from_python(values: list[Any], type_: SqlType) -> pa.Array:
    """Python values of generated code as a column."""
    return pa.array(values, _plain_arrow_type(type_)).cast(arrow_type(type_))
