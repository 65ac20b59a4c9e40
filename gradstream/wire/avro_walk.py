"""One Avro record field by field, as far as it can be read: for people who look at one that cannot be.

The codec judges a record as a whole; here what stands before the fault is shown, and where the fault is. A record's
bytes are hostile, so nothing is believed: each length and count is held against the bytes that are left.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gradstream.wire import avro_schema
from gradstream.wire.avro_schema import NULL_FIRST, PLAIN, Node

FRAME = 5  # magic byte and schema id in front of the record
_LONGEST = 10  # bytes of a long


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record, one of a nested record as ``OUTER.INNER``.

    Attributes:
        kind: what its type is called.
        begin, end: where its bytes are in the value, the frame included.
        value: what they mean; None for null.
        fault: why they cannot be read; nothing after this field can be, either.
    """

    name: str
    kind: str
    begin: int
    end: int
    value: object = None
    fault: str = ""


class _Broken(Exception):  # noqa: N818  named for what happened
    """The bytes are not of that type."""


@dataclass(slots=True)
class _Cursor:
    data: bytes
    at: int

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            left = len(self.data) - self.at
            raise _Broken(f"it asks for {size} bytes, and {left} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def long(self) -> int:
        number = 0
        for place in range(_LONGEST):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
        raise _Broken(f"a number has more than {_LONGEST} bytes")


def walk(schema: Node, value: bytes) -> Iterator[Field]:
    """The fields of a framed value in their order, up to and with the first that cannot be read; then, as a field
    without a name, the bytes that are left over.

    Args:
        schema: the writer's, parsed.
    """
    cursor = _Cursor(value, FRAME)
    for name, node in _leaves(schema):
        begin = cursor.at
        try:
            read = _read(node, cursor)
        except _Broken as broken:
            yield Field(name, node.word, begin, len(value), fault=str(broken))
            return
        yield Field(name, node.word, begin, cursor.at, read)
    if cursor.at < len(value):
        left = len(value) - cursor.at
        yield Field("", "", cursor.at, len(value), fault=f"{left} bytes after the last field")


def _leaves(node: Node, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Fields that are read one after another; a nullable record is one of them, since it may be absent."""
    if node.kind != avro_schema.RECORD or node.union != PLAIN:
        yield prefix or avro_schema.BARE, node
        return
    for child in node.children:
        yield from _leaves(child, f"{prefix}.{child.name}" if prefix else child.name)


def _read(node: Node, cursor: _Cursor) -> Any:
    if node.union != PLAIN:
        branch = cursor.long()
        if branch not in (0, 1):
            raise _Broken(f"branch {branch} of a union of two")
        if (branch == 0) == (node.union == NULL_FIRST):
            return None
    return _READERS[node.kind](node, cursor)


def _boolean(node: Node, cursor: _Cursor) -> bool:
    if (byte := cursor.take(1)[0]) > 1:
        raise _Broken(f"{byte:#04x} is neither true nor false")
    return bool(byte)


def _float(node: Node, cursor: _Cursor) -> float:
    return float(struct.unpack("<f", cursor.take(4))[0])


def _double(node: Node, cursor: _Cursor) -> float:
    return float(struct.unpack("<d", cursor.take(8))[0])


def _string(node: Node, cursor: _Cursor) -> str:
    raw = cursor.take(cursor.long())
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _Broken(f"byte {error.start} of its text is not UTF-8") from None


def _enum(node: Node, cursor: _Cursor) -> str:
    number = cursor.long()
    if not 0 <= number < len(node.symbols):
        raise _Broken(f"symbol {number} of {len(node.symbols)}")
    return node.symbols[number]


def _record(node: Node, cursor: _Cursor) -> dict[str, Any]:
    return {child.name: _read(child, cursor) for child in node.children}


def _items(cursor: _Cursor) -> Iterator[None]:
    """Once for each item of an array or map; each takes a byte at least, which the schema has been checked for."""
    while count := cursor.long():
        if count < 0:
            count = -count
            cursor.long()  # bytes of the block, of no use here
        if count > len(cursor.data) - cursor.at:
            raise _Broken(
                f"it claims {count} items, and {len(cursor.data) - cursor.at} bytes are left"
            )
        for _ in range(count):
            yield


def _array(node: Node, cursor: _Cursor) -> list[Any]:
    return [_read(node.children[0], cursor) for _ in _items(cursor)]


def _map(node: Node, cursor: _Cursor) -> dict[str, Any]:
    return {_string(node, cursor): _read(node.children[0], cursor) for _ in _items(cursor)}


def _union(node: Node, cursor: _Cursor) -> Any:
    branch = cursor.long()
    if not 0 <= branch < len(node.children):
        raise _Broken(f"branch {branch} of a union of {len(node.children)}")
    return _read(node.children[branch], cursor)


_READERS: dict[int, Callable[[Node, _Cursor], Any]] = {
    avro_schema.NULL: lambda node, cursor: None,
    avro_schema.BOOLEAN: _boolean,
    avro_schema.INT: lambda node, cursor: cursor.long(),
    avro_schema.LONG: lambda node, cursor: cursor.long(),
    avro_schema.FLOAT: _float,
    avro_schema.DOUBLE: _double,
    avro_schema.STRING: _string,
    avro_schema.BYTES: lambda node, cursor: cursor.take(cursor.long()),
    avro_schema.ENUM: _enum,
    avro_schema.FIXED: lambda node, cursor: cursor.take(node.size),
    avro_schema.RECORD: _record,
    avro_schema.ARRAY: _array,
    avro_schema.MAP: _map,
    avro_schema.UNION: _union,
    avro_schema.DECIMAL: lambda node, cursor: cursor.take(cursor.long()),
    avro_schema.DECIMAL_FIXED: lambda node, cursor: cursor.take(node.size),
}
