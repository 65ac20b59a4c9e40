"""Arrow schemas of the producers as KSQL columns and as Avro records."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

# Arrow type: (KSQL, Avro)
_TYPES: dict[pa.DataType, tuple[str, str]] = {
    pa.int32(): ("INT", "int"),
    pa.int64(): ("BIGINT", "long"),
    pa.float64(): ("DOUBLE", "double"),
    pa.bool_(): ("BOOLEAN", "boolean"),
    pa.string(): ("VARCHAR", "string"),
}
_RECORD = "KsqlDataSourceSchema"
_NAMESPACE = "io.confluent.ksql.avro_schemas"


def ksql_type(type_: pa.DataType) -> str:
    """The KSQL type of an Arrow type that producers use."""
    return _TYPES[type_][0]


def avro_schema(schema: pa.Schema) -> dict[str, Any]:
    """The record that ksqlDB derives and registers for a stream of these columns.

    The same name and shape, so that it makes no difference whether CREATE STREAM or the producer comes first.
    """
    return {
        "type": "record",
        "name": _RECORD,
        "namespace": _NAMESPACE,
        "fields": [
            {"name": field.name, "type": ["null", _TYPES[field.type][1]], "default": None}
            for field in schema
        ],
        "connect.name": f"{_NAMESPACE}.{_RECORD}",
    }
