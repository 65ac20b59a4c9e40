"""Bytes to a source's columns and back, whatever its formats: the one place that knows which codec does what.

    decoder = value_decoder(source, registry)
    decoded = decoder.decode(records.value)         # batch: exactly the source's value columns, in order
    encoder = value_encoder(sink, registry)         # AVRO: registers the schema now, when the statement runs
    values = encoder.encode(batch, null_rows)

A null value decodes as a good row of nulls; ``records.value.is_null()`` tells it from a row that has nulls. A single
key column that is null is written as a null key; of several that are all null the caller says whether there is no key
(``null_rows``) or one of nulls, as PARTITION BY makes it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.engine.catalog import Column, Format, Source
from gradstream.engine.rows import avro_schemas
from gradstream.engine.rows.avro_coercions import filled, from_avro, to_avro
from gradstream.engine.types import Struct, arrow_type
from gradstream.errors import ConfigError, SqlError
from gradstream.wire import codec_delimited, codec_json, codec_kafka
from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import NUMBER
from gradstream.wire.registry import Registry, UnknownSchema


class Decoder(Protocol):
    schema: pa.Schema

    def decode(self, values: pa.BinaryArray) -> Decoded:
        """The columns of ``schema``, or those of them that are needed, one row for each value that could be read."""
        ...


class Encoder(Protocol):
    schema_id: int | None

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        """One value per row, null where ``null_rows`` says so."""
        ...


def value_decoder(
    source: Source, registry: Registry | None, only: Collection[str] | None = None
) -> Decoder:
    """Reads the values of a source.

    Args:
        only: names of the columns that are needed. All are checked; where that saves work, the others are left out.
    """
    wrapped = source.value_format.wrap_single is not False
    return _decoder(source.value_format, source.value_columns, registry, wrapped, only)


def key_decoder(source: Source, registry: Registry | None) -> Decoder:
    """Reads the keys of a source; for a keyless one: no columns, as many rows."""
    return _decoder(source.key_format, source.key_columns, registry, _key_wrapped(source))


def value_encoder(sink: Source, registry: Registry | None) -> Encoder:
    """Writes the values of a sink; for AVRO its schema is registered now."""
    wrapped = sink.value_format.wrap_single is not False
    text = _text_encoder(sink.value_format, wrapped)
    if text is not None:
        return text
    if not sink.value_columns:
        return _Nothing(pa.schema([]))
    return _AvroEncoder(sink, registry, is_key=False)


def key_encoder(sink: Source, registry: Registry | None) -> Encoder:
    """Writes the keys of a sink; for a keyless one: all null. For AVRO its schema is registered now."""
    if not sink.key_columns or sink.key_format.name == "NONE":
        return _Nothing(pa.schema([]))
    text = _text_encoder(sink.key_format, _key_wrapped(sink))
    encoder = text or _AvroEncoder(sink, registry, is_key=True)
    return _SingleKey(encoder) if len(sink.key_columns) == 1 else encoder


def moved_key_encoder(format_: Format, schema: pa.Schema) -> Encoder:
    """Writes keys as in the topics through which Kafka Streams sends rows whose key changes: as JSON what ``format_`` has
    no form for.

    AVRO is JSON, too: there a key begins with the number of a schema that the registry gives to such a topic alone.
    """
    name = "KAFKA" if format_.name == "NONE" else format_.name
    nested = any(pa.types.is_nested(of) for of in schema.types)
    plain = len(schema) == 1 and codec_kafka.has_form(schema.types[0])
    if name == "AVRO" or (name == "DELIMITED" and nested) or (name == "KAFKA" and not plain):
        name = "JSON"
    encoder = _text_encoder(Format(name, format_.delimiter), len(schema) > 1)
    assert encoder is not None
    return encoder


def register(source: Source, registry: Registry | None) -> None:
    """Register the schemas of a source made with columns, as CREATE STREAM does: where the subject has none yet."""
    for is_key in (True, False):
        format_, columns = _part(source, is_key)
        if format_.name != "AVRO" or not columns or format_.schema_id is not None:
            continue
        known = _needed(registry)
        try:
            known.latest(_subject(source.topic, is_key))
        except UnknownSchema:
            known.register(_subject(source.topic, is_key), _derived(source, is_key))


def columns_from_registry(
    registry: Registry,
    topic: str,
    is_key: bool,
    format_: Format,
    schema_id: int | None = None,
) -> tuple[Column, ...]:
    """The columns of the schema that ``format_`` names, whose fields keep their names; else of the subject's latest.

    Args:
        schema_id: takes the place of the latest one, as when a statement is carried out again.

    A key, and a value with WRAP_SINGLE_VALUE=false, is one column, ROWKEY or ROWVAL, of whatever type.

    Raises:
        SqlError: UNKNOWN_SCHEMA, or BAD_SCHEMA for one that has no KSQL type.
    """
    as_named = format_.schema_id is not None
    schema_id = format_.schema_id if as_named else schema_id
    try:
        if schema_id is None:
            schema_id = registry.latest(_subject(topic, is_key))[0]
        schema = registry.schema(schema_id)
    except UnknownSchema:
        raise _no_schema(topic, is_key, format_.schema_id) from None
    if schema.type != "AVRO":
        raise SqlError(
            "BAD_SCHEMA", f"schema {schema_id} of topic '{topic}' is {schema.type}, not AVRO"
        )
    known: dict[str, Any] = {}
    try:
        for text in schema.references:
            _remember(json.loads(text), known)
        found = avro_schemas.sql_type(_loaded(schema.text), known, as_named=as_named)
    except avro_schemas.Unsupported:
        raise SqlError(
            "BAD_SCHEMA",
            "Schema does not include any columns with types that ksqlDB supports.\n"
            f"schema: {schema.text}",
        ) from None
    if is_key or format_.wrap_single is False:
        name = "ROWKEY" if is_key else "ROWVAL"
        return (Column(name, found, "key" if is_key else "value"),)
    if not isinstance(found, Struct):
        raise SqlError("BAD_SCHEMA", "KSQL stream/table schema must be structured")
    return tuple(Column(name, type_) for name, type_ in found.fields)


def _remember(schema: Any, known: dict[str, Any]) -> None:
    """Keep the type of a schema that others refer to by name."""
    if isinstance(schema, dict) and "name" in schema:
        namespace, name = schema.get("namespace"), str(schema["name"])
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        known[full] = avro_schemas.sql_type(schema, known, as_named=True)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()  # a bare name such as int


def _no_schema(topic: str, is_key: bool, schema_id: int | None) -> SqlError:
    part = "keys" if is_key else "values"
    what = f"Subject: {_subject(topic, is_key)}" if schema_id is None else f"Schema Id: {schema_id}"
    return SqlError(
        "UNKNOWN_SCHEMA",
        f"Schema for message {part} on topic '{topic}' does not exist in the Schema Registry.\n"
        f"{what}\n"
        "Possible causes include:\n"
        "- The topic itself does not exist\n\t-> Use SHOW TOPICS; to check\n"
        "- Messages on the topic are not serialized using a format Schema Registry supports\n"
        f"\t-> Use PRINT '{topic}' FROM BEGINNING; to verify\n"
        "- The schema is registered on a different instance of the Schema Registry\n"
        "\t-> Use the REST API to list available subjects",
    )


def _subject(topic: str, is_key: bool) -> str:
    return f"{topic}-{'key' if is_key else 'value'}"


def _part(source: Source, is_key: bool) -> tuple[Format, tuple[Column, ...]]:
    if is_key:
        return source.key_format, source.key_columns
    return source.value_format, source.value_columns


def _key_wrapped(source: Source) -> bool:
    """A single key column is written bare unless the format says otherwise."""
    return len(source.key_columns) != 1 or source.key_format.wrap_single is True


def _derived(source: Source, is_key: bool) -> str:
    """The Avro schema of a source's keys or values, as text."""
    format_, columns = _part(source, is_key)
    default = avro_schemas.key_name(source) if is_key else avro_schemas.DEFAULT_NAME
    wrapped = _key_wrapped(source) if is_key else format_.wrap_single is not False
    schema = avro_schemas.derive(columns, format_.full_schema_name or default, wrapped=wrapped)
    return json.dumps(schema, separators=(",", ":"))


