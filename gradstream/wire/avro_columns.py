"""The rows of a chunk as Arrow columns: memory for the compiled loop to fill, and arrays over that memory."""

from __future__ import annotations

import io
import itertools
import json
import logging
from collections.abc import Collection
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastavro.read import SchemaResolutionError

from gradstream.wire import avro_numba, avro_schema
from gradstream.wire.avro_chunk import Chunk, Writer
from gradstream.wire.avro_schema import DECIMALS, PIECES, TEXTS, Node
from gradstream.wire.faults import NUMBER

log = logging.getLogger(__name__)


class Reading:
    """One pass over the rows of one schema: memory for its columns, the loop, and Arrow arrays over that memory."""

    def __init__(
        self, writer: Writer, chunk: Chunk, schema_id: int, only: Collection[str] | None
    ) -> None:
        assert writer.table is not None
        self.writer = writer
        self.table = writer.table
        self.chunk = chunk
        self.schema_id = schema_id
        self.only = only
        self.ops = self.table.ops.copy()
        self.n = len(chunk.ids)
        self.count = 0
        self.rows = np.empty(self.n, np.int64)
        self.bad: dict[int, tuple[int, int]] = {}
        self.memory: dict[int, tuple[npt.NDArray[Any], ...]] = {}

    def read(
        self,
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], dict[int, tuple[int, int]]]:
        """The columns, the positions of their rows, and rows found to be bad on the way with (code, table row)."""
        chunk = self.chunk
        cols = self._allocate()
        self.count = avro_numba.columns(
            self.n,
            chunk.begins,
            chunk.ends,
            self.schema_id,
            chunk.ids,
            self.ops,
            cols,
            self.rows,
            chunk.codes,
            chunk.where,
        )
        self.rows = self.rows[: self.count]
        fields, arrays = [], []
        for row in self._tops():
            array = self._array(row)
            fields.append(pa.field(self.table.nodes[row].name, array.type))
            arrays.append(array)
        if self.bad:
            return pa.RecordBatch.from_arrays([], schema=pa.schema([])), self.rows, self.bad
        batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        return batch, self.rows, self.bad

    def _tops(self) -> list[int]:
        """Table rows of the wanted top-level columns."""
        found, row = [], 0
        while row < len(self.ops):
            node = self.table.nodes[row]
            if not node.surplus and (self.only is None or node.name in self.only):
                found.append(row)
            row = int(self.ops[row, avro_schema.NEXT])
        return found

    def _allocate(self) -> npt.NDArray[np.int64]:
        """Memory for every wanted column; its addresses, shape (columns, 3)."""
        cols: list[tuple[int, int, int]] = []
        for top in self._tops():
            row, end = top, int(self.ops[top, avro_schema.NEXT])
            while row < end:
                node = self.table.nodes[row]
                if node.surplus:
                    row = int(self.ops[row, avro_schema.NEXT])
                    continue
                arrays = self._memory_of(node)
                self.memory[row] = arrays
                self.ops[row, avro_schema.DEST] = len(cols)
                cols.append(tuple(array.ctypes.data if array.size else 0 for array in arrays))  # type: ignore[arg-type]
                inner = node.kind == avro_schema.RECORD
                row = row + 1 if inner else int(self.ops[row, avro_schema.NEXT])
        return np.array(cols, np.int64).reshape(-1, 3)

    def _memory_of(self, node: Node) -> tuple[npt.NDArray[Any], ...]:
        """(values or offsets, validity, starts) of one column."""
        n = self.n
        none = np.empty(0, np.uint8)
        piece = node.kind in PIECES
        valid = np.empty(n, np.uint8) if node.union and not piece else none
        if piece or node.kind in TEXTS:
            return np.zeros(n + 1, np.int32), valid, np.empty(n, np.int64)
        width = 16 if node.kind in DECIMALS else node.size
        match node.kind:
            case avro_schema.RECORD | avro_schema.NULL:
                return none, valid, none
            case avro_schema.BOOLEAN:
                return np.zeros(n, np.uint8), valid, none
            case avro_schema.INT | avro_schema.ENUM | avro_schema.FLOAT:
                return np.zeros(n, np.int32), valid, none
            case avro_schema.LONG | avro_schema.DOUBLE:
                return np.zeros(n, np.int64), valid, none
        return np.zeros(n * width, np.uint8), valid, none

    def _array(self, row: int) -> pa.Array:
        """The Arrow array of one column."""
        node = self.table.nodes[row]
        values, valid, starts = self.memory[row]
        k = self.count
        bits, nulls = _bits(valid[:k])
        kind = avro_schema.arrow_type(node)
        if avro_schema.is_vector(node):
            return self._lists(row, node)
        if node.kind in PIECES:
            return self._pieces(row, node, self._gathered(values, starts))
        if node.kind in TEXTS:
            buffers = [bits, pa.py_buffer(values), pa.py_buffer(self._gathered(values, starts)[1])]
            return pa.Array.from_buffers(kind, k, buffers, nulls)
        if node.kind == avro_schema.RECORD:
            inner = self._children(row)
            return pa.Array.from_buffers(kind, k, [bits], nulls, children=inner)
        if node.kind == avro_schema.NULL:
            return pa.nulls(k)
        if node.kind == avro_schema.BOOLEAN:
            buffers = [bits, pa.py_buffer(np.packbits(values[:k], bitorder="little"))]
            return pa.Array.from_buffers(kind, k, buffers, nulls)
        if node.kind == avro_schema.ENUM:
            index = pa.Array.from_buffers(pa.int32(), k, [bits, pa.py_buffer(values)], nulls)
            return pa.array(node.symbols, pa.string()).take(index)
        return pa.Array.from_buffers(kind, k, [bits, pa.py_buffer(values)], nulls)

    def _children(self, row: int) -> list[pa.Array]:
        inner, arrays = row + 1, []
        while inner < self.ops[row, avro_schema.NEXT]:
            if not self.table.nodes[inner].surplus:
                arrays.append(self._array(inner))
            inner = int(self.ops[inner, avro_schema.NEXT])
        return arrays

    def _gathered(
        self, offsets: npt.NDArray[np.int32], starts: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """The pieces of a column of varying length, one after the other."""
        total = int(offsets[self.count])
        out = np.empty(total, np.uint8)
        avro_numba.gather(self.count, offsets.ctypes.data, starts.ctypes.data, out.ctypes.data)
        return offsets, out

    def _lists(self, row: int, node: Node) -> pa.Array:
        """A column of arrays of plain numbers."""
        offsets, _, starts = self.memory[row]
        item = node.children[0]
        width = 8 if item.kind in (avro_schema.LONG, avro_schema.DOUBLE) else 4
        # What is not filled never becomes memory: pages are the system's until they are written to.
        most = int(offsets[self.count]) // avro_schema.least_size(item) + 1
        items, there = np.empty(most * width, np.uint8), np.empty(most, np.uint8)
        ends, valid = np.empty(self.count + 1, np.int32), np.empty(self.count, np.uint8)
        total = avro_numba.lists(
            self.count,
            offsets.ctypes.data,
            starts.ctypes.data,
            self.ops,
            row,
            ends.ctypes.data,
            valid.ctypes.data,
            items.ctypes.data,
            there.ctypes.data,
        )
        bits, nulls = _bits(there[:total] if item.union else there[:0])
        buffers = [bits, pa.py_buffer(items)]
        kind = avro_schema.arrow_type(node)
        inner = pa.Array.from_buffers(kind.value_type, total, buffers, nulls)
        bits, nulls = _bits(valid)
        buffers = [bits, pa.py_buffer(ends)]
        return pa.Array.from_buffers(kind, self.count, buffers, nulls, children=[inner])

    def _pieces(
        self, row: int, node: Node, cut: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]
    ) -> pa.Array:
        """A column of arrays, maps or unions, read one by one by fastavro."""
        offsets, data = cut
        schema, wanted = self._piece_schemas(row, node)
        blob, ends = data.tobytes(), offsets[: self.count + 1].tolist()
        found = []
        for place, (begin, end) in enumerate(itertools.pairwise(ends)):
            value = None  # inside a record that is null
            if end > begin:
                try:
                    value = fastavro.schemaless_reader(io.BytesIO(blob[begin:end]), schema, wanted)
                except SchemaResolutionError:
                    self.bad.setdefault(int(self.rows[place]), (NUMBER["WRONG_TYPE"], row))
            found.append(value)
        kind = avro_schema.arrow_type(node.target or node)
        values = for_arrow(found, kind)
        try:
            return pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError):
            return self._one_by_one(row, values, kind)

    def _piece_schemas(self, row: int, node: Node) -> tuple[Any, Any]:
        """The writer's schema of a column for fastavro, and the reader's where it differs."""
        if row not in self.writer.readers:
            target = node.target and fastavro.parse_schema(avro_schema.plain_schema(node.target))
            parsed = fastavro.parse_schema(avro_schema.plain_schema(node))
            self.writer.readers[row] = parsed, target
            log.info(
                "schema %d: column %s (%s) is read value by value",
                self.schema_id,
                self.table.names[row],
                node.word,
            )
        found: tuple[Any, Any] = self.writer.readers[row]
        return found

    def _one_by_one(self, row: int, values: list[Any], kind: pa.DataType) -> pa.Array:
        """When a column as a whole does not fit its type: note the rows that do not."""
        for place, value in enumerate(values):
            try:
                pa.array([value], kind)
            except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError):
                self.bad.setdefault(int(self.rows[place]), (NUMBER["WRONG_TYPE"], row))
        return pa.nulls(len(values), kind)


