"""An Avro schema as a tree of plain nodes, and as the table of numbers that the compiled kernels follow.

A schema is refused when reading it could be made to hang or overflow: recursive types, nesting beyond 32 levels,
arrays whose items take no bytes (five bytes would then claim millions of items).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.errors import DataError

AvroSchema: TypeAlias = str | dict[str, Any] | list[Any]

# Kinds, as the kernels know them.
NULL, BOOLEAN, INT, LONG, FLOAT, DOUBLE, STRING, BYTES = range(8)
ENUM, FIXED, RECORD, ARRAY, MAP, UNION, DECIMAL, DECIMAL_FIXED = range(8, 16)
PRIMITIVES = {
    "null": NULL,
    "boolean": BOOLEAN,
    "int": INT,
    "long": LONG,
    "float": FLOAT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
}
NAMED = {"record": RECORD, "error": RECORD, "enum": ENUM, "fixed": FIXED}
WORDS = {number: word for word, number in PRIMITIVES.items()} | {
    ENUM: "enum",
    FIXED: "fixed",
    RECORD: "record",
    ARRAY: "array",
    MAP: "map",
    UNION: "union",
    DECIMAL: "decimal",
    DECIMAL_FIXED: "decimal",
}
NUMBERS = frozenset({INT, LONG, FLOAT, DOUBLE, DECIMAL, DECIMAL_FIXED})
# Of varying shape: all but arrays of plain numbers are read and written by fastavro, piece by piece.
PIECES = frozenset({ARRAY, MAP, UNION})
PLAIN_NUMBERS = frozenset({INT, LONG, FLOAT, DOUBLE})
TEXTS = frozenset({STRING, BYTES})
DECIMALS = frozenset({DECIMAL, DECIMAL_FIXED})
LOGICAL: dict[tuple[int, str], pa.DataType] = {
    (INT, "date"): pa.date32(),
    (INT, "time-millis"): pa.time32("ms"),
    (LONG, "time-micros"): pa.time64("us"),
    (LONG, "timestamp-millis"): pa.timestamp("ms"),
    (LONG, "timestamp-micros"): pa.timestamp("us"),
    (LONG, "timestamp-nanos"): pa.timestamp("ns"),
    (LONG, "local-timestamp-millis"): pa.timestamp("ms"),
    (LONG, "local-timestamp-micros"): pa.timestamp("us"),
    (LONG, "local-timestamp-nanos"): pa.timestamp("ns"),
}
ARROW = {
    NULL: pa.null(),
    BOOLEAN: pa.bool_(),
    INT: pa.int32(),
    LONG: pa.int64(),
    FLOAT: pa.float32(),
    DOUBLE: pa.float64(),
    STRING: pa.string(),
    BYTES: pa.binary(),
    ENUM: pa.string(),
}
# Of times of day: how many of their units a day has.
DAY = {(INT, "time-millis"): 86_400_000, (LONG, "time-micros"): 86_400_000_000}
DEEPEST = 32
LARGEST = 20_000  # nodes; types used twice count twice, or 32 doublings would fill the memory
LARGEST_FIXED = 1 << 20  # bytes; a column of fixed width takes that much for each null, too
LARGEST_PRECISION = 38  # of Arrow's decimal128; beyond, the bytes stay bytes
BARE = "value"  # the column's name when the schema is no record
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")

# How a field's union is written: no union; null first; null second.
PLAIN, NULL_FIRST, NULL_SECOND = range(3)


@dataclass(frozen=True, slots=True)
class Node:
    """One type at one place of a schema; a union of null and one other type is that type with ``union`` set.

    Attributes:
        kind: one of the numbers above.
        name: of the field that has this type; empty for items and branches.
        union: PLAIN, NULL_FIRST or NULL_SECOND.
        size: bytes of a fixed, number of an enum's symbols.
        scale: of a decimal, as precision.
        logical: Avro's logical type where it is one that we know.
        symbols: of an enum.
        children: fields of a record; item of an array or map; branches of any other union.
        default: whether the field has a default, and its JSON value.
        fallback: an enum's symbol for those it does not know.
        aliases: other names that a writer may have given the field.
        surplus: a writer's field that the reader has no place for.
        target: the reader's type, where one of several types (a union) must become another.
        total: nodes from here down.
    """

    kind: int
    name: str = ""
    union: int = PLAIN
    size: int = 0
    precision: int = 0
    scale: int = 0
    logical: str = ""
    symbols: tuple[str, ...] = ()
    children: tuple[Node, ...] = ()
    default: tuple[object, ...] = field(default=(), compare=False)
    fallback: tuple[str, ...] = ()
    aliases: tuple[str, ...] = field(default=(), compare=False)
    surplus: bool = False
    target: Node | None = None
    total: int = field(default=1, compare=False)

    @property
    def nullable(self) -> bool:
        return self.union != PLAIN or self.kind == NULL

    @property
    def word(self) -> str:
        """What to call the type in a message."""
        return self.logical or WORDS[self.kind]


def parse(schema: AvroSchema, references: Sequence[str] = ()) -> Node:
    """The tree of a schema given as JSON text or as what JSON text holds.

    A bare type, as ksqlDB writes for a single unwrapped key, becomes a node of that kind, not a record.

    Raises:
        DataError: INVALID_SCHEMA, TOO_DEEP (recursive or nested too deeply), TOO_LARGE (too many fields),
            TOO_MANY_ITEMS (items of no bytes).
    """
    reader = _Reader({})
    for text in references:
        reader.read(_loaded(text), "", DEEPEST)
    return reader.read(_loaded(schema), "", DEEPEST)


def _loaded(schema: AvroSchema) -> Any:
    if not isinstance(schema, str):
        return schema
    if schema in PRIMITIVES:
        return schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise DataError("INVALID_SCHEMA", f"the Avro schema is not JSON: {error}") from None


def _invalid(what: str) -> DataError:
    return DataError("INVALID_SCHEMA", f"the Avro schema is wrong: {what}")


@dataclass(slots=True)
class _Reader:
    """Reads a schema with the named types met so far; None stands for one that is still being read."""

    names: dict[str, Node | None]

    def read(self, schema: Any, namespace: str, depth: int) -> Node:
        if depth == 0:
            raise DataError("TOO_DEEP", f"the Avro schema is nested beyond {DEEPEST} levels")
        match schema:
            case str():
                return self._called(schema, namespace)
            case list():
                return self._union(schema, namespace, depth)
            case {"type": str(word)} if word in NAMED:
                return self._named(schema, NAMED[word], namespace, depth)
            case {"type": "array" | "map" as word}:
                return self._many(schema, word, namespace, depth)
            case {"type": inner}:
                return _with_logical(self.read(inner, namespace, depth - 1), schema)
        raise _invalid(f"{type(schema).__name__} where a type is expected")

    def _called(self, name: str, namespace: str) -> Node:
        if name in PRIMITIVES:
            return Node(PRIMITIVES[name])
        for full in (_full(name, namespace), name):
            if full in self.names:
                found = self.names[full]
                if found is None:
                    raise DataError("TOO_DEEP", f"the Avro type {full} holds itself")
                return found
        raise _invalid(f"unknown type {name!r}")

    def _union(self, branches: list[Any], namespace: str, depth: int) -> Node:
        nodes = tuple(self.read(branch, namespace, depth - 1) for branch in branches)
        if not nodes or any(node.union or node.kind == UNION for node in nodes):
            raise _invalid("a union is empty or holds a union")
        kinds = [node.kind for node in nodes]
        if len(nodes) == 2 and kinds.count(NULL) == 1:
            if kinds[0] == NULL:
                return replace(nodes[1], union=NULL_FIRST)
            return replace(nodes[0], union=NULL_SECOND)
        return _over(Node(UNION, children=nodes))

    def _many(self, schema: Mapping[str, Any], word: str, namespace: str, depth: int) -> Node:
        key, kind = ("items", ARRAY) if word == "array" else ("values", MAP)
        if key not in schema:
            raise _invalid(f"{word} without {key!r}")
        item = self.read(schema[key], namespace, depth - 1)
        if kind == ARRAY and least_size(item) == 0:
            raise DataError("TOO_MANY_ITEMS", "an Avro array's items take no bytes")
        return _over(Node(kind, children=(item,)))

    def _named(self, schema: Mapping[str, Any], kind: int, namespace: str, depth: int) -> Node:
        full = _full(str(schema.get("name", "")), str(schema.get("namespace") or namespace))
        if not NAME.match(full):
            raise _invalid(f"{full!r} is no name")
        if full in self.names:
            raise _invalid(f"type {full!r} is defined twice")
        self.names[full] = None
        if kind == RECORD:
            node = self._record(schema, full.rpartition(".")[0], depth)
        elif kind == ENUM:
            symbols = tuple(_symbol(one) for one in _listed(schema, "symbols"))
            if len(set(symbols)) < len(symbols):
                raise _invalid(f"two symbols of one name in {full!r}")
            fallback = tuple(one for one in symbols if one == schema.get("default"))
            node = Node(ENUM, size=len(symbols), symbols=symbols, fallback=fallback)
        else:
            size = schema.get("size")
            if not isinstance(size, int) or not 0 <= size < 2**31:
                raise _invalid(f"size {size!r} of {full!r}")
            if size > LARGEST_FIXED:
                raise DataError("TOO_LARGE", f"the Avro type {full} takes {size:,} bytes")
            node = _with_logical(Node(FIXED, size=size), schema)
        self.names[full] = node
        return node

    def _record(self, schema: Mapping[str, Any], namespace: str, depth: int) -> Node:
        fields = []
        for given in _listed(schema, "fields"):
            if not isinstance(given, dict) or "name" not in given or "type" not in given:
                raise _invalid(f"a field without name or type: {given!r}")
            node = self.read(given["type"], namespace, depth - 1)
            default = (given["default"],) if "default" in given else ()
            aliases = tuple(_word(one) for one in _listed(given, "aliases"))
            name = _word(given["name"])
            fields.append(replace(node, name=name, default=default, aliases=aliases))
        if len({one.name for one in fields}) < len(fields):
            raise _invalid("two fields of one name")
        return _over(Node(RECORD, children=tuple(fields)))


def _listed(schema: Mapping[str, Any], key: str) -> list[Any]:
    """What a schema has under a key: a list, perhaps none."""
    found = schema.get(key) or []
    if not isinstance(found, list):
        raise _invalid(f"{key!r} is no list")
    return found


def _symbol(name: Any) -> str:
    if not isinstance(name, str) or not NAME.match(name) or "." in name:
        raise _invalid(f"{name!r} is no symbol")
    return name


def _word(name: Any) -> str:
    """A field's name: any text that can be written as UTF-8."""
    if not isinstance(name, str) or any("\ud800" <= one <= "\udfff" for one in name):
        raise _invalid(f"{name!r} is no name")
    return name


