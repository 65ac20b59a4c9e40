"""What SELECT, WHERE and PARTITION BY make of one stream: the columns of the result and how each is computed."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gradstream.engine.catalog import Column, Source
from gradstream.engine.language import tree
from gradstream.engine.language.analyze import PSEUDO, WINDOW_BOUNDS, Analyzer, Typed
from gradstream.engine.language.evaluation import Output
from gradstream.engine.language.formatting import format_expression, format_name
from gradstream.engine.language.lexer import error_at
from gradstream.engine.types import SqlType, Struct
from gradstream.errors import SqlError

if TYPE_CHECKING:
    from gradstream.engine.language.joining import Joined  # which reads this module

RESERVED_COLUMNS = ("ROWTIME", "ROWPARTITION", "ROWOFFSET", "WINDOWSTART", "WINDOWEND")


@dataclass(frozen=True, slots=True)
class Key:
    """A column of the key before SELECT; ``node`` as the user wrote it."""

    name: str
    item: Typed
    node: tree.Expression


@dataclass(frozen=True, slots=True)
class Projected:
    """A query resolved, as one over a single source.

    Attributes:
        columns: everything that can be read, by name, pseudo columns included.
        keys: the key that the rows have after PARTITION BY.
        repartitioned: what made the key, ``partitioning`` or ``grouping``; nothing where it is the source's.
        items: the columns of the result in the order of SELECT.
        tables: calls of table functions by the names of columns, none of the source's, as which ``items`` read them.
        joined: the sources whose joined rows ``source`` stands for.
    """

    source: Source
    columns: dict[str, SqlType]
    where: Typed | None
    keys: tuple[Key, ...]
    repartitioned: str
    items: tuple[Output, ...]
    query: tree.Query
    tables: dict[str, Typed] = field(default_factory=dict)
    joined: Joined | None = None


def project(
    query: tree.Query,
    source: Source,
    alias: str,
    types: dict[str, SqlType],
    text: str,
    statement: str = "SELECT",
    *,
    alone: bool = False,
) -> Projected:
    """
    Args:
        alone: a SELECT by itself, which may show the bounds of windows.

    Raises:
        SqlError: what analysis refuses.
    """
    if not alone:
        check_reserved(query, text)
    columns = {column.name: column.type for column in source.columns}
    known = readable(source)
    qualifiers = tuple(dict.fromkeys((alias, source.name))) if alias == source.name else (alias,)
    analyzer = Analyzer(text, known, qualifiers, types, statement=statement)
    where = None if query.where is None else analyzer.where(query.where)
    namer = Namer(columns)
    keys = _keys(query, source, analyzer, namer, text)
    items = list(_items(query, source, keys, analyzer, namer, text, alone))
    tables: dict[str, Typed] = {}
    items = [Output(of.name, of.type, _without_tables(of.item, tables, known)) for of in items]
    if tables and source.kind == "table":
        raise error_at(
            "UNSUPPORTED", "Table source is not supported with table functions", text, query.at
        )
    known |= {name: of.type for name, of in tables.items() if of.type is not None}
    if query.partition_by:
        keys = renamed(keys, items)
    made_by = "partitioning" if query.partition_by else ""
    return Projected(source, known, where, keys, made_by, tuple(items), query, tables)


def _without_tables(item: Typed, tables: dict[str, Typed], taken: Container[str]) -> Typed:
    """An item that reads columns where it called table functions; the calls go to ``tables``.

    Args:
        taken: names that other columns have.
    """
    if item.kind == "table":
        name = next((name for name, call in tables.items() if call == item), None)
        if name is None:
            numbered = (f"TABLE_{n}" for n in itertools.count())
            name = next(name for name in numbered if name not in taken and name not in tables)
            tables[name] = item
        return Typed("column", item.type, detail=name, node=item.node)
    if not item.arguments:
        return item
    arguments = tuple(_without_tables(of, tables, taken) for of in item.arguments)
    return replace(item, arguments=arguments)


def readable(source: Source) -> dict[str, SqlType]:
    """Everything that can be read of a row of a source, by name."""
    columns = {column.name: column.type for column in source.columns}
    bounds = WINDOW_BOUNDS if source.window is not None else {}
    return {**columns, **PSEUDO, **bounds}


def check_reserved(query: tree.Query, text: str) -> None:
    """A window bound needs another name in the result."""
    for item in query.items:
        if not isinstance(item.expression, tree.Name) or query.emit is not None:
            continue
        name = item.expression.name
        if name in WINDOW_BOUNDS and item.alias in (None, name):
            raise error_at(
                "RESERVED_NAME",
                f"Reserved column name in select: `{name}`. Please remove or alias the column.",
                text,
                item.at,
            )


class Namer:
    """Names for what has none: KSQL_COL_n, and fields that would clash."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)
        self.next = 0

    def generated(self) -> str:
        while (name := f"KSQL_COL_{self.next}") in self.taken:
            self.next += 1
        self.next += 1
        return name

    def of_field(self, field: str) -> str:
        name, count = field, 0
        while name in self.taken:
            count += 1
            name = f"{field}_{count}"
        self.taken.add(name)
        return name


