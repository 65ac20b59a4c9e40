"""What a SELECT by itself shows: no column must be there, but those of a table's key are known by it, and come first."""

from __future__ import annotations

from dataclasses import replace

from gradstream.engine.catalog import Source
from gradstream.engine.language import tree
from gradstream.engine.language.analyze import WINDOW_BOUNDS
from gradstream.engine.language.evaluation import Output
from gradstream.engine.language.functions import aggregates
from gradstream.engine.language.joining import Joined
from gradstream.engine.language.projection import Projected


def shown_keys(projected: Projected) -> tuple[tuple[Output, ...], tuple[Output, ...]]:
    """The items that are the key of what they are shown of, and the others."""
    known = {key.item for key in projected.keys}
    bounds = WINDOW_BOUNDS if projected.source.window or projected.query.window else {}
    keys: list[Output] = []
    values: list[Output] = []
    for item in projected.items:
        is_key = item.item in known or (item.item.kind == "column" and item.item.detail in bounds)
        (keys if is_key else values).append(item)
    return tuple(keys), tuple(values)


def any_key(joined: Joined, shown: list[str]) -> Source:
    """The joined rows by a key that SELECT shows, or by any that they have."""
    chosen = {next((name for name in joined.viable if name in shown), joined.viable[0])}
    if joined.foreign:
        chosen = set(joined.viable)
    columns = tuple(
        replace(column, role="key" if column.name in chosen else "value")
        for column in joined.source.columns
    )
    return replace(joined.source, columns=columns)


def grouped_whole(query: tree.Query) -> tree.Query:
    """A query that aggregates without GROUP BY has one group of all rows."""
    calls = any(_calls_aggregate(item.expression) for item in query.items)
    if query.group_by or not calls or query.emit is None:
        return query
    return replace(query, group_by=(tree.Constant("INTEGER", 0),))


def _calls_aggregate(expression: tree.Expression | None) -> bool:
    return expression is not None and any(
        isinstance(of, tree.Call) and of.name.upper() in aggregates.NAMES
        for of in tree.within(expression)
    )
