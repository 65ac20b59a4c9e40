"""SELECT with GROUP BY, resolved: what is computed of each row, what is kept of a group, what is shown of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gradstream.engine.catalog import Source
from gradstream.engine.language import tree
from gradstream.engine.language.analyze import WINDOW_BOUNDS, Analyzer, Typed
from gradstream.engine.language.evaluation import Output
from gradstream.engine.language.formatting import format_expression, format_name
from gradstream.engine.language.functions import aggregates
from gradstream.engine.language.functions.aggregates import Aggregate
from gradstream.engine.language.lexer import error_at
from gradstream.engine.language.projection import (
    Key,
    Namer,
    Projected,
    check_reserved,
    item_name,
    readable,
    renamed,
)
from gradstream.engine.types import BIGINT, SqlType
from gradstream.errors import SqlError


@dataclass(frozen=True, slots=True)
class Aggregated:
    """One aggregate of a query: its name and function, and what it is given of each row."""

    name: str
    function: Aggregate
    arguments: tuple[Typed, ...]


@dataclass(frozen=True, slots=True)
class Grouped(Projected):
    """A query with GROUP BY. ``items`` and ``having`` are over what a group has: GROUP_n, AGGREGATE_n, window bounds.

    Attributes:
        by: what rows are grouped by, over the source's columns.
        aggregates: each different one once.
        shown: the types of what a group has, by name.
    """

    by: tuple[Typed, ...] = ()
    aggregates: tuple[Aggregated, ...] = ()
    having: Typed | None = None
    shown: dict[str, SqlType] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether rows are grouped by something else than their key, so that they leave their partitions."""
        names = [item.detail if item.kind == "column" else None for item in self.by]
        if self.joined is None:
            return names != [column.name for column in self.source.key_columns]
        return len(names) != 1 or names[0] not in self.joined.viable


def group(
    query: tree.Query,
    source: Source,
    alias: str,
    types: dict[str, SqlType],
    text: str,
    properties: Mapping[str, object],
) -> Grouped:
    """
    Raises:
        SqlError: what ksqlDB refuses, in its words.
    """
    check_reserved(query, text)
    return _Grouping(query, source, alias, types, text, properties).resolve()