def _bits(valid: npt.NDArray[np.uint8]) -> tuple[pa.Buffer | None, int]:
    """Bytes of validity as Arrow's bits, none where all are valid, and how many are not."""
    if not (nulls := len(valid) - int(np.count_nonzero(valid))):
        return None, 0
    return pa.py_buffer(np.packbits(valid, bitorder="little")), nulls


def for_arrow(found: list[Any], kind: pa.DataType) -> list[Any]:
    """Values as fastavro gives them, made fit for a column: unions of unlike types become text."""
    if pa.types.is_string(kind):
        return [_as_text(value) for value in found]
    if pa.types.is_floating(kind):
        return [None if value is None else float(value) for value in found]
    if pa.types.is_map(kind):
        return [
            None
            if value is None
            else list(zip(value, for_arrow(list(value.values()), kind.item_type), strict=True))
            for value in found
        ]
    if pa.types.is_list(kind):
        return [None if value is None else for_arrow(value, kind.value_type) for value in found]
    if pa.types.is_struct(kind):
        return [
            None
            if value is None
            else {one.name: for_arrow([value[one.name]], one.type)[0] for one in kind}
            for value in found
        ]
    return found


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=lambda one: one.hex() if isinstance(one, bytes) else str(one))


Part = tuple[int, pa.RecordBatch, npt.NDArray[np.int64]]