def _needed(registry: Registry | None) -> Registry:
    if registry is None:
        raise ConfigError(
            "NO_REGISTRY",
            "the AVRO format needs a schema registry; give its address with --schema-registry-url",
        )
    return registry


def _decoder(
    format_: Format,
    columns: tuple[Column, ...],
    registry: Registry | None,
    wrapped: bool,
    only: Collection[str] | None = None,
) -> Decoder:
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
    if not columns or format_.name == "NONE":
        return _Nothing(schema)
    match format_.name:
        case "DELIMITED":
            return _DelimitedDecoder(schema, format_.delimiter, only)
        case "JSON":
            return _JsonDecoder(schema, wrapped)
        case "KAFKA":
            return _KafkaDecoder(schema)
        case "AVRO":
            return _AvroDecoder(schema, _needed(registry), wrapped)
    raise SqlError("UNKNOWN_FORMAT", f"Unknown format: {format_.name}")


def _text_encoder(format_: Format, wrapped: bool) -> Encoder | None:
    """The encoder of a format without schemas, None for AVRO."""
    match format_.name:
        case "DELIMITED":
            return _Delimited(format_.delimiter)
        case "JSON":
            return _Json(wrapped)
        case "KAFKA":
            return _Kafka()
        case "NONE":
            return _Nothing(pa.schema([]))
        case "AVRO":
            return None
    raise SqlError("UNKNOWN_FORMAT", f"Unknown format: {format_.name}")


