"""What the WHERE of a pull query over a table may be: ksqlDB looks keys up, and scans the table only where that is on.

A condition is taken as alternatives, each of them comparisons that hold together. An alternative that has every column of
the key equal to something is a look-up, one that bounds a single key of text is a range; all else is a scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradstream.engine.catalog import Column, Source
from gradstream.engine.language import tree
from gradstream.engine.language.formatting import format_columns, format_expression
from gradstream.engine.language.lexer import error_at
from gradstream.engine.types import BOOLEAN, STRING, SqlType
from gradstream.errors import SqlError

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_HELP = (
    " See https://cnfl.io/queries for more info.\nAdd EMIT CHANGES if you intended to issue a push query.\n"
    "Pull queries require a WHERE clause that:\n"
    " - includes a key equality expression, e.g. `SELECT * FROM X WHERE <key-column> = Y;`.\n"
    " - in the case of a multi-column key, is a conjunction of equality expressions that cover all key columns.\n"
    "If more flexible queries are needed, table scans can be enabled by setting "
    "ksql.query.pull.table.scan.enabled=true."
)
_NO_SCAN = (
    "Query requires table scan to be enabled. Table scans can be enabled by setting "
    "ksql.query.pull.table.scan.enabled=true"
)
MOST = 1000  # alternatives; a condition with more of them is a scan


def check_where(
    query: tree.Query, source: Source, properties: Mapping[str, object], text: str
) -> None:
    """Whether a pull query's condition can be looked up, where scans are off; what keys are compared with in any case.

    Raises:
        SqlError: UNSUPPORTED, BAD_KEY, in ksqlDB's words.
    """
    try:
        alternatives = [] if query.where is None else _alternatives(query.where, False)
    except OverflowError:
        alternatives = []
    keys = {column.name: column for column in source.key_columns}
    for alternative in alternatives:
        for node in alternative:
            if (found := _compared(node, keys)) is not None and found[1] == "=":
                _check_value(found[0], found[2], text)
    if _is_on(properties, "ksql.query.pull.table.scan.enabled"):
        return
    if query.where is None or not alternatives:
        raise _refused("Missing WHERE clause." + _HELP, query, text)
    ranges = _is_on(properties, "ksql.query.pull.range.scan.enabled")
    for alternative in alternatives:
        bounded = _check_alternative(query, alternative, source, keys, text)
        single = len(keys) == 1 and source.key_columns[0].type == STRING and source.window is None
        if bounded and not (ranges and single and len(alternatives) == 1):
            raise _refused(_NO_SCAN, query, text)


def keys_asked(where: tree.Expression | None, source: Source) -> tuple[tuple[Any, ...], ...] | None:
    """The keys of all rows that can pass a condition, None where it does not tell.

    Only constants that are equal to a key in one way count: texts, whole numbers, truth.
    """
    keys = {column.name: column for column in source.key_columns}
    try:
        alternatives = [] if where is None else _alternatives(where, False)
    except OverflowError:
        return None
    found = []
    for alternative in alternatives:
        known: dict[str, Any] = {}
        for node in alternative:
            if (compared := _compared(node, keys)) is None:
                continue
            column, operator, value = compared
            if operator == "=" and isinstance(value, tree.Constant):
                kinds = _EXACT.get(str(column.type), ())
                if value.kind in kinds:
                    known[column.name] = value.value
        if len(known) < len(keys):
            return None
        found.append(tuple(known[name] for name in keys))
    return tuple(dict.fromkeys(found)) or None


_EXACT = {
    "STRING": ("STRING",),
    "INTEGER": ("INTEGER", "BIGINT"),
    "BIGINT": ("INTEGER", "BIGINT"),
    "BOOLEAN": ("BOOLEAN",),
}


def _is_on(properties: Mapping[str, object], name: str) -> bool:
    return str(properties.get(name, "true")).lower() == "true"


def _refused(message: str, query: tree.Query, text: str) -> SqlError:
    return error_at("UNSUPPORTED", message, text, query.at)


def _alternatives(node: tree.Expression, negated: bool) -> list[list[tree.Expression]]:
    """A condition in disjunctive normal form; IN is equality with one of its items.

    Raises:
        OverflowError: there are too many.
    """
    match node:
        case tree.Not(value):
            return _alternatives(value, not negated)
        case tree.Logical(operator, left, right):
            a, b = _alternatives(left, negated), _alternatives(right, negated)
            if (operator == "OR") != negated:
                made = a + b
            elif len(a) * len(b) > MOST:
                raise OverflowError
            else:
                made = [of + other for of in a for other in b]
            if len(made) > MOST:
                raise OverflowError
            return made
        case tree.In(value, items) if not negated:
            return [[tree.Comparison("=", value, item, node.at)] for item in items]
        case tree.Between(value, low, high) if not negated:
            low_bound = tree.Comparison(">=", value, low, node.at)
            return [[low_bound, tree.Comparison("<=", value, high, node.at)]]
    return [[tree.Not(node) if negated else node]]


def _compared(
    node: tree.Expression, keys: Mapping[str, Column]
) -> tuple[Column, str, tree.Expression] | None:
    """The column of the key, operator and value of a comparison with the key."""
    if not isinstance(node, tree.Comparison):
        return None
    for column, value, operator in (
        (node.left, node.right, node.operator),
        (node.right, node.left, _MIRRORED.get(node.operator, node.operator)),
    ):
        if isinstance(column, tree.Name) and column.name in keys:
            return keys[column.name], operator, value
    return None


def _check_value(column: Column, value: tree.Expression, text: str) -> None:
    """Can a key be equal to this?"""
    if not isinstance(value, tree.Constant):
        return
    at = value.at
    if value.kind == "NULL":
        message = f"Primary key columns can not be NULL: ({column.name} = null)"
        raise error_at("BAD_KEY", message, text, at)
    if not _fits(value.kind, column.type):
        raise error_at(
            "BAD_KEY",
            f"{format_expression(value)} can not be converted to the type of the key column: "
            f"{column.name} {column.type} KEY",
            text,
            at,
        )


def _fits(kind: str, type_: SqlType) -> bool:
    """Whether a constant may be compared with a key; text stands for times and bytes, too."""
    if kind == "STRING":
        return str(type_) in ("STRING", "DATE", "TIME", "TIMESTAMP", "BYTES")
    if kind == "BOOLEAN":
        return type_ == BOOLEAN
    return type_ not in (STRING, BOOLEAN)


def _check_alternative(
    query: tree.Query,
    alternative: list[tree.Expression],
    source: Source,
    keys: Mapping[str, Column],
    text: str,
) -> bool:
    """Whether every column of the key is compared with something, as it must be; True if one is only bounded."""
    seen: list[Column] = []
    bounded = False
    for node in alternative:
        _check_like(query, node, source, text)
        found = _compared(node, keys)
        if found is None:
            continue
        column, operator, value = found
        if any(isinstance(of, tree.Name) for of in tree.within(value)):
            message = "A comparison must be between a key column and a resolvable expression."
            raise _refused(message + _HELP, query, text)
        if operator != "=" and operator not in _MIRRORED:
            key = format_columns(source.key_columns)
            message = f"Bound on key columns '[{key}]' must currently be '='. "
            raise _refused(message + _HELP, query, text)
        if column in seen:
            which = "An equality" if operator == "=" else "A comparison"
            raise _refused(
                f"{which} condition on the key column cannot be combined with other comparisons such as an IN predicate."
                + _HELP,
                query,
                text,
            )
        seen.append(column)
        bounded |= operator != "="
    if not seen:
        shown = format_expression(_together(alternative))
        raise _refused(
            f"WHERE clause missing key column for disjunct: {shown}" + _HELP, query, text
        )
    if len(seen) < len(keys):
        message = (
            f"Multi-column sources must specify every key in the WHERE clause. Specified: [{format_columns(seen)}] "
            f"Expected: [{format_columns(source.key_columns)}]."
        )
        raise _refused(message + _HELP, query, text)
    return bounded


def _check_like(query: tree.Query, node: tree.Expression, source: Source, text: str) -> None:
    if not isinstance(node, tree.Like):
        return
    types = {column.name: column.type for column in source.columns}
    named = isinstance(node.value, tree.Name) and types.get(node.value.name) == STRING
    if not named or not isinstance(node.pattern, tree.Constant):
        raise _refused("Like condition must be between strings." + _HELP, query, text)


def _together(alternative: list[tree.Expression]) -> tree.Expression:
    made = alternative[0]
    for node in alternative[1:]:
        made = tree.Logical("AND", made, node)
    return made