def _over(node: Node) -> Node:
    """A node that knows how many are below it."""
    total = 1 + sum(child.total for child in node.children)
    if total > LARGEST:
        raise DataError("TOO_LARGE", f"the Avro schema has more than {LARGEST:,} fields and items")
    return replace(node, total=total)


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _with_logical(node: Node, schema: Mapping[str, Any]) -> Node:
    """The node with its logical type; one that is unknown or wrong is passed over, as the standard asks."""
    logical = schema.get("logicalType")
    if not isinstance(logical, str):
        return node
    if (node.kind, logical) in LOGICAL:
        return replace(node, logical=logical)
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if (
        logical == "decimal"
        and node.kind in (BYTES, FIXED)
        and isinstance(precision, int)
        and isinstance(scale, int)
        and 0 <= scale <= precision
        and 1 <= precision <= LARGEST_PRECISION
        and (node.kind == BYTES or (node.size <= 16 and 10**precision < 2 ** (8 * node.size - 1)))
    ):
        kind = DECIMAL if node.kind == BYTES else DECIMAL_FIXED
        return replace(node, kind=kind, precision=precision, scale=scale, logical=logical)
    return node


def least_size(node: Node) -> int:
    """The fewest bytes that a value of this type takes."""
    if node.union:
        return 1
    match node.kind:
        case k if k == NULL:
            return 0
        case k if k == FLOAT:
            return 4
        case k if k == DOUBLE:
            return 8
        case k if k in (FIXED, DECIMAL_FIXED):
            return node.size
        case k if k == RECORD:
            return sum(map(least_size, node.children))
    return 1


