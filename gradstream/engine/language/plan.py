"""From text to action: everything that the runtime asks of the language.

    for statement in parse(text):                       # syntax only; each statement with its exact text and place
        action = plan_statement(statement, catalog, properties, infer=…, number=7)
        apply(action, catalog)                          # catalog only: the runtime does Kafka

All of it is pure: planning a script on ``catalog.copy()`` first is the sandbox. Errors are SqlError with line,
column and an excerpt with carets; ``bare_message`` is ksqlDB's wording. Since a DEFINE changes what follows, a script
with variables is run as ``for piece in split(text): for statement in parse(substitute(piece, variables)): …``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from gradstream.engine.catalog import Catalog
from gradstream.engine.language import tree
from gradstream.engine.language.actions import (
    Action,
    AlterSource,
    AssertSchema,
    AssertTopic,
    ControlQuery,
    CreateSource,
    CreateType,
    DefineVariable,
    Describe,
    DescribeFunction,
    DropSource,
    DropType,
    Explain,
    InsertValues,
    Nothing,
    PrintTopic,
    SetProperty,
    Show,
    StartQuery,
    TopicSettings,
)
from gradstream.engine.language.lexer import error_at, place, tokens
from gradstream.engine.language.parser import DEEPEST, parse_text, statement_texts
from gradstream.engine.language.planner import Infer, Partitions, Planner
from gradstream.engine.language.query import Evaluated, QueryPlan, Step
from gradstream.engine.language.statement_format import format_statement
from gradstream.errors import SqlError

__all__ = [
    "Action",
    "AlterSource",
    "AssertSchema",
    "AssertTopic",
    "ControlQuery",
    "CreateSource",
    "CreateType",
    "DefineVariable",
    "Describe",
    "DescribeFunction",
    "DropSource",
    "DropType",
    "Evaluated",
    "Explain",
    "Infer",
    "InsertValues",
    "Nothing",
    "Partitions",
    "PrintTopic",
    "QueryPlan",
    "SetProperty",
    "Show",
    "StartQuery",
    "Step",
    "TopicSettings",
    "apply",
    "parse",
    "plan_statement",
    "split",
    "substitute",
]


def parse(text: str, deepest: int = DEEPEST) -> list[tree.Statement]:
    """The statements of a text, each with its place in it.

    Args:
        deepest: levels to which expressions may nest; the stages after this one are safe up to DEEPEST.

    Raises:
        SqlError: SYNTAX_ERROR, BAD_CHARACTER, OPEN_QUOTE, TOO_COMPLEX.
    """
    return parse_text(text, deepest)


def split(text: str) -> list[str]:
    """The texts of the statements, not parsed yet, for running a script statement by statement.

    Each is preceded by as many empty lines and spaces as put it where it stands in the script, so that places in
    errors are the script's.
    """
    pieces = []
    for start, end in statement_texts(text):
        line, column = place(text, start)
        pieces.append("\n" * (line - 1) + " " * (column - 1) + text[start:end])
    return pieces


_VARIABLE = re.compile(r"\$\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}")
_STRETCHES = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|--[^\r\n]*|/\*.*?\*/", re.DOTALL
)


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """``${name}`` replaced by its value; names are case-insensitive, unknown ones stay.

    Within quotes the value becomes part of the literal or name, its own quotes doubled. Elsewhere it must be one
    name, number or literal: a value cannot smuggle in a statement.

    Raises:
        SqlError: BAD_VARIABLE.
    """
    if "${" not in text:
        return text
    known = {name.upper(): value for name, value in variables.items()}
    out: list[str] = []
    last = 0
    for stretch in _STRETCHES.finditer(text):
        out.append(_substitute_bare(text, last, stretch.start(), known))
        quoted = stretch.group()
        quote = quoted[0]
        if quote in "'\"`":
            quoted = _substitute_quoted(quoted, known)
        out.append(quoted)
        last = stretch.end()
    out.append(_substitute_bare(text, last, len(text), known))
    return "".join(out)


def _substitute_quoted(quoted: str, known: Mapping[str, str]) -> str:
    quote = quoted[0]

    def value(match: re.Match[str]) -> str:
        return known.get(match[1].upper(), match[0]).replace(quote, quote * 2)

    return _VARIABLE.sub(value, quoted)


def _substitute_bare(text: str, start: int, end: int, known: Mapping[str, str]) -> str:
    out: list[str] = []
    last = start
    for match in _VARIABLE.finditer(text, start, end):
        value = known.get(match[1].upper())
        if value is None:
            continue
        if not _is_one_token(value):
            raise error_at(
                "BAD_VARIABLE",
                f"Got: '{value}' for ${{{match[1]}}}, which must be one name, number or literal here; "
                "put the reference in quotes to use it as text",
                text,
                match.span(),
            )
        out += (text[last : match.start()], value)
        last = match.end()
    return "".join(out) + text[last:end]


def _is_one_token(value: str) -> bool:
    try:
        found = tokens(value)
    except SqlError:
        return False
    kinds = [token[0] for token in found]
    if kinds == ["symbol", "integer", "end"] or kinds == ["symbol", "decimal", "end"]:
        return found[0][1] in ("-", "+")
    return len(kinds) == 2 and kinds[0] != "symbol"


def plan_statement(
    statement: tree.Statement,
    catalog: Catalog,
    properties: Mapping[str, object],
    *,
    infer: Infer | None = None,
    partitions: Partitions | None = None,
    number: int = 0,
) -> Action:
    """What a statement asks for, checked against the catalog.

    Args:
        properties: server properties with the request's overrides, such as
            ``ksql.persistence.default.format.value``.
        infer: (topic, is_key, format) -> the columns of that topic's registered schema, for CREATE without columns and
            for VALUE_SCHEMA_ID and KEY_SCHEMA_ID; None refuses such statements.
        partitions: topic -> how many partitions it has, None where that is not known; joined topics must agree.
        number: the n of the query ids CSAS_NAME_n, CTAS_NAME_n and INSERTQUERY_n.

    Raises:
        SqlError: with the place of the offending expression.
    """
    planner = Planner(statement, catalog, properties, infer, number, partitions)
    try:
        return planner.plan(statement.body)
    except SqlError as error:
        error.statement = format_statement(statement, catalog)
        raise


def apply(action: Action, catalog: Catalog) -> None:
    """Enter what the action creates, alters or drops into the catalog; other actions change nothing."""
    match action:
        case CreateSource(source=source) | AlterSource(source=source):
            catalog.sources[source.name] = source
        case StartQuery(sink=sink, creates_sink=True) if sink is not None:
            catalog.sources[sink.name] = replace(sink)
        case DropSource(name=name):
            catalog.sources.pop(name, None)
        case CreateType(name=name, type=type_):
            catalog.types[name] = type_
        case DropType(name=name):
            catalog.types.pop(name, None)
        case _:
            pass