def joined(parts: list[Part], chunk: Chunk) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The columns of several schemas as one batch, in the order of the rows."""
    if not parts:
        return pa.RecordBatch.from_arrays([], schema=pa.schema([])), np.empty(0, np.int64)
    if len(parts) == 1:
        return parts[0][1], parts[0][2]
    types: dict[str, pa.DataType] = {}
    for _, batch, _ in parts:  # ascending ids: the highest has the last word
        for one in batch.schema:
            types[one.name] = _wider(types.get(one.name, one.type), one.type)
    arrays = []
    kept = [np.ones(len(rows), bool) for _, _, rows in parts]
    for name, kind in types.items():
        pieces = []
        for (_, batch, rows), good in zip(parts, kept, strict=True):
            piece, fits = _as_type(batch, name, kind, len(rows))
            good &= fits
            pieces.append(piece)
        arrays.append(pa.concat_arrays(pieces))
    for (_, _, rows), good in zip(parts, kept, strict=True):
        chunk.codes[rows[~good]] = NUMBER["WRONG_TYPE"]
        chunk.where[rows[~good]] = 2**31 - 1
    rows = np.concatenate([rows for _, _, rows in parts])
    order = np.argsort(rows, kind="stable")
    order = order[np.concatenate(kept)[order]]
    whole = pa.RecordBatch.from_arrays(arrays, names=list(types))
    return whole.take(pa.array(order)), rows[order]


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds both where numbers widen, else the other, which comes from the higher id."""
    if pa.types.is_null(other) or one == other:
        return one
    numbers = (pa.int32(), pa.int64(), pa.float32(), pa.float64())
    if one in numbers and other in numbers:
        if pa.types.is_integer(one) and pa.types.is_integer(other):
            return pa.int64()
        return pa.float64()
    return other


def _as_type(
    batch: pa.RecordBatch, name: str, kind: pa.DataType, n: int
) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """A column of that type, and which of its rows could be brought to it."""
    if name not in batch.schema.names:
        return pa.nulls(n, kind), np.ones(n, bool)
    column = batch.column(name)
    if column.type == kind:
        return column, np.ones(n, bool)
    try:
        # Integers beyond 2**53 are rounded when they widen to double, as everywhere.
        return column.cast(kind, safe=not pa.types.is_floating(kind)), np.ones(n, bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(n, kind), np.asarray(column.is_null())