def _keys(
    query: tree.Query, source: Source, analyzer: Analyzer, namer: Namer, text: str
) -> tuple[Key, ...]:
    if not query.partition_by:
        return tuple(
            Key(
                column.name,
                Typed("column", column.type, detail=column.name),
                tree.Name(column.name),
            )
            for column in source.key_columns
        )
    nodes = query.partition_by
    items = [analyzer.partition(node) for node in nodes]
    if any(item.type is None for item in items):
        if len(items) > 1:
            raise error_at(
                "UNSUPPORTED", "Cannot PARTITION BY multiple columns including NULL", text, query.at
            )
        return ()
    found = []
    for node, item in zip(nodes, items, strict=True):
        if item.kind == "column":
            name = item.detail
        elif isinstance(node, tree.Field):
            name = namer.of_field(node.name)
        else:
            name = ""
        found.append(Key(name, item, node))
    return tuple(found)


def _items(
    query: tree.Query,
    source: Source,
    keys: tuple[Key, ...],
    analyzer: Analyzer,
    namer: Namer,
    text: str,
    alone: bool,
) -> Iterable[Output]:
    for item in query.items:
        if item.expression is None:
            yield from _star(item, query, source, keys, analyzer, namer, text, alone)
        elif isinstance(item.expression, tree.Field) and item.expression.name == "*":
            base = analyzer.select(item.expression.base)
            if not isinstance(base.type, Struct):
                raise error_at(
                    "TYPE_MISMATCH",
                    f"Cannot use * on {base.type}; only STRUCT has fields",
                    text,
                    item.at,
                )
            for name, type_ in base.type.fields:
                yield Output(namer.of_field(name), type_, Typed("field", type_, (base,), name))
        else:
            typed = analyzer.select(item.expression)
            if typed.type is None:
                raise AssertionError("select() refuses NULL")
            yield Output(item_name(item, typed, keys, namer, text), typed.type, typed)


def item_name(item: tree.Item, typed: Typed, keys: tuple[Key, ...], namer: Namer, text: str) -> str:
    if item.alias is not None:
        if item.alias in RESERVED_COLUMNS:
            raise error_at(
                "RESERVED_NAME",
                f"`{item.alias}` is a reserved column name. You cannot use it as an alias for a column.",
                text,
                item.at,
            )
        return item.alias
    if isinstance(item.expression, tree.Name):
        return item.expression.name
    for key in keys:
        if key.name and key.item == typed and not key.name.startswith("KSQL_COL_"):
            return key.name
    if isinstance(item.expression, tree.Field):
        return namer.of_field(item.expression.name)
    return namer.generated()


def _star(
    item: tree.Item,
    query: tree.Query,
    source: Source,
    keys: tuple[Key, ...],
    analyzer: Analyzer,
    namer: Namer,
    text: str,
    alone: bool,
) -> Iterable[Output]:
    if item.source is not None and item.source not in analyzer.qualifiers:
        raise error_at(
            "UNKNOWN_STREAM",
            f"'{item.source}' is not a valid stream/table name or alias.",
            text,
            item.at,
        )
    if not query.partition_by:
        bounds = [Column(name, type_) for name, type_ in WINDOW_BOUNDS.items()]
        if source.window is None or not alone:
            bounds = []
        for column in (*source.key_columns, *bounds, *_unkeyed(source)):
            yield Output(column.name, column.type, Typed("column", column.type, detail=column.name))
        return
    used = set()
    for key in keys:
        if key.item.type is None:
            raise AssertionError("NULL keys were left out")
        # The key gets its name only now, after the aliases before the star.
        yield Output(key.name or namer.generated(), key.item.type, key.item)
        if key.item.kind == "column":
            used.add(key.item.detail)
    for column in (*_unkeyed(source), *source.key_columns):
        if column.name not in used:
            yield Output(column.name, column.type, Typed("column", column.type, detail=column.name))


def _unkeyed(source: Source) -> Sequence[Column]:
    return [column for column in source.columns if column.role != "key"]


def renamed(keys: tuple[Key, ...], items: Sequence[Output]) -> tuple[Key, ...]:
    """Keys take the name under which SELECT shows them."""
    found = []
    for key in keys:
        shown = [item.name for item in items if item.item == key.item]
        name = shown[0] if shown else key.name or "KSQL_COL_0"
        found.append(Key(name, key.item, key.node))
    return tuple(found)


def qualified(node: tree.Expression, alias: str) -> str:
    """The text of an expression with every column qualified, as messages show a partitioning expression."""
    return format_expression(_qualify(node, alias))


