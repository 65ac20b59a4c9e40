"""Expressions, types and schemas as ksqlDB prints them in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gradstream.engine.catalog import Column
from gradstream.engine.language import tree
from gradstream.engine.language.parser import RESERVED
from gradstream.engine.types import SqlType
from gradstream.wire.java_text import double_text

_PLAIN_NAME = re.compile(r"[A-Z_][A-Z0-9_@]*\Z")


def format_name(name: str) -> str:
    """A name as it must be written: in backquotes where it would not survive otherwise."""
    if _PLAIN_NAME.match(name) and name not in RESERVED:
        return name
    return "`" + name.replace("`", "``") + "`"


def format_type(type_: SqlType | None) -> str:
    return "null" if type_ is None else str(type_)


def format_column(column: Column) -> str:
    """`` `K` STRING KEY``."""
    role = {"key": " KEY", "header": " HEADERS"}.get(column.role, "")
    if column.header is not None:
        role = f" HEADER('{column.header}')"
    return f"`{column.name}` {column.type}{role}"


def format_columns(columns: Iterable[Column]) -> str:
    return ", ".join(format_column(column) for column in columns)


def _constant(node: tree.Constant) -> str:
    match node.kind:
        case "NULL":
            return "null"
        case "BOOLEAN":
            return "true" if node.value else "false"
        case "STRING":
            return "'" + str(node.value).replace("'", "''") + "'"
        case "DECIMAL":
            return f"{node.value:f}"
        case "DOUBLE" if isinstance(node.value, float):
            return double_text(node.value)
    return str(node.value)


def _list(items: Iterable[tree.Expression]) -> str:
    return ", ".join(map(format_expression, items))


def _case(node: tree.Case) -> str:
    parts = ["CASE"]
    if node.operand is not None:
        parts.append(format_expression(node.operand))
    for condition, result in node.whens:
        parts.append(f"WHEN {format_expression(condition)} THEN {format_expression(result)}")
    if node.default is not None:
        parts.append(f"ELSE {format_expression(node.default)}")
    return "(" + " ".join(parts) + " END)"


def format_expression(node: tree.Expression) -> str:
    """The text of an expression; operators are always in parentheses."""
    text = format_expression
    match node:
        case tree.Constant():
            return _constant(node)
        case tree.Name(name, source):
            return f"{format_name(source)}.{format_name(name)}" if source else format_name(name)
        case tree.Field(base, name):
            return f"{text(base)}->{name if name == '*' else format_name(name)}"
        case tree.Subscript(base, index):
            return f"{text(base)}[{text(index)}]"
        case tree.Arithmetic(operator, left, right):
            return f"({text(left)} {operator} {text(right)})"
        case tree.Sign(operator, value):
            shown = text(value)
            apart = " " * shown.startswith("-")  # two would begin a comment
            return f"{operator}{apart}{shown}"
        case tree.Comparison(operator, left, right) | tree.Logical(operator, left, right):
            return f"({text(left)} {operator} {text(right)})"
        case tree.Not(value):
            return f"(NOT {text(value)})"
        case tree.IsNull(value, negated):
            return f"({text(value)} IS {'NOT ' * negated}NULL)"
        case tree.Between(value, low, high):
            return f"({text(value)} BETWEEN {text(low)} AND {text(high)})"
        case tree.In(value, items):
            return f"({text(value)} IN ({_list(items)}))"
        case tree.Like(value, pattern, escape):
            ending = "" if escape is None else f" ESCAPE '{escape}'"
            return f"({text(value)} LIKE {text(pattern)}{ending})"
        case tree.Case():
            return _case(node)
        case tree.Cast(value, type_):
            return f"CAST({text(value)} AS {type_})"
        case tree.Call(name, arguments):
            return f"{name}({_list(arguments) or '*' * (name == 'COUNT')})"
        case tree.ArrayOf(items):
            return f"ARRAY[{_list(items)}]"
        case tree.MapOf(pairs):
            return "MAP(" + ", ".join(f"{text(k)}:={text(v)}" for k, v in pairs) + ")"
        case tree.StructOf(fields):
            return "STRUCT(" + ", ".join(f"{format_name(n)}:={text(v)}" for n, v in fields) + ")"
        case tree.Lambda(parameters, body):
            names = ", ".join(parameters)
            return f"({names}) => {text(body)}"
        case tree.Unit(name):
            return name
    raise TypeError(f"no text for {node!r}")
