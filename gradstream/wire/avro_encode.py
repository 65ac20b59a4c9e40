"""Columns as Confluent-framed Avro: Arrow's buffers go straight into the compiled loop."""

from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.errors import DataError
from gradstream.wire import avro_numba, avro_schema
from gradstream.wire.avro_chunk import address, announce_compilation
from gradstream.wire.avro_schema import PIECES, TEXTS, AvroSchema, Node, Table
from gradstream.wire.faults import CODES

log = logging.getLogger(__name__)

# The most bytes that one value takes, without the bytes of text; 1 more for its union.
WIDEST = {
    avro_schema.NULL: 0,
    avro_schema.BOOLEAN: 1,
    avro_schema.INT: 5,
    avro_schema.LONG: 10,
    avro_schema.FLOAT: 4,
    avro_schema.DOUBLE: 8,
    avro_schema.STRING: 5,
    avro_schema.BYTES: 5,
    avro_schema.ENUM: 5,
    avro_schema.RECORD: 0,
    avro_schema.DECIMAL: 17,
}
LARGEST_CHUNK = 2**31 - 1  # bytes: Arrow's offsets are 32 bits wide


def encode(batch: pa.RecordBatch, schema: AvroSchema, schema_id: int) -> pa.BinaryArray:
    """Every row as one Confluent-framed Avro value.

    Arrow's buffers are read where they lie, and the result's are what the loop wrote. A column of another type than the
    schema's (float for double, dictionaries, fixed-size lists) is cast before, which copies it.

    Args:
        batch: its columns are matched by name, exactly or else in case alone. A nullable field without a column is
            null. For a bare schema one column, whatever its name.
        schema: writer's schema; text or what JSON text holds.
        schema_id: what the registry calls it.

    Raises:
        DataError: MISSING_FIELD, UNKNOWN_COLUMN, NULL_FIELD, WRONG_TYPE, BAD_ENUM, BAD_DECIMAL or TOO_LARGE, with
            the column and, where it is one, the row.
    """
    text = schema if isinstance(schema, str) else json.dumps(schema)
    root, table = _prepared(text)
    return _Writing(batch, root, table).write(schema_id)


def encode_one(row: Mapping[str, Any], schema: str, schema_id: int) -> pa.BinaryArray:
    """One record as a Confluent-framed Avro value: for a row of nested lists, of which columns would take ten times as long.

    Args:
        row: a value for each field, as fastavro takes them.
        schema: text of the writer's schema.
    """
    written = io.BytesIO()
    written.write(struct.pack(">bI", 0, schema_id))
    fastavro.schemaless_writer(written, _parsed(schema), row)
    return pa.array([written.getvalue()], pa.binary())


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))


@lru_cache(maxsize=256)
def _prepared(text: str) -> tuple[Node, Table]:
    root = avro_schema.parse(text)
    return root, avro_schema.table(root)