class _Grouping:
    def __init__(
        self,
        query: tree.Query,
        source: Source,
        alias: str,
        types: dict[str, SqlType],
        text: str,
        properties: Mapping[str, object],
    ) -> None:
        self.query, self.source, self.text = query, source, text
        self.properties = properties
        self.columns = {column.name: column.type for column in source.columns}
        self.readable = readable(source)
        self.bounds = WINDOW_BOUNDS if query.window else {}
        self.analyzer = Analyzer(
            text, {**self.readable, **self.bounds}, (alias,), types, aggregates=True
        )
        self.namer = Namer(self.columns)
        self.by: list[Typed] = []
        self.calls: list[Typed] = []
        self.shown: dict[str, SqlType] = {**self.bounds, "ROWTIME": BIGINT}
        self.strangers: list[str] = []  # items that show what is neither grouped by nor aggregated
        self.strangers_of_having: list[str] = []  # columns of HAVING that are neither

    def error(self, message: str) -> SqlError:
        return error_at("BAD_GROUP_BY", message, self.text, self.query.at)

    def resolve(self) -> Grouped:
        query, analyzer = self.query, self.analyzer
        where = None if query.where is None else analyzer.where(query.where)
        for name in self.bounds:
            if where is not None and name in where.columns() and name not in self.readable:
                raise self.error(f"Error in WHERE expression: Unknown column {name}.")
        self._group_by()
        keys = self._keys()
        items = tuple(self._items(keys))
        having = None
        if query.having is not None:
            having = self._over_groups(analyzer.having(query.having), query.having, shown=False)
        if not self.calls:
            raise self.error(
                "GROUP BY requires aggregate functions in either the SELECT or HAVING clause."
            )
        if self.strangers:
            raise self.error(
                "Non-aggregate SELECT expression(s) not part of GROUP BY: "  # noqa: S608  a message
                + ", ".join(self.strangers)
                + "\nEither add the column(s) to the GROUP BY or remove them from the SELECT.",
            )
        if self.strangers_of_having:
            raise self.error(
                "Non-aggregate HAVING expression not part of GROUP BY: "
                f"[{', '.join(dict.fromkeys(self.strangers_of_having))}]"
            )
        return Grouped(
            self.source,
            self.readable,
            where,
            renamed(keys, items),
            "grouping",
            items,
            query,
            by=tuple(self.by),
            aggregates=tuple(self._bound(call) for call in self.calls),
            having=having,
            shown=self.shown,
        )

    def _group_by(self) -> None:
        for node in self.query.group_by:
            item = self.analyzer.group(node)
            self._check_bounds(item)
            if item.type is None:
                raise self.error(
                    "Can't infer a type of null. Please explicitly cast it to a required type, e.g. CAST(null AS "
                    "VARCHAR)."
                )
            if item in self.by:
                raise self.error(f"Duplicate GROUP BY expression: {format_expression(node)}")
            self.by.append(item)

    def _keys(self) -> tuple[Key, ...]:
        found = []
        for n, (item, node) in enumerate(zip(self.by, self.query.group_by, strict=True)):
            if item.kind == "column":
                name = item.detail
            else:
                name = self.namer.of_field(node.name) if isinstance(node, tree.Field) else ""
            assert item.type is not None
            self.shown[f"GROUP_{n}"] = item.type
            found.append(Key(name, Typed("column", item.type, detail=f"GROUP_{n}"), node))
        return tuple(found)

    def _check_bounds(self, item: Typed) -> None:
        for name in self.bounds:
            if name in item.columns():
                raise self.error(
                    f"Window bounds column {name} can only be used in the SELECT clause of windowed aggregations",
                )

    def _items(self, keys: tuple[Key, ...]) -> Iterable[Output]:
        for item in self.query.items:
            if item.expression is None:
                for column in (*self.source.key_columns, *self.source.value_columns):
                    typed = Typed("column", column.type, detail=column.name)
                    made = self._over_groups(typed, tree.Name(column.name))
                    yield Output(column.name, column.type, made)
                continue
            made = self._over_groups(self.analyzer.select(item.expression), item.expression)
            assert made.type is not None
            yield Output(item_name(item, made, keys, self.namer, self.text), made.type, made)

    def _over_groups(self, typed: Typed, node: tree.Expression, *, shown: bool = True) -> Typed:
        """An expression over rows as one over groups."""
        strange: list[str] = []
        if not shown:
            self._check_bounds(typed)
        made = self._rewritten(typed, strange)
        if not shown:
            self.strangers_of_having += map(format_name, strange)
        elif strange:
            self.strangers.append(format_expression(node))
        return made

    def _rewritten(self, typed: Typed, strange: list[str]) -> Typed:
        if typed in self.by:
            n = self.by.index(typed)
            return Typed("column", typed.type, detail=f"GROUP_{n}", node=typed.node)
        if typed.kind == "aggregate":
            return self._called(typed)
        if typed.kind == "column" and typed.detail not in self.bounds:
            strange.append(typed.detail)
        if not typed.arguments:
            return typed
        return replace(
            typed, arguments=tuple(self._rewritten(of, strange) for of in typed.arguments)
        )

    def _called(self, typed: Typed) -> Typed:
        for argument in typed.arguments:
            self._check_bounds(argument)
        if typed not in self.calls:
            self.calls.append(typed)
        name = f"AGGREGATE_{self.calls.index(typed)}"
        assert typed.type is not None
        self.shown[name] = typed.type
        return Typed("column", typed.type, detail=name, node=typed.node)

    def _bound(self, call: Typed) -> Aggregated:
        name, constants = call.detail
        types = [argument.type for argument in call.arguments if argument.type is not None]
        function = aggregates.bind(name, types, list(constants), self.properties)
        given = call.arguments[: len(call.arguments) - function.constants]
        return Aggregated(name, function, given)
