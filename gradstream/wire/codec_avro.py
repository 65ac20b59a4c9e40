"""Avro in Confluent's framing, a whole chunk at a time: values to columns or to one float matrix, and back.

The bytes are read and written by avro_numba's compiled loops, which follow a table made from the writer's schema; for
long streams ``prepare`` makes machine code of a schema's own (avro_kernel), which is several times as fast.
What those loops cannot put into a column (maps, arrays of anything but numbers, unions of several types) they check and
cut out; fastavro then reads those pieces one by one, which is said once per schema through ``logging``. fastavro itself
never sees a byte that has not been checked: it crashes on deep recursion and believes any count.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import DataError
from gradstream.wire import avro_numba, avro_schema
from gradstream.wire.avro_chunk import (
    FRAME_REASONS,
    Addresses,
    Chunk,
    Codes,
    Selection,
    Writer,
    vector,
)
from gradstream.wire.avro_columns import Reading, joined
from gradstream.wire.avro_encode import encode, encode_one
from gradstream.wire.avro_kernel import Kernel
from gradstream.wire.avro_promote import promoted
from gradstream.wire.avro_schema import AvroSchema
from gradstream.wire.decoded import Decoded
from gradstream.wire.faults import CODES, NUMBER, OK
from gradstream.wire.registry import Registry, Schema, UnknownSchema

__all__ = [
    "AvroDecoder",
    "AvroSchema",
    "arrow_schema",
    "compile_all",
    "encode",
    "encode_one",
    "expanded",
    "numeric_columns",
    "schema_columns",
    "subject_columns",
]


class AvroDecoder:
    """Reads Confluent-framed Avro values of any number of writer schemas.

    Args:
        registry: where schema ids are looked up.
        subject: if given, ids that are not versions of it give SUBJECT_MISMATCH.
        reader_schema: if given, records of every writer's schema are read as this one, by Avro's rules of
            resolution: fields by name or alias, defaults for those that a writer lacks, numbers that widen, text and
            bytes for each other, symbols that an enum lacks as its default. A writer's schema that cannot be read so
            gives its records MISSING_FIELD or WRONG_TYPE; a null for which the reader has no place is NULL_FIELD, a
            symbol BAD_ENUM. Names of types are not compared.

    What is wrong with one record is a code for its row. A registry that cannot be asked raises UnavailableError and
    judges no record.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        subject: str | None = None,
        reader_schema: AvroSchema | None = None,
    ) -> None:
        self.registry = registry
        self._reader = None if reader_schema is None else avro_schema.parse(reader_schema)
        self.subject = subject
        self._writers: dict[int, Writer] = {}
        self._kernels: dict[tuple[tuple[str, ...], np.dtype[Any]], list[Kernel]] = {}
        self._last: tuple[tuple[str, ...] | None, np.dtype[Any]] = (None, np.dtype(np.float64))

    def columns(self, values: pa.BinaryArray, only: Collection[str] | None = None) -> Decoded:
        """The good rows as columns with Arrow types, named and ordered as in the reader's schema, or else the writer's.

        Args:
            values: framed values; null is a tombstone.
            only: names of the columns wanted, exactly as written; all of them by default.

        Rows of several writer schemas keep their order. Their columns are joined by name: a column that a schema
        lacks is null, int widens to long and to double, a type that fits in no such way is cast to that of the
        highest schema id or gives WRONG_TYPE. Dates and times become Arrow's, without a zone; a bare type becomes
        the column ``value``.

        Each byte is copied once, from the values into its column, whose buffers become Arrow's as they are; rows of
        several writer's schemas are copied once more, into one batch.
        """
        chunk = Chunk.of(values)
        self._judge(chunk)
        parts = []
        for schema_id in chunk.schema_ids():
            batch, rows = self._columns_of(schema_id, chunk, only)
            parts.append((schema_id, batch, rows))
        batch, rows = joined(parts, chunk)
        return Decoded(batch, rows, chunk.codes, lambda row: self._reason(chunk, row, None))

    def matrix(
        self,
        values: pa.BinaryArray,
        columns: Sequence[str],
        dtype: npt.DTypeLike = np.float64,
        out: npt.NDArray[Any] | None = None,
    ) -> tuple[npt.NDArray[Any], Codes]:
        """The wanted columns as numbers, shape (n, d), and a code for each of the n values.

        Args:
            columns: names, fields of nested records as ``OUTER.INNER``; exact, or else the only one that differs in
                case alone. ``X[0:10]`` stands for ten columns (see ``expanded``): the items of an array of numbers,
                which must have exactly ten, else WRONG_DIMENSION.
            dtype: float64 or float32.
            out: where to write, shape (n, d) of that dtype, each row contiguous, as a part of a larger matrix is.

        Rows with a code hold unspecified numbers. Numbers of every kind are taken, dates and times as they are
        stored, decimals to the nearest double or its neighbour, integers beyond 2**53 rounded. Text is taken if it
        is a number, such as the "0" and "1" of a class; text that is not, booleans, bytes and enums are WRONG_TYPE.
        Null is NULL_FIELD, a column that the writer's schema lacks MISSING_FIELD, infinity NON_FINITE, more than
        float32 can hold OUT_OF_RANGE. Text that is not wanted is passed over unseen, so its UTF-8 is not judged.
        """
        names, kind = self._asked(columns, dtype)
        chunk = Chunk.of(values)
        return self._matrix(chunk, names, kind, out), chunk.codes

    def matrix_at(
        self,
        begins: Addresses,
        ends: Addresses,
        columns: Sequence[str],
        dtype: npt.DTypeLike = np.float64,
        out: npt.NDArray[Any] | None = None,
    ) -> tuple[npt.NDArray[Any], Codes]:
        """As ``matrix``, of values that lie anywhere in memory, such as in a Kafka client's messages.

        Args:
            begins, ends: int64 (n,), contiguous: the address of each value's first byte, 0 for a tombstone, and the
                address after its last byte. That memory must live for as long as the call lasts.
        """
        names, kind = self._asked(columns, dtype)
        chunk = Chunk.at(begins, ends)
        return self._matrix(chunk, names, kind, out), chunk.codes

    def prepare(
        self,
        schema_id: int,
        columns: Sequence[str],
        dtype: npt.DTypeLike = np.float64,
        *,
        compile_it: bool = True,
    ) -> bool:
        """Compile, or load from disk, a reader of these columns for records of this schema: worth its seconds where
        millions of records follow.

        Args:
            compile_it: False: only one that is on disk already.

        ``matrix`` then takes less than half the time, with the same answer. A schema that cannot be read in a
        straight line (hundreds of fields of changing kinds), or that lacks a column, goes the general way as before.

        Returns:
            whether there is such a reader now.
        """
        names, kind = self._asked(columns, dtype)
        known = self._kernels.setdefault((names, kind), [])
        if any(kernel.schema_id == schema_id for kernel in known):
            return True
        if self._code_of(schema_id) != OK:
            return False
        selection = self._writers[schema_id].selection(names)
        if kernel := Kernel.of(schema_id, selection, kind, compile_it=compile_it):
            known.append(kernel)
        return kernel is not None

    def _asked(
        self, columns: Sequence[str], dtype: npt.DTypeLike
    ) -> tuple[tuple[str, ...], np.dtype[Any]]:
        kind = np.dtype(dtype)
        if kind not in (np.dtype(np.float64), np.dtype(np.float32)):
            raise ValueError(f"dtype must be float64 or float32, not {kind}")
        names = tuple(columns)
        self._last = names, kind
        return names, kind

    def _matrix(
        self,
        chunk: Chunk,
        names: tuple[str, ...],
        dtype: np.dtype[Any],
        out: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[Any]:
        shape = len(chunk.codes), _width(names)
        if out is None:
            out = np.empty(shape, dtype)
        elif (
            out.shape != shape
            or out.dtype != dtype
            or (shape[1] and out.strides[1] != out.itemsize)
        ):
            raise ValueError(f"out must be {shape} of {dtype} with contiguous rows")
        read = 0
        for kernel in self._kernels.get((names, dtype), ()):
            read += kernel.read(chunk, out)
        if read == len(out):
            return out
        self._judge(chunk)
        for schema_id in chunk.schema_ids():
            selection = self._writers[schema_id].selection(names)
            if selection.code != OK:
                chunk.condemn(schema_id, selection.code)
            else:
                fill_matrix(chunk, schema_id, selection, out)
        return out

    def reasons(
        self, values: pa.BinaryArray, row: int, code: int, columns: Sequence[str] | None = None
    ) -> str:
        """Why a row has its code, in words that hold no value of the record.

        Args:
            values: what was decoded.
            columns: those given to ``matrix``; by default those of its last call.
        """
        names, dtype = self._last if columns is None else (tuple(columns), np.dtype(np.float64))
        one = values.slice(row, 1)
        if names is None:
            return self.columns(one).reason(0)
        chunk = Chunk.of(one)
        self._matrix(chunk, names, dtype)
        chunk.codes[0] = code
        return self._reason(chunk, 0, names)

    def _judge(self, chunk: Chunk) -> None:
        """Codes for the pending rows whose frame or schema is wrong; a writer for every other schema."""
        chunk.judge()
        for schema_id in chunk.schema_ids():
            if code := self._code_of(schema_id):
                chunk.condemn(schema_id, code)

    def _code_of(self, schema_id: int) -> int:
        """What is wrong with every record of a schema."""
        writer = self._writers.get(schema_id)
        if writer is None:
            try:
                writer = Writer.of(self.registry, schema_id, self._reader)
            except UnknownSchema:
                return NUMBER["UNKNOWN_SCHEMA_ID"]
            self._writers[schema_id] = writer
        if writer.code != OK:
            return writer.code
        if self.subject is not None and not self.registry.has(self.subject, schema_id):
            return NUMBER["SUBJECT_MISMATCH"]
        return OK

    def _columns_of(
        self, schema_id: int, chunk: Chunk, only: Collection[str] | None
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """The rows of one schema as columns, and their positions."""
        writer = self._writers[schema_id]
        while True:
            before = chunk.codes.copy()
            batch, rows, bad = Reading(writer, chunk, schema_id, only).read()
            if not bad:
                break
            # Rare: a value inside an array, map or union that no column holds. Read again without those rows.
            chunk.codes[:] = before
            for row, (code, place) in bad.items():
                chunk.codes[row], chunk.where[row] = code, place
        return promoted(writer, batch, rows, chunk, only)

    def _reason(self, chunk: Chunk, row: int, names: tuple[str, ...] | None) -> str:
        code = CODES[int(chunk.codes[row])]
        schema_id = int(chunk.ids[row])
        if code in FRAME_REASONS:
            return FRAME_REASONS[code](chunk, row)
        if code == "UNKNOWN_SCHEMA_ID":
            return f"the registry has no schema {schema_id}"
        if code == "SUBJECT_MISMATCH":
            return f"schema {schema_id} is no version of subject {self.subject}"
        writer = self._writers.get(schema_id)
        if writer is None:
            return code
        if writer.code != OK:
            return f"schema {schema_id}: {writer.reason}"
        if names is not None and (selection := writer.selection(names)).code != OK:
            return f"schema {schema_id}: {selection.reason}"
        return f"schema {schema_id}, {writer.describe(code, int(chunk.where[row]))}"


def fill_matrix(chunk: Chunk, schema_id: int, selection: Selection, out: npt.NDArray[Any]) -> None:
    """The rows of one schema into the matrix."""
    n = len(out)
    wide = out.dtype == np.float64
    limit = float(np.finfo(out.dtype).max)
    slow = np.empty((n * selection.texts, 5), np.int64)
    counter = np.zeros(1, np.int64)
    avro_numba.matrix(
        n,
        chunk.begins,
        chunk.ends,
        schema_id,
        chunk.ids,
        selection.ops,
        out.ctypes.data,
        out.strides[0],
        wide,
        limit,
        chunk.codes,
        chunk.where,
        slow,
        counter,
    )
    for row, column, address, length, place in slow[: counter[0]].tolist():
        number = float(
            ctypes.string_at(address, length)
        )  # the loop has seen that it is one, only not how large exactly
        if abs(number) > limit:
            chunk.codes[row], chunk.where[row] = NUMBER["OUT_OF_RANGE"], place
        else:
            out[row, column] = number
    if not (selection.constants or selection.copies):
        return
    mine = chunk.ids == schema_id
    for column, number in selection.constants:
        if abs(number) > limit:
            chunk.condemn(schema_id, NUMBER["OUT_OF_RANGE"])
        else:
            out[mine, column] = number
    for source, target in selection.copies:
        out[mine, target] = out[mine, source]


def expanded(columns: Sequence[str]) -> list[str]:
    """The names of a matrix's columns: ``X[0:3]`` becomes ``X[0]``, ``X[1]`` and ``X[2]``.

    Raises:
        DataError: TOO_LARGE, for over 65,536 columns of one array.
    """
    found = []
    for column in columns:
        name, size = vector(column)
        found += [column] if size < 0 else [f"{name}[{place}]" for place in range(size)]
    return found


@lru_cache(maxsize=256)
def _width(names: tuple[str, ...]) -> int:
    return len(expanded(names))


def numeric_columns(schema: AvroSchema, references: Sequence[str] = ()) -> list[str]:
    """Names of the columns that hold numbers, in the schema's order: the default list of features.

    Nested fields as ``OUTER.INNER``. Dates, times, text and booleans are left out.
    """
    found = avro_schema.leaves(avro_schema.parse(schema, references))
    return [
        name
        for name, node in found
        if node.kind in avro_schema.NUMBERS and node.logical in ("", "decimal")
    ]


def schema_columns(schema: AvroSchema, references: Sequence[str] = ()) -> dict[str, str]:
    """Names and kinds of a schema's columns, such as ``{"V1": "double", "CLASS": "string"}``, nested ones dotted."""
    found = avro_schema.leaves(avro_schema.parse(schema, references))
    return {name: node.word for name, node in found}


def subject_columns(registry: Registry, subject: str) -> dict[str, str]:
    """Names and kinds of the columns of a subject's latest schema."""
    schema = registry.schema(registry.latest(subject)[0])
    if schema.type != "AVRO":
        raise DataError(
            "WRONG_SCHEMA_TYPE", f"subject {subject} holds {schema.type} schemas, not AVRO"
        )
    return schema_columns(schema.text, schema.references)


def arrow_schema(schema: AvroSchema, references: Sequence[str] = ()) -> pa.Schema:
    """The Arrow schema that ``columns`` gives for records of an Avro schema."""
    columns = avro_schema.columns_of(avro_schema.parse(schema, references))
    return pa.schema([pa.field(node.name, avro_schema.arrow_type(node)) for node in columns])


def compile_all() -> float:
    """Compile, or load, all loops now; returns the seconds that took. For set-up, so that no first record waits."""
    started = time.perf_counter()
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "x", "type": "double"},
            {"name": "s", "type": "string"},
            {"name": "v", "type": {"type": "array", "items": "double"}},
        ],
    }
    batch = pa.record_batch({"x": pa.array([1.0]), "s": pa.array(["1"]), "v": pa.array([[1.0]])})
    values = encode(batch, schema, 1)
    registry = Registry("http://127.0.0.1")  # never asked
    registry.remember(Schema(1, "AVRO", json.dumps(schema)))
    decoder = AvroDecoder(registry)
    decoder.columns(values)
    decoder.matrix(values, ["x", "s"])
    return time.perf_counter() - started
