"""Columns as they were written, brought to the types of a reader's schema; what is the same already is not copied."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.wire import avro_schema as avro
from gradstream.wire.avro_chunk import Chunk, Writer
from gradstream.wire.avro_columns import for_arrow
from gradstream.wire.avro_encode import plain_type
from gradstream.wire.avro_resolve import bare, chosen, default_value, null_fits
from gradstream.wire.avro_schema import Node
from gradstream.wire.faults import NUMBER, OK

Rows = npt.NDArray[np.int64]


def promoted(
    writer: Writer, batch: pa.RecordBatch, rows: Rows, chunk: Chunk, only: Collection[str] | None
) -> tuple[pa.RecordBatch, Rows]:
    """The columns of the reader's schema and the positions of their rows; a code for each that has no place in it."""
    if writer.resolution is None:
        return batch, rows
    assert writer.table is not None
    codes = np.zeros(len(rows), np.uint8)
    written = {node.name: node for node in avro.columns_of(writer.resolution.root)}
    fields, arrays = [], []
    for node in avro.columns_of(writer.resolution.reader):
        if only is not None and node.name not in only:
            continue
        source = written.get(node.name)
        if source is None or source.surplus:
            array = constant(node, len(rows))
        else:
            before = codes.copy()
            array = _Column(codes).of(batch.column(node.name), source, node)
            wrong = rows[(codes != OK) & (before == OK)]
            chunk.where[wrong] = writer.table.names.index(node.name)
        fields.append(pa.field(node.name, array.type))
        arrays.append(array)
    whole = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    if codes.any():
        chunk.codes[rows] = codes
        good = codes == OK
        whole, rows = whole.filter(pa.array(good)), rows[good]
    return whole, rows


def constant(node: Node, n: int) -> pa.Array:
    """A field's default as a column."""
    kind = avro.arrow_type(node)
    value = for_arrow([default_value(node, node.default[0], node.name)], kind)[0]
    one = pa.array([value], plain_type(kind)).cast(kind)
    return one.take(pa.array(np.zeros(n, np.int64)))


class _Column:
    """One column on its way.

    Attributes:
        codes: uint8, of the batch's rows, written.
        rows: the row that each element belongs to. alive: whether all that it lies in is there.
    """

    def __init__(
        self, codes: npt.NDArray[np.uint8], rows: Rows | None = None, alive: Any = None
    ) -> None:
        self.codes = codes
        self.rows = np.arange(len(codes)) if rows is None else rows
        self.alive = np.ones(len(self.rows), bool) if alive is None else alive

    def _fault(self, which: npt.NDArray[np.bool_], code: str) -> None:
        found = self.rows[which & self.alive]
        self.codes[found[self.codes[found] == OK]] = NUMBER[code]

    def of(self, array: pa.Array, writer: Node, reader: Node) -> pa.Array:
        """The column of the writer's type as the reader's."""
        if array.null_count and not null_fits(reader):
            self._fault(_nulls(array), "NULL_FIELD")
        if bare(writer) == bare(reader) or writer.target is not None:
            return array
        kind = avro.arrow_type(reader)
        if writer.kind == avro.NULL:
            return pa.nulls(len(array), kind)
        match reader.kind:
            case avro.UNION:
                return self._union(array, writer, reader, kind)
            case avro.RECORD:
                return self._record(array, writer, reader, kind)
            case avro.ARRAY | avro.MAP:
                return self._many(array, writer, reader, kind)
            case avro.ENUM:
                return self._symbols(array, reader)
        return array if array.type == kind else array.cast(kind, safe=False)

    def _record(self, array: pa.Array, writer: Node, reader: Node, kind: pa.DataType) -> pa.Array:
        written = {node.name: node for node in writer.children if not node.surplus}
        inside = _Column(self.codes, self.rows, self.alive & ~_nulls(array))
        children = [
            inside.of(array.field(node.name), written[node.name], node)
            if node.name in written
            else constant(node, len(array))
            for node in reader.children
        ]
        valid = _validity(array)
        return pa.Array.from_buffers(kind, len(array), [valid], array.null_count, children=children)

    def _many(self, array: pa.Array, writer: Node, reader: Node, kind: pa.DataType) -> pa.Array:
        """Lists and maps: their offsets stay, their items are brought along."""
        ends = np.asarray(array.offsets)
        counts = np.diff(ends)
        items = array.values if reader.kind == avro.ARRAY else array.items
        items = items.slice(int(ends[0]), int(ends[-1] - ends[0])) if len(ends) else items
        place = np.repeat(np.arange(len(array)), counts)
        inside = _Column(self.codes, self.rows[place], (self.alive & ~_nulls(array))[place])
        inner = inside.of(items, writer.children[0], reader.children[0])
        valid = _validity(array)
        buffers = [valid, pa.py_buffer((ends - ends[0]).astype(np.int32))]
        if reader.kind == avro.MAP:
            keys = array.keys.slice(int(ends[0]), int(ends[-1] - ends[0]))
            inner = pa.StructArray.from_arrays(
                [keys, inner], fields=[kind.key_field, kind.item_field]
            )
        return pa.Array.from_buffers(kind, len(array), buffers, array.null_count, children=[inner])

    def _symbols(self, array: pa.Array, reader: Node) -> pa.Array:
        """Symbols that the reader's enum lacks become its default."""
        known = pc.is_in(array, pa.array(reader.symbols, pa.string()))
        strange = np.asarray(pc.and_(array.is_valid(), pc.invert(known)))
        if not strange.any():
            return array
        if reader.fallback:
            return pc.if_else(pa.array(strange), pa.scalar(reader.fallback[0]), array)
        self._fault(strange, "BAD_ENUM")
        return array

    def _union(self, array: pa.Array, writer: Node, reader: Node, kind: pa.DataType) -> pa.Array:
        """One type as one of several."""
        branch = chosen(writer, reader)
        assert branch is not None
        array = _Column(self.codes, self.rows, self.alive & ~_nulls(array)).of(
            array, writer, branch
        )
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            return array.cast(kind, safe=False)
        return pa.array(for_arrow(array.to_pylist(), kind), kind)


def _validity(array: pa.Array) -> pa.Buffer | None:
    """Bits from an array's own start, wherever in its buffers it lies."""
    if not array.null_count:
        return None
    return pa.py_buffer(np.packbits(~_nulls(array), bitorder="little"))


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(array.is_null())
