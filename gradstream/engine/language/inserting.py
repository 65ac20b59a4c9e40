"""Values of INSERT INTO … VALUES: expressions without columns, brought to the columns' types."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from gradstream.engine.catalog import Column
from gradstream.engine.language import tree
from gradstream.engine.language.analyze import Analyzer, Typed
from gradstream.engine.language.casts import cast_function, is_numeric, widens
from gradstream.engine.language.codegen import Compiled
from gradstream.engine.language.lexer import error_at
from gradstream.engine.types import BYTES, STRING, Array, Decimal, SqlType, Struct


def inserted(
    node: tree.Expression, column: Column, source: str, text: str, types: Mapping[str, SqlType]
) -> Any:
    """The value of an expression without columns, as a value of the column's type.

    Args:
        source: the name of the stream or table, for messages.
        text: what was parsed, for the places of errors.
        types: those of CREATE TYPE.

    Raises:
        SqlError: BAD_VALUE or TYPE_MISMATCH.
    """
    item = _NoColumns(text, {}, (), types).of(node)
    at: tree.At = getattr(node, "at", tree.NOWHERE)
    if item.type is None:
        return None
    errors: list[tuple[int, str]] = []
    value = Compiled(item).run([], 1, errors)[0]
    if errors:
        raise error_at(
            "BAD_VALUE",
            f"Failed to insert values into '{source}'. {errors[0][1]}",
            text,
            at,
        )
    if value is None:
        return None
    try:
        return _insert_cast(item.type, column.type)(value)
    except (ValueError, ArithmeticError) as error:
        detail = f" {error}" if str(error) else ""
        raise error_at(
            "TYPE_MISMATCH",
            f"Failed to insert values into '{source}'. Expected type {column.type} for field "
            f"`{column.name}` but got {_shown(value)}({item.type}).{detail}",
            text,
            at,
        ) from None


class _NoColumns(Analyzer):
    """Expressions of INSERT VALUES, which may not name columns."""

    def name(self, node: tree.Name) -> Typed:
        if node.source is None and node.name in self.parameters:
            return Analyzer.name(self, node)
        if node.source is not None:
            raise self.error(
                "UNKNOWN_STREAM",
                f"Failed to prepare statement: '{node.source}' is not a valid stream/table name or alias.",
                node,
            )
        raise self.error(
            "UNKNOWN_COLUMN",
            f"Failed to insert values. Illegal column reference `{node.name}`: give literals or functions of "
            "them, and text in single quotes",
            node,
        )

    def of(self, node: tree.Expression) -> Typed:
        if type(node) is tree.Name:
            return self.name(node)
        return Analyzer.of(self, node)


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _insert_cast(source: SqlType, target: SqlType) -> Callable[[Any], Any]:
    """Stricter than CAST: widening, and texts for what has no literal of its own."""
    cast = cast_function(source, target)
    texts = source == STRING and (str(target) in ("DATE", "TIME", "TIMESTAMP"))
    allowed = (
        source == target
        or widens(source, target)
        or texts
        or (isinstance(target, Decimal) and (source == STRING or is_numeric(source)))
        or (type(source) is type(target) and isinstance(source, Array | Struct))
        or str(source).startswith("MAP")
    )
    if source == STRING and target == BYTES:
        return _base64
    if cast is None or not allowed:
        raise ValueError
    return cast


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
