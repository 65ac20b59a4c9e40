"""Avro schemas as ksqlDB derives them from columns, and columns from Avro schemas."""

from __future__ import annotations

from typing import Any

from gradstream.engine.catalog import Column
from gradstream.engine.types import SqlType

DEFAULT_NAME = "io.confluent.ksql.avro_schemas.KsqlDataSourceSchema"


def derive(
    columns: tuple[Column, ...], full_name: str = DEFAULT_NAME, *, wrapped: bool = True
) -> Any:
    """The Avro schema, as a JSON value, of records with these columns; unwrapped: of the only column."""
    raise NotImplementedError


def sql_type(schema: Any) -> SqlType:
    """The KSQL type of an Avro schema."""
    raise NotImplementedError