class _Writing:
    """One batch on its way to bytes: its columns as Arrow buffers that the loop can read."""

    def __init__(self, batch: pa.RecordBatch, root: Node, table: Table) -> None:
        self.table = table
        self.ops = table.ops.copy()
        self.n = batch.num_rows
        self.cols: list[tuple[int, int, int, int]] = []
        self.kept: list[pa.Array] = []  # the loop sees addresses only, so these must live
        self.bound = 5 * self.n
        row = 0
        for node, column in _top(batch, root):
            row = self._add(row, node, column)

    def write(self, schema_id: int) -> pa.BinaryArray:
        if self.bound > 4 * LARGEST_CHUNK:
            raise _too_large()
        out = np.empty(self.bound, np.uint8)
        offsets = np.empty(self.n + 1, np.int64)
        cols = np.array(self.cols, np.int64).reshape(-1, 4)
        announce_compilation()
        failed = avro_numba.encode(self.n, schema_id, self.ops, cols, out.ctypes.data, offsets)
        if failed:
            raise self._failure(failed, offsets)
        total = int(offsets[-1])
        if total > LARGEST_CHUNK:
            raise _too_large()
        if total < self.bound // 2:
            out = out[:total].copy()  # so that a small result does not hold much memory
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(out)]
        return pa.Array.from_buffers(pa.binary(), self.n, buffers, 0)

    def _failure(self, failed: int, offsets: npt.NDArray[np.int64]) -> DataError:
        row = int(np.argmax(offsets == -1)) - 1
        place = -failed >> 8
        code, name = CODES[-failed & 255], self.table.names[place]
        why = "null, and the schema allows none" if code == "NULL_FIELD" else "out of its range"
        return DataError(code, f"row {row} cannot be written: column {name} is {why}")

    def _add(self, row: int, node: Node, column: pa.Array) -> int:
        """Prepare a column for table row ``row``; returns the row after it."""
        after = int(self.ops[row, avro_schema.NEXT])
        name = self.table.names[row]
        self.ops[row, avro_schema.DEST] = len(self.cols)
        if avro_schema.is_vector(node):
            self._add_vector(row, node, column)
            return after
        if node.kind in PIECES:
            column = self._encoded_pieces(name, node, column)
        else:
            column = _fit(name, node, column)
        self.kept.append(column)
        self.cols.append(_addresses(node, column))
        self.bound += self.n * (WIDEST.get(node.kind, node.size) + (node.union != 0))
        if node.kind in (*PIECES, *TEXTS):
            self.bound += column.nbytes
        if node.kind == avro_schema.RECORD:
            inner = row + 1
            names = [column.type.field(i).name for i in range(column.type.num_fields)]
            inside = pa.RecordBatch.from_arrays(column.flatten(), names=names)
            for child, values in _matched(inside, node.children):
                inner = self._add(inner, child, values)
        return after

    def _add_vector(self, row: int, node: Node, column: pa.Array) -> None:
        """A column of lists of plain numbers, and the numbers as a column behind it."""
        self.ops[row, avro_schema.RUN] = 1
        column = _fit(self.table.names[row], node, column)
        ends = column.offsets
        items = ends[-1].as_py() - ends[0].as_py() if self.n else 0
        for place, (one, values) in enumerate(
            ((node, column), (node.children[0], column.values)), row
        ):
            self.ops[place, avro_schema.DEST] = len(self.cols)
            self.kept.append(values)
            self.cols.append(_addresses(one, values))
        # A union's byte, the count and the end; a union's byte and the number.
        self.bound += 8 * self.n + (WIDEST[node.children[0].kind] + 1) * items

    def _encoded_pieces(self, name: str, node: Node, column: pa.Array) -> pa.Array:
        """A column of arrays, maps or unions as Avro bytes, written one by one by fastavro."""
        _say_once(name, node)
        schema = fastavro.parse_schema(avro_schema.plain_schema(node))
        try:
            values = _plain(node, column).to_pylist(maps_as_pydicts="strict")
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise _wrong_type(name, node, column.type) from error
        null_fits = node.union or any(one.kind == avro_schema.NULL for one in node.children)
        pieces: list[bytes | None] = []
        for row, value in enumerate(values):
            if value is None and not null_fits:  # the loop knows whether it matters
                pieces.append(None)
                continue
            into = io.BytesIO()
            try:
                fastavro.schemaless_writer(into, schema, value)
            except Exception as error:  # fastavro raises what its Python or C code happens to
                raise DataError(
                    "WRONG_TYPE",
                    f"row {row} cannot be written: column {name} does not fit {node.word}",
                ) from error
            pieces.append(into.getvalue())
        return pa.array(pieces, pa.binary())


@lru_cache(maxsize=1024)
def _say_once(name: str, node: Node) -> None:
    log.info("column %s (%s) is written value by value", name, node.word)


def _too_large() -> DataError:
    return DataError("TOO_LARGE", "the batch's Avro is over 2 GiB; encode fewer rows at a time")


def _wrong_type(name: str, node: Node, kind: pa.DataType) -> DataError:
    return DataError("WRONG_TYPE", f"column {name} is {kind} and cannot be written as {node.word}")


def _top(batch: pa.RecordBatch, root: Node) -> list[tuple[Node, pa.Array]]:
    """The schema's columns with the batch's; for a bare schema the batch's only column."""
    nodes = avro_schema.columns_of(root)
    if nodes is not root.children and batch.num_columns == 1:
        return [(nodes[0], batch.column(0))]
    return _matched(batch, nodes)


