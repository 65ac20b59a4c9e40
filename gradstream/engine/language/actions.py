"""What a statement asks for, decided and checked: the values that the runtime carries out.

Nothing here touches Kafka, the registry or a clock. Every action keeps ``text``, its statement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gradstream.engine.catalog import Column, Source
from gradstream.engine.language.query import QueryPlan
from gradstream.engine.types import SqlType


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How a topic is made where it does not exist yet; None means: as the left-most source's, else the broker's.

    Attributes:
        must_exist: CREATE without PARTITIONS over a topic that is not there is an error (ksqlDB's wording is
            in ``missing_message``).
    """

    name: str
    partitions: int | None = None
    replicas: int | None = None
    retention_ms: int | None = None
    must_exist: bool = False

    @property
    def missing_message(self) -> str:
        return (
            f"Topic '{self.name}' does not exist. If you want to create a new topic for the stream/table please "
            "re-run the statement providing the required 'PARTITIONS' configuration in the WITH clause (and "
            "optionally 'REPLICAS'). For example: CREATE STREAM/TABLE … WITH (KAFKA_TOPIC="
            f"'{self.name}', PARTITIONS=1, …);"
        )


@dataclass(frozen=True, slots=True)
class CreateSource:
    """CREATE STREAM or TABLE over a topic."""

    text: str
    source: Source
    topic: TopicSettings
    replace: bool = False
    inferred: bool = False


@dataclass(frozen=True, slots=True)
class StartQuery:
    """CREATE … AS SELECT (with ``sink``, ``creates_sink``), INSERT INTO … SELECT (with ``sink``), or SELECT (neither).

    Attributes:
        query: the plan; its ``query_id`` is CSAS_NAME_n, CTAS_NAME_n, INSERTQUERY_n or transient_NAME_n.
        sink: the stream or table written, None for a transient query.
        creates_sink: False for INSERT INTO.
        topic: the sink's topic, None for a transient query.
        replaces: id of the query that CREATE OR REPLACE takes the place of, if the caller told it.
        kind: ``persistent``, ``push`` (EMIT CHANGES) or ``pull`` (from the earliest record to the end, then done).
    """

    text: str
    query: QueryPlan
    kind: Literal["persistent", "push", "pull"]
    sink: Source | None = None
    creates_sink: bool = False
    topic: TopicSettings | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class InsertValues:
    """One row for a source, as Python values (see types.py) in the order of the source's columns, None where absent.

    Attributes:
        timestamp: ROWTIME where given, else None: now.
        value_is_null: every value column was left out or NULL on a table: a tombstone.
    """

    text: str
    source: Source
    values: tuple[Any, ...]
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class DropSource:
    """``source`` is None where IF EXISTS met nothing."""

    text: str
    name: str
    kind: Literal["stream", "table"]
    source: Source | None
    delete_topic: bool = False


@dataclass(frozen=True, slots=True)
class AlterSource:
    """ALTER … ADD COLUMN: the source as it becomes."""

    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class ControlQuery:
    """TERMINATE, PAUSE, RESUME; query_id None means ALL."""

    text: str
    verb: Literal["TERMINATE", "PAUSE", "RESUME"]
    query_id: str | None


@dataclass(frozen=True, slots=True)
class Show:
    """``what``: STREAMS, TABLES, TOPICS, ALL TOPICS, QUERIES, PROPERTIES, FUNCTIONS, TYPES, VARIABLES."""

    text: str
    what: str
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """DESCRIBE x [EXTENDED], or DESCRIBE STREAMS/TABLES: one or several sources."""

    text: str
    sources: tuple[Source, ...]
    extended: bool = False
    several: bool = False


@dataclass(frozen=True, slots=True)
class DescribeFunction:
    """``signatures`` are (argument types as text, return type as text, variadic)."""

    text: str
    name: str
    category: str
    description: str
    kind: Literal["SCALAR", "AGGREGATE", "TABLE"]
    signatures: tuple[tuple[tuple[str, ...], str, bool], ...]


@dataclass(frozen=True, slots=True)
class Explain:
    """EXPLAIN of a running query (``query_id``) or of a statement (``action``, ``plan`` as an indented tree)."""

    text: str
    query_id: str | None = None
    action: StartQuery | None = None
    plan: str = ""


@dataclass(frozen=True, slots=True)
class SetProperty:
    """Value None: UNSET."""

    text: str
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class DefineVariable:
    """Value None: UNDEFINE."""

    text: str
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class PrintTopic:
    text: str
    topic: str
    from_beginning: bool = False
    interval: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class CreateType:
    text: str
    name: str
    type: SqlType


@dataclass(frozen=True, slots=True)
class DropType:
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class AssertTopic:
    """ASSERT [NOT EXISTS] TOPIC: settings as given, timeout in milliseconds."""

    text: str
    topic: str
    settings: dict[str, Any] = field(default_factory=dict)
    exists: bool = True
    timeout: int = 1000


@dataclass(frozen=True, slots=True)
class AssertSchema:
    text: str
    subject: str | None
    schema_id: int | None
    exists: bool = True
    timeout: int = 1000


@dataclass(frozen=True, slots=True)
class Nothing:
    """IF NOT EXISTS found it, IF EXISTS did not: ``message`` is ksqlDB's warning or success message.

    Attributes:
        warning: True for a ``warning_entity``, False for a ``currentStatus`` that succeeded.
    """

    text: str
    message: str
    warning: bool = True


Action: TypeAlias = (
    CreateSource
    | StartQuery
    | InsertValues
    | DropSource
    | AlterSource
    | ControlQuery
    | Show
    | Describe
    | DescribeFunction
    | Explain
    | SetProperty
    | DefineVariable
    | PrintTopic
    | CreateType
    | DropType
    | AssertTopic
    | AssertSchema
    | Nothing
)

__all__ = ["Action", "Column"]
