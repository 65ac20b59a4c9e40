"""A writer's schema as a reader's schema wants it read, by Avro's rules of resolution.

What comes out is a tree in the writer's order, since that is how the bytes lie, in which fields have the reader's names
and each type is that of the reader as far as its bytes allow: text for bytes, a timestamp for a long. Numbers that
widen, symbols and nulls are left to avro_promote, which brings columns to the reader's types. Names of records, enums
and fixed types are not compared: their shape decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gradstream.errors import DataError
from gradstream.wire import avro_schema as avro
from gradstream.wire.avro_schema import Node

PROMOTIONS = frozenset(
    {
        (avro.INT, avro.LONG),
        (avro.INT, avro.FLOAT),
        (avro.INT, avro.DOUBLE),
        (avro.LONG, avro.FLOAT),
        (avro.LONG, avro.DOUBLE),
        (avro.FLOAT, avro.DOUBLE),
        (avro.STRING, avro.BYTES),
        (avro.BYTES, avro.STRING),
    }
)
STORED = {avro.DECIMAL: avro.BYTES, avro.DECIMAL_FIXED: avro.FIXED}  # as its bytes are written
CALLED = frozenset({avro.RECORD, avro.ENUM, avro.FIXED, avro.DECIMAL_FIXED})


@dataclass(frozen=True, slots=True)
class Constant:
    """A reader's field that the writer lacks.

    Attributes:
        node: the reader's type. value: its default.
        holder: dotted name of the record that it is in, where the writer has that, else empty.
    """

    node: Node
    value: Any
    holder: str


@dataclass(slots=True)
class Resolution:
    """A writer's schema beside the reader's.

    Attributes:
        root: the writer's tree as the reader wants it. reader: the reader's.
        constants: fields without records by their dotted names.
    """

    reader: Node
    root: Node
    constants: dict[str, Constant] = field(default_factory=dict)

    @classmethod
    def of(cls, writer: Node, reader: Node) -> Resolution:
        """Raises DataError: MISSING_FIELD, WRONG_TYPE."""
        made = cls(reader, writer)
        made.root = made._adapted(writer, reader, "")
        return made

    def _adapted(self, writer: Node, reader: Node, place: str) -> Node:
        """The writer's type so that it is read as the reader's."""
        if avro.UNION in (writer.kind, reader.kind):
            return self._union(writer, reader, place)
        if writer.kind == avro.NULL:
            if not reader.nullable:
                raise _unlike(writer, reader, place)
            return writer
        written = STORED.get(writer.kind, writer.kind)
        wanted = STORED.get(reader.kind, reader.kind)
        if written == wanted:
            return self._same(writer, reader, place)
        if (written, wanted) not in PROMOTIONS or reader.kind == avro.DECIMAL:
            raise _unlike(writer, reader, place)
        if wanted in avro.TEXTS:
            return replace(writer, kind=wanted, logical="", precision=0, scale=0)
        return replace(writer, logical="")

    def _same(self, writer: Node, reader: Node, place: str) -> Node:
        """Both are stored alike."""
        match writer.kind:
            case avro.RECORD:
                return self._record(writer, reader, place)
            case avro.ARRAY | avro.MAP:
                # Constants of items are no columns of a matrix: they are forgotten with their own resolution.
                items = Resolution(reader, writer)
                inner = items._adapted(writer.children[0], reader.children[0], f"{place}[]")
                return replace(writer, children=(inner,))
            case avro.ENUM:
                return writer
        if writer.size != reader.size or (
            writer.logical == reader.logical == "decimal" and writer.scale != reader.scale
        ):
            raise _unlike(writer, reader, place)
        return replace(reader, name=writer.name, union=writer.union, default=(), aliases=())

    def _record(self, writer: Node, reader: Node, place: str) -> Node:
        taken: dict[str, Node] = {}
        names = {child.name for child in writer.children}
        for child in reader.children:
            found = [name for name in (child.name, *child.aliases) if name in names - taken.keys()]
            name = f"{place}.{child.name}" if place else child.name
            if found:
                taken[found[0]] = child
            elif not child.default:
                why = f"field {name} is missing, and the reader's schema has no default"
                raise DataError("MISSING_FIELD", why)
            else:
                value = default_value(child, child.default[0], name)
                self._remember(child, value, name, place)
        children = []
        for child in writer.children:
            if (wanted := taken.get(child.name)) is None:
                children.append(replace(child, surplus=True))
                continue
            name = f"{place}.{wanted.name}" if place else wanted.name
            children.append(replace(self._adapted(child, wanted, name), name=wanted.name))
        return replace(writer, children=tuple(children))

    def _remember(self, node: Node, value: Any, name: str, holder: str) -> None:
        if node.kind != avro.RECORD:
            self.constants[name] = Constant(node, value, holder)
            return
        for child in node.children:
            inner = None if value is None else value[child.name]
            self._remember(child, inner, f"{name}.{child.name}", holder)

    def _union(self, writer: Node, reader: Node, place: str) -> Node:
        """One of them may be one of several types."""
        if writer.kind != avro.UNION:
            branch = chosen(writer, reader)
            if branch is None:
                raise _unlike(writer, reader, place)
            return self._adapted(replace(writer, logical=""), branch, place)
        if bare(writer) == bare(reader):
            return replace(writer, name=reader.name)
        if any(node.kind in CALLED for one in (writer, reader) for node in _all(one)):
            raise _unlike(writer, reader, place)
        return replace(writer, target=reader)


def chosen(writer: Node, reader: Node) -> Node | None:
    """The branch of a reader's union that a type is read as: one of the same kind, else the first it can become."""
    if writer.kind == avro.NULL:
        return next((one for one in reader.children if one.kind == avro.NULL), None)
    same = [one for one in reader.children if one.kind == writer.kind]
    wider = [one for one in reader.children if (writer.kind, one.kind) in PROMOTIONS]
    return next(iter(same + wider), None)


