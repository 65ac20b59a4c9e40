"""Statements as ksqlDB prints them: one clause a line, columns with their sources, every item with its name.

This text ends ksqlDB's own message of a statement that it cannot carry out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from gradstream.engine.catalog import Catalog
from gradstream.engine.language import tree
from gradstream.engine.language.formatting import format_expression, format_name
from gradstream.engine.language.joining import rewritten
from gradstream.engine.language.projection import readable

_JOINS = {"INNER": "INNER", "LEFT": "LEFT OUTER", "RIGHT": "RIGHT OUTER", "OUTER": "FULL OUTER"}


def format_statement(statement: tree.Statement, catalog: Catalog) -> str:
    """A statement that creates or queries sources; others, and what is too deep, stay as they were written."""
    try:
        return _format(statement, catalog)
    except RecursionError:
        return statement.text


def _format(statement: tree.Statement, catalog: Catalog) -> str:
    match statement.body:
        case tree.CreateSource() as body:
            return _create_source(body) + ";"
        case tree.CreateAsSelect() as body:
            return f"{_create_as(body)} AS {_query(body.query, catalog)};"
        case tree.InsertSelect() as body:
            settings = _settings(body.settings)
            return f"INSERT INTO {format_name(body.name)}{settings} {_query(body.query, catalog)};"
        case tree.Query() as body:
            return _query(body, catalog) + ";"
    return statement.text


def _create_source(body: tree.CreateSource) -> str:
    parts = ["CREATE", "OR REPLACE" * body.replace, "SOURCE" * body.is_source, body.kind.upper()]
    parts += ["IF NOT EXISTS" * body.if_not_exists, format_name(body.name)]
    elements = ", ".join(map(_element, body.elements))
    return _words(parts) + (f" ({elements})" if elements else "") + _settings(body.settings)


def _element(node: tree.Element) -> str:
    role = {"VALUE": "", "HEADER": f"HEADER('{node.header}')"}.get(node.role, node.role)
    return _words([format_name(node.name), str(node.type), role])


def _create_as(body: tree.CreateAsSelect) -> str:
    parts = ["CREATE", "OR REPLACE" * body.replace, body.kind.upper()]
    parts += ["IF NOT EXISTS" * body.if_not_exists, format_name(body.name)]
    return _words(parts) + _settings(body.settings)


def _words(parts: Iterable[str]) -> str:
    return " ".join(filter(None, parts))


def _settings(given: Mapping[str, tree.Setting]) -> str:
    if not given:
        return ""
    texts = (f"{name}={format_expression(given[name])}" for name in sorted(given))
    return f" WITH ({', '.join(texts)})"


def _query(query: tree.Query, catalog: Catalog) -> str:
    with_source = _qualifier(query, catalog)

    def texts(nodes: Iterable[tree.Expression]) -> str:
        return ", ".join(format_expression(rewritten(node, with_source)) for node in nodes)

    items = [_item(item, with_source) for item in _named(query.items)]
    shown = " " + items[0] if len(items) == 1 else "\n  " + ",\n  ".join(items)
    lines = ["SELECT" + shown, "FROM " + _relation(query.source, with_source)]
    if query.window is not None:
        lines.append("WINDOW" + _window(query.window))
    if query.where is not None:
        lines.append("WHERE " + texts([query.where]))
    if query.group_by:
        lines.append("GROUP BY " + texts(query.group_by))
    if query.partition_by:
        lines.append("PARTITION BY " + texts(query.partition_by))
    if query.having is not None:
        lines.append("HAVING " + texts([query.having]))
    lines.append(f"EMIT {query.emit or 'CHANGES'}")
    if query.limit is not None:
        lines.append(f"LIMIT {query.limit}")
    return "\n".join(lines)


def _qualifier(query: tree.Query, catalog: Catalog) -> Callable[[tree.Name], tree.Name]:
    """Adds to a column's name the source that has it, where only one has."""
    first, joins = tree.unjoined(query.source)
    nodes = [first, *(join.right for join in joins)]
    sources = [(node.alias, catalog.sources.get(node.name)) for node in nodes]

    def with_source(node: tree.Name) -> tree.Name:
        if node.source is not None:
            return node
        owners = [
            alias
            for alias, source in sources
            if source is not None and node.name in readable(source)
        ]
        return replace(node, source=owners[0]) if len(owners) == 1 else node

    return with_source


def _named(items: Iterable[tree.Item]) -> Iterable[tree.Item]:
    """The items with the names that those without an alias get."""
    number = 0
    for item in items:
        if item.expression is None or item.alias is not None:
            yield item
        elif isinstance(item.expression, tree.Name | tree.Field):
            yield replace(item, alias=item.expression.name)
        else:
            yield replace(item, alias=f"KSQL_COL_{number}")
            number += 1


def _item(item: tree.Item, with_source: Callable[[tree.Name], tree.Name]) -> str:
    if item.expression is None:
        return (f"{format_name(item.source)}." if item.source is not None else "") + "*"
    text = format_expression(rewritten(item.expression, with_source))
    return text if item.alias in (None, "*") else f"{text} {format_name(str(item.alias))}"


def _relation(relation: tree.Relation, with_source: Callable[[tree.Name], tree.Name]) -> str:
    if not isinstance(relation, tree.Join):
        return f"{format_name(relation.name)} {format_name(relation.alias)}"
    left, right = _relation(relation.left, with_source), _relation(relation.right, with_source)
    on = format_expression(rewritten(relation.on, with_source))
    return f"{left}\n{_JOINS[relation.kind]} JOIN {right}{_within(relation)} ON ({on})"


def _within(node: tree.Join) -> str:
    if node.before is None or node.after is None:
        return ""
    span = _duration(node.before)
    if node.after != node.before:
        span = f"({_duration(node.before)}, {_duration(node.after)})"
    return f" WITHIN {span}" + (f" GRACE PERIOD {_duration(node.grace)}" if node.grace else "")


def _window(node: tree.Window) -> str:
    size = _duration(node.size) if node.kind == "SESSION" else f"SIZE {_duration(node.size)}"
    parts = [size]
    if node.advance is not None:
        parts.append(f"ADVANCE BY {_duration(node.advance)}")
    if node.retention is not None:
        parts.append(f"RETENTION {_duration(node.retention)}")
    if node.grace is not None:
        parts.append(f"GRACE PERIOD {_duration(node.grace)}")
    return f" {node.kind} ( {' , '.join(parts)} ) "


def _duration(node: tree.Duration) -> str:
    """``5 MINUTES``: the unit as Java's TimeUnit is called."""
    number, unit = node.text.upper().split()
    return f"{number} {unit.removesuffix('S')}S"
