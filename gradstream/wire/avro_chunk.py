"""A chunk of Confluent-framed values on its way through the decoder, and the writers' schemas it names.

Each value has a code and, for messages, the place in its schema at which it went wrong; a message never holds a value.
"""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import DataError
from gradstream.wire import avro_numba, avro_schema
from gradstream.wire.avro_resolve import Constant, Resolution
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
        constants: (column, number) of those that the writer lacks and the reader's schema has a default for.
        code, reason: what is wrong for every record of the schema.
    """

    ops: npt.NDArray[np.int64]
    copies: tuple[tuple[int, int], ...] = ()
    texts: int = 0
    constants: tuple[tuple[int, float], ...] = ()
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
    resolution: Resolution | None = None
    selections: dict[tuple[str, ...], Selection] = field(default_factory=dict)
    readers: dict[int, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: Registry, schema_id: int, reader: Node | None = None) -> Writer:
        """As the registry has it, to be read as the reader's schema says; raises UnknownSchema."""
        schema = registry.schema(schema_id)
        if schema.type != "AVRO":
            return cls(
                schema_id, NUMBER["WRONG_SCHEMA_TYPE"], f"its type is {schema.type}, not AVRO"
            )
        return cls.from_text(schema_id, schema.text, schema.references, reader)

    @classmethod
    def from_text(
        cls,
        schema_id: int,
        text: str,
        references: Sequence[str] = (),
        reader: Node | None = None,
    ) -> Writer:
        resolution = None
        try:
            root = avro_schema.parse(text, references)
            if reader is not None:
                resolution = Resolution.of(root, reader)
                root = resolution.root
        except DataError as error:
            code = NUMBER.get(error.code, NUMBER["WRONG_SCHEMA_TYPE"])
            return cls(schema_id, code, error.message)
        return cls(schema_id, root=root, table=avro_schema.table(root), resolution=resolution)

    def selection(self, names: tuple[str, ...]) -> Selection:
        """The table for a matrix of these columns, kept for the next chunk."""
        if (found := self.selections.get(names)) is None:
            assert self.table is not None
            constants = self.resolution.constants if self.resolution else {}
            found = self.selections[names] = _Selecting(self.table, constants).of(names)
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


class _Selecting:
    """Finds wanted columns in a table and says where each goes."""

    def __init__(self, table: Table, constants: Mapping[str, Constant]) -> None:
        self.table, self.ops = table, table.ops.copy()
        self.known: dict[str, int | Constant] = dict(constants)
        self.known |= {table.names[row]: row for row in reversed(_columns_inside(table))}
        self.folded: dict[str, list[str]] = {}
        for name in self.known:
            self.folded.setdefault(name.casefold(), []).append(name)
        self.copies: list[tuple[int, int]] = []
        self.constants: list[tuple[int, float]] = []
        self.texts = 0

    def of(self, names: tuple[str, ...]) -> Selection:
        dest = 0
        for column in names:
            name, size = vector(column)
            try:
                found = self._find(name)
                if isinstance(found, Constant):
                    self._add_constant(name, found, size, dest)
                else:
                    self._add(name, found, size, dest)
            except DataError as error:
                return Selection(self.ops, code=NUMBER[error.code], reason=error.message)
            dest += abs(size)
        self._mark_records()
        avro_schema.mark_runs(self.ops)
        constants = tuple(self.constants)
        return Selection(self.ops, tuple(self.copies), self.texts, constants)

    def _find(self, name: str) -> int | Constant:
        near = self.folded.get(name.casefold(), [])
        if name in self.known:
            return self.known[name]
        if len(near) == 1:
            return self.known[near[0]]
        why = "two columns differ from it in case alone" if near else "it has no such column"
        raise DataError("MISSING_FIELD", f"column {name} is missing: {why}")

    def _add(self, name: str, row: int, size: int, dest: int) -> None:
        if why := _unfit(self.table.nodes[row], size):
            raise DataError("WRONG_TYPE", f"column {name} is {why}")
        if (first := int(self.ops[row, avro_schema.DEST])) >= 0:
            if size >= 0 and self.ops[row, avro_schema.SIZE] != size:
                raise DataError("WRONG_DIMENSION", f"column {name} is wanted with two lengths")
            self.copies += [(first + place, dest + place) for place in range(abs(size))]
            return
        self.ops[row, avro_schema.DEST] = dest
        if size >= 0:
            self.ops[row, avro_schema.SIZE] = size
        self.texts += self.table.nodes[row].kind == avro_schema.STRING

    def _add_constant(self, name: str, constant: Constant, size: int, dest: int) -> None:
        if why := _unfit(constant.node, size):
            raise DataError("WRONG_TYPE", f"column {name} is {why}")
        values = constant.value if size >= 0 else [constant.value]
        if values is None or None in values:
            raise DataError("NULL_FIELD", f"column {name} is missing, and its default is null")
        if size >= 0 and len(values) != size:
            raise DataError(
                "WRONG_DIMENSION", f"column {name} is missing, and its default is shorter or longer"
            )
        try:
            numbers = [float(value) for value in values]
        except ValueError as error:
            raise DataError("WRONG_TYPE", f"the default of column {name} is no number") from error
        if not np.isfinite(numbers).all():
            raise DataError("NON_FINITE", f"the default of column {name} is not finite")
        self.constants += enumerate(numbers, dest)
        if constant.holder:  # where that record is null, its field is, too
            self.ops[self.table.names.index(constant.holder), avro_schema.DEST] = 0

    def _mark_records(self) -> None:
        """A nested record that is null leaves wanted fields without a number: those records are wanted, too."""
        ops = self.ops
        for row in range(len(ops) - 1, -1, -1):
            if ops[row, avro_schema.KIND] == avro_schema.RECORD:
                inside = ops[row : ops[row, avro_schema.NEXT], avro_schema.DEST]
                ops[row, avro_schema.DEST] = 0 if (inside >= 0).any() else -1


def _unfit(node: Node, size: int) -> str:
    """Why a column cannot be numbers of a matrix, one of them (size -1) or several; empty if it can."""
    if size >= 0:
        return "" if avro_schema.is_vector(node) else f"{node.word}, not an array of numbers"
    if node.kind == avro_schema.ARRAY:
        return "array, of which a length is to be given, such as NAME[0:10]"
    if node.kind == avro_schema.UNION:
        kinds = {one.kind for one in node.children} - {avro_schema.NULL}
        plain = kinds and kinds <= avro_schema.PLAIN_NUMBERS and node.target is None
        return "" if plain else "union, not of numbers alone"
    able = node.kind in avro_schema.NUMBERS or node.kind == avro_schema.STRING
    return "" if able else f"{node.word}, not a number"


def _columns_inside(table: Table) -> list[int]:
    """Rows of the columns that are no records, those of nested records included, those of arrays and so on not."""
    found, row = [], 0
    while row < len(table.ops):
        surplus = table.nodes[row].surplus
        if table.ops[row, avro_schema.KIND] == avro_schema.RECORD and not surplus:
            row += 1
        else:
            if not surplus:
                found.append(row)
            row = int(table.ops[row, avro_schema.NEXT])
    return found