def _matched(batch: pa.RecordBatch, nodes: Sequence[Node]) -> list[tuple[Node, pa.Array]]:
    """Each of the schema's columns with the batch's column of that name."""
    names = batch.schema.names
    exact: dict[str, list[int]] = {}
    folded: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        exact.setdefault(name, []).append(i)
        folded.setdefault(name.casefold(), []).append(i)
    left = dict.fromkeys(range(len(names)))
    found = []
    for node in nodes:
        near = exact.get(node.name) or folded.get(node.name.casefold(), [])
        if len(near) == 1:
            left.pop(near[0], None)
            found.append((node, batch.column(near[0])))
        elif not near and node.nullable:
            kind = avro_schema.arrow_type(node)
            found.append((node, pa.nulls(batch.num_rows, kind)))
        else:
            why = "has several of that name" if near else f"has only {', '.join(names)}"
            raise DataError("MISSING_FIELD", f"the schema's column {node.name}: the batch {why}")
    if left:
        extra = ", ".join(names[i] for i in left)
        raise DataError("UNKNOWN_COLUMN", f"the Avro schema has no column {extra}")
    return found


def _fit(name: str, node: Node, column: pa.Array) -> pa.Array:
    """The column in the Arrow type that the loop reads for this kind; text and numbers are never taken for each other."""
    kind = avro_schema.arrow_type(node)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.int32() if node.kind == avro_schema.ENUM else kind)
    if not _alike(column.type, kind):
        raise _wrong_type(name, node, column.type)
    try:
        if node.kind == avro_schema.ENUM:
            return _symbol_numbers(name, node, column)
        if node.kind == avro_schema.RECORD or column.type == kind:
            return column
        if pa.types.is_timestamp(column.type) and column.type.tz:
            column = column.view(pa.timestamp(column.type.unit))  # the same instants
        return column.cast(kind)
    except pa.ArrowException as error:
        raise _wrong_type(name, node, column.type) from error


def _family(kind: pa.DataType) -> str:
    """What a type may be cast within."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    for word in ("boolean", "struct", "timestamp", "date", "time", "null"):
        if getattr(pa.types, f"is_{word}")(kind):
            return word
    if any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string)):
        return "text"
    if pa.types.is_decimal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "bytes" if "binary" in str(kind) else str(kind)


def _alike(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast would change no value's nature, inside lists and maps too; records are matched by name later."""
    if pa.types.is_null(given):
        return True
    for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list):
        if test(given):
            return pa.types.is_list(wanted) and _alike(given.value_type, wanted.value_type)
    if pa.types.is_map(given):
        return pa.types.is_map(wanted) and _alike(given.item_type, wanted.item_type)
    return _family(given) == _family(wanted)


def _addresses(node: Node, column: pa.Array) -> tuple[int, int, int, int]:
    """Values or offsets, validity, offset into both, bytes: as the loop wants them."""
    buffers = column.buffers()
    valid = address(buffers[0]) if column.null_count and buffers[0] is not None else 0
    if node.kind in (avro_schema.RECORD, avro_schema.NULL):
        return 0, valid, column.offset, 0
    data = address(buffers[2]) if len(buffers) > 2 else 0
    return address(buffers[1]), valid, column.offset, data


def _plain(node: Node, column: pa.Array) -> pa.Array:
    """A column whose dates and times, however deep inside, are the integers that Avro writes."""
    if not _has_union(node):
        kind = avro_schema.arrow_type(node)
        if not _alike(column.type, kind):
            raise ValueError(f"{column.type} is not like {kind}")
        column = column.cast(kind)
    return column.cast(plain_type(column.type))


def _has_union(node: Node) -> bool:
    return node.kind == avro_schema.UNION or any(map(_has_union, node.children))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type with integers for dates and times, however deep inside."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, plain_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, plain_type(one.type)) for one in kind])
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    return pa.int64() if pa.types.is_temporal(kind) else kind


def _symbol_numbers(name: str, node: Node, column: pa.Array) -> pa.Array:
    """The position of each text among an enum's symbols."""
    text = column.cast(pa.string())
    found = pc.index_in(text, pa.array(node.symbols, pa.string()))
    strange = pc.and_(text.is_valid(), found.is_null())
    if pc.any(strange).as_py():
        row = pc.index(strange, True).as_py()
        raise DataError(
            "BAD_ENUM", f"row {row} cannot be written: column {name} is no symbol of its enum"
        )
    return found.cast(pa.int32())