class _Nothing:
    """No columns: what a key or value without any is read as, and what is written for it."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.schema_id: int | None = None

    def decode(self, values: pa.BinaryArray) -> Decoded:
        columns = [pa.nulls(len(values), field.type) for field in self.schema]
        return Decoded.whole(_batch(columns, self.schema, len(values)))

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        return pa.nulls(batch.num_rows, pa.binary())


class _DelimitedDecoder:
    def __init__(self, schema: pa.Schema, delimiter: str, only: Collection[str] | None) -> None:
        self.schema = schema
        self.delimiter = delimiter
        self.only = only

    def decode(self, values: pa.BinaryArray) -> Decoded:
        return codec_delimited.decode(values, self.schema, self.delimiter, only=self.only)


class _JsonDecoder:
    def __init__(self, schema: pa.Schema, wrapped: bool) -> None:
        self.schema = schema
        self.wrapped = wrapped

    def decode(self, values: pa.BinaryArray) -> Decoded:
        return codec_json.decode(values, self.schema, wrapped=self.wrapped)


class _KafkaDecoder:
    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def decode(self, values: pa.BinaryArray) -> Decoded:
        return codec_kafka.decode(values, self.schema)


class _AvroDecoder:
    """Columns as written, brought to the source's names and types; a null value becomes a row of nulls."""

    def __init__(self, schema: pa.Schema, registry: Registry, wrapped: bool) -> None:
        from gradstream.wire import codec_avro  # here, since it brings the compiler

        self.schema = schema
        self.wrapped = wrapped
        self.decoder = codec_avro.AvroDecoder(registry)

    def decode(self, values: pa.BinaryArray) -> Decoded:
        read = self.decoder.columns(values)
        columns, why = from_avro(read.batch, self.schema, self.wrapped)
        codes, rows = read.codes, read.rows
        if why:  # what was written cannot be what the column is: no row can be read
            codes = codes.copy()
            codes[rows] = NUMBER["WRONG_TYPE"]
            bad = frozenset(rows.tolist())
            rows, columns = rows[:0], [column.slice(0, 0) for column in columns]
        else:
            bad = frozenset()
        if values.null_count:
            codes, rows, columns = _with_nulls(values, codes, rows, columns)
        batch = _batch(columns, self.schema, len(rows))
        return Decoded(batch, rows, codes, lambda row: why if row in bad else read.reason(row))


def _with_nulls(
    values: pa.BinaryArray,
    codes: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    columns: list[pa.Array],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[pa.Array]]:
    """The rows with those of null values among them."""
    null = values.is_null().to_numpy(zero_copy_only=False)
    place = np.full(len(values), -1, np.int64)
    place[rows] = np.arange(len(rows))
    both = np.flatnonzero(null | (place >= 0)).astype(np.int64, copy=False)
    index = pa.array(place[both], pa.int64(), mask=null[both])
    return np.where(null, np.uint8(0), codes), both, [column.take(index) for column in columns]


def _batch(columns: list[pa.Array], schema: pa.Schema, n: int) -> pa.RecordBatch:
    if columns:
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * n, pa.struct([])))


