"""A chunk of Confluent-framed values on its way through the decoder, and the writers' schemas it names.

Each value has a code and, for messages, the place in its schema at which it went wrong; a message never holds a value.
"""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import DataError
from gradstream.wire import avro_numba, avro_schema
from gradstream.wire.avro_schema import Node, Table
from gradstream.wire.compiled import announce
from gradstream.wire.faults import NUMBER, OK
from gradstream.wire.registry import Registry

log = logging.getLogger(__name__)

Codes = npt.NDArray[np.uint8]
Addresses = npt.NDArray[np.int64]
FRAME_REASONS: dict[str, Callable[[Chunk, int], str]] = {
    "OK": lambda chunk, row: "",
    "TOMBSTONE": lambda chunk, row: "the value is null",
    "EMPTY_VALUE": lambda chunk, row: "the value has no bytes",
    "SHORT_FRAME": lambda chunk, row: (
        f"{chunk.size(row)} bytes; framing and a record take 6 at least"
    ),
    "BAD_MAGIC": lambda chunk, row: (
        f"the first byte is {chunk.first_byte(row):#04x}, not 0x00: "
        + ("looks like JSON" if chunk.first_byte(row) in b'{["' else "not in Confluent's framing")
    ),
}
FIELD_REASONS = {
    "TRUNCATED": "the record ends inside {field}",
    "TRAILING_BYTES": "bytes are left after the last field",
    "NON_FINITE": "{field} is NaN or infinite",
    "OUT_OF_RANGE": "{field} is a number outside its range",
    "BAD_UTF8": "{field} is not UTF-8",
    "BAD_UNION": "{field} names a branch that its union lacks",
    "NULL_FIELD": "{field} is null",
    "WRONG_TYPE": "{field} is no number",
    "WRONG_DIMENSION": "{field} has more or fewer items than are wanted",
    "TOO_MANY_ITEMS": "{field} claims more items than a record can hold",
    "TOO_LARGE": "{field} has a length or number that no record can hold",
    "BAD_ENUM": "{field} is a symbol that its enum lacks",
    "BAD_BOOLEAN": "{field} is neither true nor false",
    "BAD_DECIMAL": "{field} is empty or has too many digits",
}


@dataclass(slots=True)
class Chunk:
    """Framed values, the id in front of each, and what is wrong with each.

    Attributes:
        begins, ends: int64 (n,), addresses: each value's first byte, 0 for null, and the one after its last.
        codes: uint8 (n,); PENDING until somebody has looked at the value.
        ids: int64 (n,), -1 where there is a code or where a kernel has read the record already.
        where: int32 (n,), the table row at which a record went wrong.
        one: whether the values that are good so far have one id; judge() tells.
        owner: what keeps the memory at those addresses alive.
    """

    begins: Addresses
    ends: Addresses
    codes: Codes
    ids: npt.NDArray[np.int64]
    where: npt.NDArray[np.int32]
    one: bool = True
    owner: object = None

    @classmethod
    def of(cls, values: pa.BinaryArray) -> Chunk:
        """The values of an Arrow array."""
        if values.type != pa.binary():
            values = values.cast(pa.binary())
        n = len(values)
        valid, offsets, data = values.buffers()
        validity = address(valid) if values.null_count else 0
        begins, ends = np.empty(n, np.int64), np.empty(n, np.int64)
        avro_numba.spans(
            n,
            address(offsets),
            address(data) or 1,  # 0 would say null
            validity,
            values.offset,
            begins.ctypes.data,
            ends.ctypes.data,
        )
        return cls.at(begins, ends, values)

    @classmethod
    def at(cls, begins: Addresses, ends: Addresses, owner: object = None) -> Chunk:
        """The values at these addresses."""
        n = len(begins)
        codes = np.full(n, avro_numba.PENDING, np.uint8)
        return cls(begins, ends, codes, np.empty(n, np.int64), np.zeros(n, np.int32), owner=owner)

    def judge(self) -> None:
        """Judge the frame of every value that is pending."""
        announce_compilation()
        good = avro_numba.frame(len(self.codes), self.begins, self.ends, self.codes, self.ids)
        self.one = good >= 0

    def schema_ids(self) -> list[int]:
        """Ids of the rows that are still good, ascending."""
        alive = (self.codes == OK) & (self.ids >= 0)
        if self.one:  # all the same: no need to sort
            first = int(np.argmax(alive)) if len(alive) else 0
            return [int(self.ids[first])] if len(alive) and alive[first] else []
        return [int(one) for one in np.unique(self.ids[alive])]

    def condemn(self, schema_id: int, code: int) -> None:
        """The same code for all rows of a schema that are still good."""
        self.codes[(self.ids == schema_id) & (self.codes == OK)] = code

    def size(self, row: int) -> int:
        return int(self.ends[row] - self.begins[row])

    def first_byte(self, row: int) -> int:
        return ctypes.string_at(int(self.begins[row]), 1)[0]


def address(buffer: pa.Buffer | None) -> int:
    return 0 if buffer is None else int(buffer.address)


def announce_compilation() -> None:
    """Say, before the first call, when the loops must be compiled, which happens once per machine."""
    announce(avro_numba.matrix, "Avro codec")


@dataclass(frozen=True, slots=True)
class Selection:
    """Where the wanted columns of a matrix are in one writer's schema.

    Attributes:
        ops: the table with their destinations.
        copies: (from, to) of the matrix's columns that were asked for more than once.
        texts: how many of them are text.
        code, reason: what is wrong for every record of the schema.
    """

    ops: npt.NDArray[np.int64]
    copies: tuple[tuple[int, int], ...] = ()
    texts: int = 0
    code: int = OK
    reason: str = ""