def _qualify(node: tree.Expression, alias: str) -> tree.Expression:
    match node:
        case tree.Name(name, None):
            return tree.Name(name, alias)
        case tree.Call(name, arguments):
            return tree.Call(name, tuple(_qualify(argument, alias) for argument in arguments))
        case tree.Arithmetic(operator, left, right):
            return tree.Arithmetic(operator, _qualify(left, alias), _qualify(right, alias))
        case tree.Field(base, name):
            return tree.Field(_qualify(base, alias), name)
        case tree.Subscript(base, index):
            return tree.Subscript(_qualify(base, alias), _qualify(index, alias))
        case tree.Cast(value, type_):
            return tree.Cast(_qualify(value, alias), type_)
    return node


def split_keys(
    projected: Projected, sink: str, alias: str, text: str, keys_optional: bool = False
) -> tuple[tuple[Output, ...], tuple[Output, ...]]:
    """The items of a persistent query as key and value columns; each key must be there exactly once.

    Raises:
        SqlError: BAD_PROJECTION or RESERVED_NAME, in ksqlDB's words.
    """
    at = projected.query.at
    keys: list[Output] = []
    chosen: set[int] = set()
    missing: list[Key] = []
    for key in projected.keys:
        shown = [n for n, item in enumerate(projected.items) if item.item == key.item]
        if not shown:
            missing.append(key)
            continue
        if len(shown) > 1:
            if projected.repartitioned == "grouping":
                names = " and ".join(f"`{projected.items[n].name}`" for n in shown)
                raise error_at(
                    "BAD_PROJECTION",
                    f"The projection contains a key column more than once: {names}.\n"
                    "Each key column must only be in the projection once. If you intended to copy the key into the "
                    "value, then consider using the AS_VALUE function to indicate which key reference should be copied.",
                    text,
                    at,
                )
            names = " and ".join(projected.items[n].name for n in shown)
            raise error_at(
                "BAD_PROJECTION",
                f"The projection contains a key column (`{key.name}`) more than once, aliased as: {names}.\n"
                "Each key column must only be in the projection once. If you intended to copy the key into the "
                "value, then consider using the AS_VALUE function to indicate which key reference should be copied.",
                text,
                at,
            )
        keys.append(projected.items[shown[0]])
        chosen.add(shown[0])
    if missing and not keys_optional:
        raise _missing_keys(projected, missing, sink, alias, text)
    values = tuple(item for n, item in enumerate(projected.items) if n not in chosen)
    for item in values:
        if item.name in RESERVED_COLUMNS:
            raise error_at(
                "RESERVED_NAME",
                f"Reserved column name in select: `{item.name}`. Please remove or alias the column.",
                text,
                at,
            )
    _check_duplicates(keys, values, text, at, projected.repartitioned == "grouping")
    if not values:
        raise error_at("BAD_PROJECTION", "The projection contains no value columns.", text, at)
    return tuple(keys), values


def _missing_keys(
    projected: Projected, missing: list[Key], sink: str, alias: str, text: str
) -> SqlError:
    if projected.repartitioned != "grouping":
        missing = list(projected.keys)
    several = len(missing) > 1
    if projected.repartitioned:
        names = [
            qualified(key.node, alias)
            if projected.repartitioned == "partitioning"
            else format_expression(key.node)
            for key in missing
        ]
        what = f"{projected.repartitioned} expression{'s' * several}"
    else:
        names = [format_name(key.name) for key in missing]
        what = f"key column{'s' * several}"
    listed = names[0] if not several else ", ".join(names[:-1]) + " and " + names[-1]
    example = ", ".join(names)
    return error_at(
        "BAD_PROJECTION",
        f"The query used to build `{sink}` must include the {what} {listed} in its projection "
        f"(eg, SELECT {example}...).",
        text,
        projected.query.at,
    )


def _check_duplicates(
    keys: Sequence[Output],
    values: Sequence[Output],
    text: str,
    at: tree.At,
    grouped: bool,
) -> None:
    check_unique(values, "value", text, at)
    names = {item.name for item in keys}
    for item in values:
        if item.name in names and grouped:
            raise error_at(
                "BAD_PROJECTION",
                f"Duplicate value columns found in schema: `{item.name}` {item.type}",
                text,
                at,
            )
        if item.name in names:
            raise error_at(
                "BAD_PROJECTION",
                f"Duplicate column names: `{item.name}` names a key and a value; alias one of them.",
                text,
                at,
            )


def check_unique(items: Sequence[Output], part: str, text: str, at: tree.At) -> None:
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise error_at(
                "BAD_PROJECTION",
                f"Duplicate {part} columns found in schema: `{item.name}` {item.type}",
                text,
                at,
            )
        seen.add(item.name)