def is_vector(node: Node) -> bool:
    """Whether it is an array of plain numbers, which the compiled loops read and write themselves."""
    return node.kind == ARRAY and node.children[0].kind in PLAIN_NUMBERS


def columns_of(node: Node) -> tuple[Node, ...]:
    """The top-level columns: a record's fields, or the bare type as one column named ``value``."""
    if node.kind == RECORD and not node.union:
        return node.children
    return (replace(node, name=BARE),)


def leaves(node: Node, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """(dotted name, node) of every column that is no record, depth first."""
    for column in columns_of(node) if not prefix else node.children:
        name = prefix + column.name
        if column.kind == RECORD:
            yield from leaves(column, f"{name}.")
        else:
            yield name, column


def arrow_type(node: Node) -> pa.DataType:
    """The Arrow type of a column of this Avro type.

    A union of several types (beside null) becomes double or long where all of them are numbers, else text.
    """
    if node.logical and (found := LOGICAL.get((node.kind, node.logical))) is not None:
        return found
    match node.kind:
        case k if k in (DECIMAL, DECIMAL_FIXED):
            return pa.decimal128(node.precision, node.scale)
        case k if k == FIXED:
            return pa.binary(node.size)
        case k if k == RECORD:
            return pa.struct(
                [pa.field(c.name, arrow_type(c)) for c in node.children if not c.surplus]
            )
        case k if k == ARRAY:
            return pa.list_(arrow_type(node.children[0]))
        case k if k == MAP:
            return pa.map_(pa.string(), arrow_type(node.children[0]))
        case k if k == UNION:
            kinds = {branch.kind for branch in node.children} - {NULL}
            if kinds <= {INT, LONG}:
                return pa.int64()
            return pa.float64() if kinds <= {INT, LONG, FLOAT, DOUBLE} else pa.string()
    return ARROW[node.kind]


def plain_schema(node: Node) -> Any:
    """The schema of a node for fastavro: self-contained, numbered names, logical types but decimals left out.

    Without them fastavro gives and takes the integers, which cannot be out of a calendar's range.
    """
    counter = iter(range(1_000_000))

    def write(one: Node) -> Any:
        bare = write_bare(one)
        if one.union == PLAIN:
            return bare
        return ["null", bare] if one.union == NULL_FIRST else [bare, "null"]

    def write_bare(one: Node) -> Any:
        name = f"n{next(counter)}"
        decimal = {"logicalType": "decimal", "precision": one.precision, "scale": one.scale}
        match one.kind:
            case k if k == RECORD:
                fields = [{"name": c.name, "type": write(c)} for c in one.children]
                return {"type": "record", "name": name, "fields": fields}
            case k if k == ENUM:
                return {"type": "enum", "name": name, "symbols": list(one.symbols)}
            case k if k == FIXED:
                return {"type": "fixed", "name": name, "size": one.size}
            case k if k == DECIMAL_FIXED:
                return {"type": "fixed", "name": name, "size": one.size, **decimal}
            case k if k == DECIMAL:
                return {"type": "bytes", **decimal}
            case k if k == ARRAY:
                return {"type": "array", "items": write(one.children[0])}
            case k if k == MAP:
                return {"type": "map", "values": write(one.children[0])}
            case k if k == UNION:
                return [write(branch) for branch in one.children]
        return WORDS[one.kind]

    return write(node)


# Columns of the table: what the kernels do, one row per node, a node's children right after it.
KIND, WRITTEN, SIZE, SCALE, NEXT, DEST, RUN, PRECISION = range(8)


@dataclass(frozen=True, slots=True)
class Table:
    """A schema as numbers.

    Attributes:
        ops: int64, shape (nodes, 8): kind, union, size, scale, row after the node's last child, destination
            (-1: skip), number of doubles in a row that are written alike and all wanted, precision of a decimal
            or, of a time of day, the first number that is beyond it.
        names: dotted name of each row, for messages.
        nodes: the node of each row.
    """

    ops: npt.NDArray[np.int64]
    names: tuple[str, ...]
    nodes: tuple[Node, ...]


def table(root: Node) -> Table:
    """The table of a schema, every destination -1. A record at the root has no row of its own."""
    rows: list[list[int]] = []
    names: list[str] = []
    nodes: list[Node] = []

    def add(node: Node, name: str) -> None:
        precision = node.precision or DAY.get((node.kind, node.logical), 0)
        row = [node.kind, node.union, node.size, node.scale, 0, -1, 0, precision]
        rows.append(row)
        names.append(name)
        nodes.append(node)
        for child in node.children:
            add(child, f"{name}.{child.name}" if child.name else name)
        row[NEXT] = len(rows)

    for column in columns_of(root):
        add(column, column.name)
    ops = np.array(rows, np.int64).reshape(-1, 8)
    return Table(np.ascontiguousarray(ops), tuple(names), tuple(nodes))


def mark_runs(ops: npt.NDArray[np.int64]) -> None:
    """Count, from each row, the doubles that follow one another, written alike and wanted."""
    for row in range(len(ops) - 1, -1, -1):
        if ops[row, KIND] != DOUBLE or ops[row, DEST] < 0:
            continue
        ops[row, RUN] = 1
        if row + 1 < len(ops) and ops[row + 1, RUN] and ops[row + 1, WRITTEN] == ops[row, WRITTEN]:
            ops[row, RUN] = ops[row + 1, RUN] + 1
