"""What the parser makes of a text: statements, queries and expressions, each with its place.

``at`` is a pair of offsets ``(start, end)`` into the text that was parsed; line and column are computed only when an
error needs them. It takes no part in comparisons, so two equal expressions at different places are equal.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal as OneOf
from typing import TypeAlias

from gradstream.engine.types import SqlType

At: TypeAlias = tuple[int, int]
NOWHERE: At = (0, 0)


@dataclass(frozen=True, slots=True)
class NamedType(SqlType):
    """A type that only the catalog can resolve (CREATE TYPE)."""

    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name


# Expressions


@dataclass(frozen=True, slots=True)
class Expression:
    """Base of all expressions; ``format_expression`` prints them as ksqlDB does."""


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """A literal; ``kind`` is NULL, BOOLEAN, INTEGER, BIGINT, DECIMAL, DOUBLE or STRING."""

    kind: str
    value: bool | int | float | decimal.Decimal | str | None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A column, perhaps of a named source, or a lambda's parameter."""

    name: str
    source: str | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Field(Expression):
    """``base->name``; name ``*`` stands for all fields."""

    base: Expression
    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Subscript(Expression):
    base: Expression
    index: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Arithmetic(Expression):
    """``operator`` is one of ``+ - * / %``."""

    operator: str
    left: Expression
    right: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Sign(Expression):
    """Unary plus or minus."""

    operator: str
    value: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Comparison(Expression):
    """``operator`` is one of ``= <> < <= > >=``, ``IS DISTINCT FROM`` and ``IS NOT DISTINCT FROM``."""

    operator: str
    left: Expression
    right: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Logical(Expression):
    """``operator`` is AND or OR."""

    operator: str
    left: Expression
    right: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Not(Expression):
    value: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class IsNull(Expression):
    value: Expression
    negated: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Between(Expression):
    value: Expression
    low: Expression
    high: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class In(Expression):
    value: Expression
    items: tuple[Expression, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Like(Expression):
    value: Expression
    pattern: Expression
    escape: str | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """``operand`` is None for a searched CASE."""

    operand: Expression | None
    whens: tuple[tuple[Expression, Expression], ...]
    default: Expression | None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Cast(Expression):
    value: Expression
    type: SqlType
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function call; ``COUNT(*)`` has no arguments."""

    name: str
    arguments: tuple[Expression, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ArrayOf(Expression):
    items: tuple[Expression, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MapOf(Expression):
    items: tuple[tuple[Expression, Expression], ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StructOf(Expression):
    fields: tuple[tuple[str, Expression], ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Lambda(Expression):
    parameters: tuple[str, ...]
    body: Expression
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unit(Expression):
    """A time unit as an argument: DAYS in ``TIMESTAMPADD(DAYS, 3, t)``; always plural."""

    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


def within(node: Expression) -> Iterator[Expression]:
    """An expression and all that it is made of."""
    yield node
    inner: list[object] = [getattr(node, of.name) for of in fields(node)]
    while inner:
        of = inner.pop()
        if isinstance(of, Expression):
            yield from within(of)
        elif isinstance(of, tuple):
            inner += of


# Queries


@dataclass(frozen=True, slots=True)
class Item:
    """One item of SELECT: an expression with an optional alias; ``*`` has no expression, perhaps a source."""

    expression: Expression | None
    alias: str | None = None
    source: str | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class From:
    """A source of a query."""

    name: str
    alias: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Duration:
    """``5 MINUTES`` in milliseconds."""

    milliseconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Join:
    kind: OneOf["INNER", "LEFT", "RIGHT", "OUTER"]
    left: Relation
    right: From
    on: Expression
    before: Duration | None = None
    after: Duration | None = None
    grace: Duration | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


Relation: TypeAlias = From | Join


def unjoined(relation: Relation) -> tuple[From, list[Join]]:
    """The left-most source, and what is joined to it, in order."""
    joins: list[Join] = []
    while isinstance(relation, Join):
        joins.insert(0, relation)
        relation = relation.left
    return relation, joins


@dataclass(frozen=True, slots=True)
class Window:
    kind: OneOf["TUMBLING", "HOPPING", "SESSION"]
    size: Duration
    advance: Duration | None = None
    retention: Duration | None = None
    grace: Duration | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    items: tuple[Item, ...]
    source: Relation
    window: Window | None = None
    where: Expression | None = None
    group_by: tuple[Expression, ...] = ()
    partition_by: tuple[Expression, ...] = ()
    having: Expression | None = None
    emit: OneOf["CHANGES", "FINAL"] | None = None
    limit: int | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


# Statements

Setting: TypeAlias = Constant
Kind: TypeAlias = OneOf["stream", "table"]


@dataclass(frozen=True, slots=True)
class Element:
    """A column of CREATE: ``role`` is VALUE, KEY, PRIMARY KEY, HEADERS or HEADER."""

    name: str
    type: SqlType
    role: str = "VALUE"
    header: str | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CreateSource:
    kind: Kind
    name: str
    elements: tuple[Element, ...]
    settings: dict[str, Setting]
    replace: bool = False
    if_not_exists: bool = False
    is_source: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CreateAsSelect:
    kind: Kind
    name: str
    query: Query
    settings: dict[str, Setting]
    replace: bool = False
    if_not_exists: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class InsertSelect:
    name: str
    query: Query
    settings: dict[str, Setting]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class InsertRow:
    """INSERT INTO … VALUES; no columns stands for all."""

    name: str
    columns: tuple[str, ...]
    values: tuple[Expression, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DropSource:
    kind: Kind
    name: str
    if_exists: bool = False
    delete_topic: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AlterSource:
    kind: Kind
    name: str
    elements: tuple[Element, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ControlQuery:
    """TERMINATE, PAUSE or RESUME; ``query`` None means ALL."""

    verb: OneOf["TERMINATE", "PAUSE", "RESUME"]
    query: str | None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class List:
    """SHOW or LIST; ``what`` is STREAMS, TABLES, TOPICS, ALL TOPICS, QUERIES, PROPERTIES, FUNCTIONS, TYPES, VARIABLES."""

    what: str
    extended: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DescribeSource:
    name: str
    extended: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DescribeAll:
    """DESCRIBE STREAMS or DESCRIBE TABLES."""

    kind: Kind
    extended: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DescribeFunction:
    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ExplainQuery:
    """EXPLAIN of a running query's id or of a statement."""

    query_id: str | None
    statement: Body | None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SetProperty:
    name: str
    value: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class UnsetProperty:
    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AlterSystem:
    name: str
    value: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DefineVariable:
    name: str
    value: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class UndefineVariable:
    name: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PrintTopic:
    topic: str
    from_beginning: bool = False
    interval: int | None = None
    limit: int | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CreateType:
    name: str
    type: SqlType
    if_not_exists: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DropType:
    name: str
    if_exists: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AssertTopic:
    topic: str
    settings: dict[str, Setting]
    exists: bool = True
    timeout: Duration | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AssertSchema:
    subject: str | None
    schema_id: int | None
    exists: bool = True
    timeout: Duration | None = None
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A statement that the grammar knows and no stage carries out: connectors, RUN SCRIPT, ASSERT VALUES …"""

    what: str
    at: At = field(default=NOWHERE, compare=False, repr=False)


Body: TypeAlias = (
    CreateSource
    | CreateAsSelect
    | InsertSelect
    | InsertRow
    | Query
    | DropSource
    | AlterSource
    | ControlQuery
    | List
    | DescribeSource
    | DescribeAll
    | DescribeFunction
    | ExplainQuery
    | SetProperty
    | UnsetProperty
    | AlterSystem
    | DefineVariable
    | UndefineVariable
    | PrintTopic
    | CreateType
    | DropType
    | AssertTopic
    | AssertSchema
    | Unsupported
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text.

    Attributes:
        text: exactly as written, from its first token through its semicolon.
        body: what it says.
        source: the whole text that was parsed; every ``at`` counts into it.
        line, column: 1-based place of its first token in ``source``.
    """

    text: str
    body: Body
    source: str = field(repr=False)
    line: int = 1
    column: int = 1
