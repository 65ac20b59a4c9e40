"""What is wrong with a query by itself, before any source is looked up."""

from __future__ import annotations

from collections.abc import Iterator

from gradstream.engine.language import tree
from gradstream.engine.language.analyze import nearest
from gradstream.engine.language.joining import rewritten
from gradstream.engine.language.lexer import error_at


def check_qualifiers(query: tree.Query, text: str) -> None:
    """Does each ``A.COLUMN`` and ``A.*`` name a source of the query?

    Raises:
        SqlError: UNKNOWN_STREAM.
    """
    first, joins = tree.unjoined(query.source)
    known = {first.alias, *(join.right.alias for join in joins)}
    for name, at in _qualifiers(query):
        if name not in known:
            raise error_at(
                "UNKNOWN_STREAM",
                f"Failed to prepare statement: '{name}' is not a valid stream/table name or alias."
                + nearest(name, sorted(known)),
                text,
                at,
            )


def _qualifiers(query: tree.Query) -> Iterator[tuple[str, tree.At]]:
    _, joins = tree.unjoined(query.source)
    for join in joins:
        yield from _in_expression(join.on)
    for item in query.items:
        if item.source is not None:
            yield item.source, item.at
        if item.expression is not None:
            yield from _in_expression(item.expression)
    for clause in (query.where, *query.group_by, *query.partition_by, query.having):
        if clause is not None:
            yield from _in_expression(clause)


def _in_expression(node: tree.Expression) -> list[tuple[str, tree.At]]:
    found = []

    def note(name: tree.Name) -> tree.Name:
        if name.source is not None:
            found.append((name.source, name.at))
        return name

    rewritten(node, note)
    return found