@dataclass(slots=True)
class Writer:
    """One writer's schema, ready to be read: its tree, its table, and the selections made so far."""

    id: int
    code: int = OK
    reason: str = ""
    root: Node = field(default_factory=lambda: Node(avro_schema.NULL))
    table: Table | None = None
    selections: dict[tuple[str, ...], Selection] = field(default_factory=dict)
    readers: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: Registry, schema_id: int) -> Writer:
        """As the registry has it; raises UnknownSchema."""
        schema = registry.schema(schema_id)
        if schema.type != "AVRO":
            return cls(
                schema_id, NUMBER["WRONG_SCHEMA_TYPE"], f"its type is {schema.type}, not AVRO"
            )
        return cls.from_text(schema_id, schema.text, schema.references)

    @classmethod
    def from_text(cls, schema_id: int, text: str, references: Sequence[str] = ()) -> Writer:
        try:
            root = avro_schema.parse(text, references)
        except DataError as error:
            code = NUMBER.get(error.code, NUMBER["WRONG_SCHEMA_TYPE"])
            return cls(schema_id, code, error.message)
        return cls(schema_id, root=root, table=avro_schema.table(root))

    def selection(self, names: tuple[str, ...]) -> Selection:
        """The table for a matrix of these columns, kept for the next chunk."""
        if (found := self.selections.get(names)) is None:
            assert self.table is not None
            found = self.selections[names] = _select(self.root, self.table, names)
        return found

    def describe(self, code: str, row: int) -> str:
        """What went wrong, with the field's name, never its value."""
        assert self.table is not None
        if code == "WRONG_TYPE" and row >= len(self.table.names):
            return "a column's type does not fit that of the other schemas beside it"
        field_ = "the record"
        if row < len(self.table.names):
            field_ = f"field {self.table.names[row]} ({self.table.nodes[row].word})"
        return FIELD_REASONS.get(code, "{field}: " + code).format(field=field_)


VECTOR = re.compile(r"(.+)\[0:([0-9]{1,6})\]\Z", re.DOTALL)
LONGEST_VECTOR = 1 << 16


def vector(column: str) -> tuple[str, int]:
    """A wanted column's name, and how many items an array of that name must have; -1: it is no array.

    Raises:
        DataError: TOO_LARGE.
    """
    if not (found := VECTOR.match(column)):
        return column, -1
    if (size := int(found[2])) > LONGEST_VECTOR:
        raise DataError("TOO_LARGE", f"column {column} asks for over {LONGEST_VECTOR:,} numbers")
    return found[1], size


def _select(root: Node, table: Table, names: tuple[str, ...]) -> Selection:
    """Find the wanted columns in a table and say where each goes."""
    ops = table.ops.copy()
    inside = _columns_inside(table)
    rows = {table.names[row]: row for row in reversed(inside)}
    folded: dict[str, list[int]] = {}
    for row in inside:
        folded.setdefault(table.names[row].casefold(), []).append(row)
    copies, texts, dest = [], 0, 0
    for column in names:
        name, size = vector(column)
        near = folded.get(name.casefold(), [])
        row = rows.get(name, near[0] if len(near) == 1 else -1)
        if row < 0:
            why = "two columns differ from it in case alone" if near else "it has no such column"
            return Selection(
                ops, code=NUMBER["MISSING_FIELD"], reason=f"column {name} is missing: {why}"
            )
        if why := _unfit(table.nodes[row], size):
            return Selection(ops, code=NUMBER["WRONG_TYPE"], reason=f"column {name} is {why}")
        width = max(size, 1) if size else 0
        if (first := int(ops[row, avro_schema.DEST])) >= 0:
            if size >= 0 and ops[row, avro_schema.SIZE] != size:
                why = f"column {name} is wanted with two lengths"
                return Selection(ops, code=NUMBER["WRONG_DIMENSION"], reason=why)
            copies += [(first + place, dest + place) for place in range(width)]
        else:
            ops[row, avro_schema.DEST] = dest
            if size >= 0:
                ops[row, avro_schema.SIZE] = size
            texts += table.nodes[row].kind == avro_schema.STRING
        dest += width
    for row in range(
        len(ops) - 1, -1, -1
    ):  # a nested record that is null leaves wanted fields without a number
        if ops[row, avro_schema.KIND] == avro_schema.RECORD:
            below = ops[row + 1 : ops[row, avro_schema.NEXT], avro_schema.DEST]
            ops[row, avro_schema.DEST] = 0 if (below >= 0).any() else -1
    avro_schema.mark_runs(ops)
    return Selection(ops, tuple(copies), texts)


def _unfit(node: Node, size: int) -> str:
    """Why a column cannot be numbers of a matrix, one of them (size -1) or several; empty if it can."""
    if size >= 0:
        return "" if avro_schema.is_vector(node) else f"{node.word}, not an array of numbers"
    if node.kind == avro_schema.ARRAY:
        return "array, of which a length is to be given, such as NAME[0:10]"
    able = node.kind in avro_schema.NUMBERS or node.kind == avro_schema.STRING
    return "" if able else f"{node.word}, not a number"


def _columns_inside(table: Table) -> list[int]:
    """Rows of the columns that are no records, those of nested records included, those of arrays and so on not."""
    found, row = [], 0
    while row < len(table.ops):
        if table.ops[row, avro_schema.KIND] == avro_schema.RECORD:
            row += 1
        else:
            found.append(row)
            row = int(table.ops[row, avro_schema.NEXT])
    return found