def bare(node: Node) -> Node:
    """The type alone, without what its field adds."""
    return replace(node, name="", default=(), aliases=())


def null_fits(node: Node) -> bool:
    """Whether a value may be null."""
    return node.nullable or any(one.kind == avro.NULL for one in node.children)


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)


def _unlike(writer: Node, reader: Node, place: str) -> DataError:
    where = f"field {place}" if place else "the schema"
    return DataError(
        "WRONG_TYPE", f"{where} is {writer.word}, which cannot be read as {reader.word}"
    )


def default_value(node: Node, given: Any, place: str) -> Any:
    """A default of a schema's JSON as Arrow takes it, dates and times as integers.

    Raises:
        DataError: WRONG_TYPE.
    """
    try:
        return _value(node, given)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        why = f"the default of field {place} in the reader's schema is no {node.word}"
        raise DataError("WRONG_TYPE", why) from error


def _value(node: Node, given: Any) -> Any:
    if given is None:
        if not null_fits(node):
            raise ValueError
        return None
    match node.kind:
        case avro.UNION:
            return _value(node.children[0], given)
        case avro.RECORD:
            return {
                one.name: _value(one, given[one.name] if one.name in given else one.default[0])
                for one in node.children
                if one.name in given or one.default or _fail()
            }
        case avro.ARRAY:
            return [_value(node.children[0], one) for one in list(given)]
        case avro.MAP:
            return [(str(key), _value(node.children[0], one)) for key, one in given.items()]
        case avro.BYTES | avro.FIXED:
            return _sized(node, given.encode("latin-1"))
        case avro.DECIMAL | avro.DECIMAL_FIXED:
            number = int.from_bytes(_sized(node, given.encode("latin-1")), "big", signed=True)
            return Decimal(number).scaleb(-node.scale)
    return _simple(node, given)


def _fail() -> bool:
    raise ValueError


def _sized(node: Node, raw: bytes) -> bytes:
    if node.size and len(raw) != node.size:
        raise ValueError
    return raw


def _simple(node: Node, given: Any) -> Any:
    """Numbers, text, symbols and booleans."""
    match node.kind:
        case avro.BOOLEAN if isinstance(given, bool):
            return given
        case avro.STRING if isinstance(given, str):
            return given
        case avro.ENUM if given in node.symbols:
            return given
        case avro.FLOAT | avro.DOUBLE if isinstance(given, int | float) and not isinstance(
            given, bool
        ):
            if math.isfinite(given):
                return float(given)
        case avro.INT | avro.LONG if isinstance(given, int) and not isinstance(given, bool):
            bits = 31 if node.kind == avro.INT else 63
            if -(1 << bits) <= given < 1 << bits:
                return given
    raise ValueError
