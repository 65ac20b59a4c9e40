"""From text to action: everything that the runtime asks of the language.

    for statement in parse(text):                       # syntax only; each statement with its exact text and place
        action = plan_statement(statement, catalog, properties, infer=…, number=7)
        apply(action, catalog)                          # catalog only: the runtime does Kafka

All of it is pure: planning a script on ``catalog.copy()`` first is the sandbox. Errors are SqlError with line,
column and an excerpt with carets; ``bare_message`` is ksqlDB's wording. DEFINE and ${name} are the
caller's loop: ``plan_script`` shows it, statement by statement, since a DEFINE changes what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from gradstream.engine import tree
from gradstream.engine.actions import (
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
from gradstream.engine.catalog import Catalog, Column, Format
from gradstream.engine.query import Evaluated, QueryPlan, Step

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

# (topic, is_key, format) -> the columns of that topic's registered schema (Format.schema_id chooses one).
# Raises SqlError or UnavailableError where there is none.
Infer: TypeAlias = Callable[[str, bool, Format], tuple[Column, ...]]


def parse(text: str) -> list[tree.Statement]:
    """The statements of a text, each with its place in it.

    Raises:
        SqlError: SYNTAX_ERROR, BAD_CHARACTER, OPEN_QUOTE, TOO_COMPLEX.
    """
    raise NotImplementedError


def split(text: str) -> list[str]:
    """The texts of the statements, without parsing them, for running a script statement by statement.

    ``${name}`` may stand anywhere; substitute() each before it is parsed.
    """
    raise NotImplementedError


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """``${name}`` replaced; names are case-insensitive. ``'${x}'`` in quotes keeps the quotes (quotes doubled).

    Raises:
        SqlError: a value that would end the identifier or literal that it stands in.
    """
    raise NotImplementedError


def plan_statement(
    statement: tree.Statement,
    catalog: Catalog,
    properties: Mapping[str, object],
    *,
    infer: Infer | None = None,
    number: int = 0,
) -> Action:
    """What a statement asks for, checked against the catalog.

    Args:
        properties: server properties with the request's overrides, such as
            ``ksql.persistence.default.format.value`` and ``ksql.variable.substitution.enable``.
        infer: schema inference for CREATE without columns; None refuses.
        number: the n of the query ids CSAS_NAME_n, CTAS_NAME_n, INSERTQUERY_n and transient_NAME_n.

    Raises:
        SqlError: with the place of the offending expression.
    """
    raise NotImplementedError


def apply(action: Action, catalog: Catalog) -> None:
    """Enter what the action creates, alters or drops into the catalog; other actions change nothing."""
    raise NotImplementedError