def _nulled(values: pa.BinaryArray, null_rows: npt.NDArray[np.bool_] | None) -> pa.BinaryArray:
    if null_rows is None or not null_rows.any():
        return values
    return pc.if_else(pa.array(null_rows), pa.scalar(None, pa.binary()), values)


class _Delimited:
    schema_id: int | None = None

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        return _nulled(codec_delimited.encode(batch, self.delimiter), null_rows)


class _Json:
    schema_id: int | None = None

    def __init__(self, wrapped: bool) -> None:
        self.wrapped = wrapped

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        return _nulled(codec_json.encode(batch, wrapped=self.wrapped), null_rows)


class _Kafka:
    schema_id: int | None = None

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        return _nulled(codec_kafka.encode(batch), null_rows)


class _AvroEncoder:
    """Writes with the schema derived from the sink's columns, or with the one that the format names."""

    def __init__(self, sink: Source, registry: Registry | None, *, is_key: bool) -> None:
        from gradstream.wire import codec_avro

        self.codec = codec_avro
        known = _needed(registry)
        format_, columns = _part(sink, is_key)
        self.bare = _key_wrapped(sink) is False if is_key else format_.wrap_single is False
        if format_.schema_id is not None:
            self.schema_id: int | None = format_.schema_id
            text = known.schema(format_.schema_id).text
        else:
            text = _derived(sink, is_key)
            self.schema_id = known.register(_subject(sink.topic, is_key), text)
        self.avro = _loaded(text)
        self.unwrap = self.bare and avro_schemas.is_record(self.avro)
        self.kinds: pa.Schema | None = None  # of a record schema that is not ours
        if avro_schemas.is_record(self.avro) and not self.unwrap:
            _check_required(self.avro, columns, sink.topic)
            if format_.schema_id is not None:
                self.kinds = self.codec.arrow_schema(self.avro)

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        if self.bare and batch.column(0).null_count:
            missing = batch.column(0).is_null().to_numpy(zero_copy_only=False)
            null_rows = missing if null_rows is None else null_rows | missing
        if null_rows is None or not null_rows.any():
            return self._encode(batch)
        kept = np.flatnonzero(~null_rows)
        place = np.zeros(batch.num_rows, np.int64)
        place[kept] = np.arange(len(kept))
        values = self._encode(batch.take(pa.array(kept)))
        if not len(kept):
            return pa.nulls(batch.num_rows, pa.binary())
        return values.take(pa.array(place, mask=null_rows))

    def _encode(self, batch: pa.RecordBatch) -> pa.BinaryArray:
        if self.unwrap:  # a bare STRUCT is a record of its fields
            column = batch.column(0)
            names = [field.name for field in column.type]
            batch = pa.RecordBatch.from_arrays(column.flatten(), names)
        if self.kinds is not None:
            batch = filled(batch, self.avro, self.kinds)
        assert self.schema_id is not None
        return self.codec.encode(to_avro(batch, self.avro), self.avro, self.schema_id)


def _check_required(avro: dict[str, Any], columns: tuple[Column, ...], topic: str) -> None:
    """A schema that was named may need fields that the sink does not have."""
    names = {column.name.upper() for column in columns}
    for field in avro["fields"]:
        type_ = field["type"]
        nullable = "null" in type_ if isinstance(type_, list) else type_ == "null"
        if field["name"].upper() not in names and not nullable and "default" not in field:
            raise SqlError(
                "MISSING_FIELD",
                f"Error serializing message to topic: {topic}. Missing default value for required "
                f"Avro field: [{field['name']}]. This field appears in Avro schema in Schema Registry\n"
                "Hint: You probably forgot to add VALUE_SCHEMA_ID when creating the source.",
            )


class _SingleKey:
    """A key of one column: null where the column is."""

    def __init__(self, inner: Encoder) -> None:
        self.inner = inner
        self.schema_id = inner.schema_id

    def encode(
        self, batch: pa.RecordBatch, null_rows: npt.NDArray[np.bool_] | None = None
    ) -> pa.BinaryArray:
        if batch.column(0).null_count:
            missing = batch.column(0).is_null().to_numpy(zero_copy_only=False)
            null_rows = missing if null_rows is None else null_rows | missing
        return self.inner.encode(batch, null_rows)
