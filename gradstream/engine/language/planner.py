"""A statement and the catalog to an action: everything checked, nothing done."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.catalog import Catalog, Column, Format, Source, TimestampColumn
from gradstream.engine.language import actions, functions, tree
from gradstream.engine.language.analyze import PSEUDO, Typed, nearest, resolve_type
from gradstream.engine.language.casts import widens
from gradstream.engine.language.evaluation import Evaluator, Output, Timed
from gradstream.engine.language.formatting import format_columns, format_expression, format_name
from gradstream.engine.language.functions.java_time import timestamp_reader
from gradstream.engine.language.grouping import Grouped, group
from gradstream.engine.language.inserting import inserted
from gradstream.engine.language.joining import Joined, join
from gradstream.engine.language.lexer import error_at, place
from gradstream.engine.language.physical_schema import check_physical
from gradstream.engine.language.preparing import check_qualifiers
from gradstream.engine.language.projection import (
    RESERVED_COLUMNS,
    Projected,
    check_unique,
    project,
    split_keys,
)
from gradstream.engine.language.pulling import check_where, keys_asked
from gradstream.engine.language.query import Evaluate, QueryPlan, Step
from gradstream.engine.language.schema_rules import check_format, check_no_maps
from gradstream.engine.language.settings import (
    Settings,
    make_format,
    read_settings,
    read_window,
)
from gradstream.engine.language.showing import any_key, grouped_whole, shown_keys
from gradstream.engine.language.starting import (
    clocked,
    columns_read,
    joined_reads,
    not_started,
    starter,
    windowed_key,
)
from gradstream.engine.language.tasks import PARTITION
from gradstream.engine.types import (
    BIGINT,
    BYTES,
    INTEGER,
    STRING,
    TIMESTAMP,
    Array,
    Decimal,
    SqlType,
    Struct,
)
from gradstream.errors import GradstreamError, SqlError

Infer: TypeAlias = Callable[[str, bool, Format], tuple[Column, ...]]
Partitions: TypeAlias = Callable[[str], int | None]
ALL_HEADERS = Array(Struct((("KEY", STRING), ("VALUE", BYTES))))


class Planner:
    """Plans one statement.

    Args:
        number: the n of the query ids.
    """

    def __init__(
        self,
        statement: tree.Statement,
        catalog: Catalog,
        properties: Mapping[str, object],
        infer: Infer | None,
        number: int,
        partitions: Partitions | None = None,
    ) -> None:
        self.text = statement.text
        self.script = statement.source
        self.catalog = catalog
        self.properties = properties
        self.infer = infer
        self.number = number
        self.partitions = partitions

    def plan(self, body: tree.Body) -> actions.Action:
        rule = _RULES[type(body)]
        try:
            if isinstance(body, tree.CreateAsSelect | tree.InsertSelect):
                check_qualifiers(body.query, self.script)
            elif isinstance(body, tree.Query):
                check_qualifiers(body, self.script)
            return rule(self, body)
        except RecursionError:
            raise self.error(
                "TOO_COMPLEX", "an expression of this statement is too long; split it", body.at
            ) from None

    def error(self, code: str, message: str, at: tree.At) -> SqlError:
        return error_at(code, message, self.script, at)

    def unsupported(self, what: str, at: tree.At) -> NoReturn:
        raise self.error("UNSUPPORTED", f"{what} is not supported yet", at)

    def placed(self, at: tree.At) -> str:
        """ksqlDB's own way to say where."""
        line, column = place(self.script, at[0])
        return f"Line: {line}, Col: {column}: "

    # CREATE over a topic

    def create_source(self, body: tree.CreateSource) -> actions.Action:
        if (found := self.existing(body.name, body)) is not None:
            return found
        settings = self.settings(body.settings, body.at)
        if settings.topic is None:
            raise self.error(
                "BAD_SETTING",
                'Failed to prepare statement: Missing required property "KAFKA_TOPIC" which has no default value.',
                body.at,
            )
        window = self.at_statement(
            body.at, lambda: read_window(settings.window_type, settings.window_size)
        )
        value_format = self.value_format(settings, body.at)
        key_format = self.key_format(settings, body.at)
        columns = tuple(self.column(element, body.kind) for element in body.elements)
        inferred = self.inferred(settings.topic, columns, key_format, value_format, body)
        if inferred:  # keys first, whoever gave them
            columns = tuple(sorted(inferred + columns, key=lambda column: column.role != "key"))
        if body.kind == "table" and not any(column.role == "key" for column in columns):
            raise self.error(
                "BAD_SCHEMA",
                "Tables require a PRIMARY KEY. Please define the PRIMARY KEY.",
                body.at,
            )
        self.check_names(columns, body)
        source = Source(
            body.name, body.kind, columns, settings.topic, key_format, value_format,
            self.timestamp(settings, columns, body.at), self.text, body.is_source, window,
        )  # fmt: skip
        self.check_formats(source, settings, body.at)
        self.check_upgrade(source, body)
        topic = actions.TopicSettings(
            settings.topic,
            settings.partitions,
            settings.replicas,
            settings.retention_ms,
            must_exist=settings.partitions is None,
        )
        return actions.CreateSource(self.text, source, topic, body.replace, bool(inferred))

    def existing(
        self, name: str, body: tree.CreateSource | tree.CreateAsSelect
    ) -> actions.Nothing | None:
        """Is the name free? IF NOT EXISTS and OR REPLACE allow that it is not."""
        there = self.catalog.sources.get(name)
        new_source = isinstance(body, tree.CreateSource) and body.is_source
        if body.replace and (new_source or (there is not None and there.is_source)):
            raise self.error(
                "UNSUPPORTED",
                f"Cannot add {body.kind} '{name}': CREATE OR REPLACE is not supported on source {body.kind}s.",
                body.at,
            )
        if there is None:
            return None
        message = (
            f"Cannot add {body.kind} '{name}': A {there.kind} with the same name already exists"
        )
        if body.if_not_exists:
            return actions.Nothing(
                self.text,
                f"Cannot add {body.kind} `{name}`: A {there.kind} with the same name already exists.",
            )
        if not body.replace or there.kind != body.kind:
            raise self.error("ALREADY_EXISTS", message, body.at)
        return None

    def check_upgrade(self, new: Source, body: tree.CreateSource | tree.CreateAsSelect) -> None:
        """Can what reads the source that OR REPLACE replaces go on with the new one?"""
        old = self.catalog.sources.get(new.name)
        if old is None or not body.replace:
            return
        has, change = "", ""
        if old.topic != new.topic:
            has, change = f"topic = {old.topic}", new.topic
        lost = [column for column in old.columns if column not in new.columns]
        lost = lost or [a for a, b in zip(old.columns, new.columns, strict=False) if a != b]
        if lost:
            has = f"schema = {format_columns(old.columns)}"
            change = (
                f"{format_columns(new.columns)}. (The following columns are changed, missing or reordered: "
                f"[{format_columns(lost)}])"
            )
        if has:
            raise self.error(
                "INCOMPATIBLE",
                f"Cannot upgrade data source: DataSource '`{new.name}`' has {has} which is not upgradeable to {change}",
                body.at,
            )

    def settings(self, given: Mapping[str, tree.Setting], at: tree.At) -> Settings:
        try:
            return read_settings(given)
        except SqlError as error:
            raise self.error(error.code, error.bare_message, at) from None

    def at_statement(self, at: tree.At, check: Callable[[], Any]) -> Any:
        """Run a check that knows no places; its errors point at the statement."""
        try:
            return check()
        except SqlError as error:
            if error.line:
                raise
            raise self.error(error.code, error.bare_message, at) from None

    def value_format(self, settings: Settings, at: tree.At) -> Format:
        name = settings.value_format or self.default_format("value")
        if name is None:
            raise self.error(
                "BAD_SETTING",
                "Statement is missing the 'VALUE_FORMAT' property from the WITH clause. Either provide one or set a "
                "default via the 'ksql.persistence.default.format.value' config.",
                at,
            )
        made: Format = self.at_statement(
            at,
            lambda: make_format(
                name,
                delimiter=settings.value_delimiter,
                full_name=settings.value_full_name,
                schema_id=settings.value_schema_id,
                wrap_single=settings.wrap_single,
            ),
        )
        return made

    def key_format(self, settings: Settings, at: tree.At) -> Format:
        name = settings.key_format or self.default_format("key") or "KAFKA"
        made: Format = self.at_statement(
            at,
            lambda: make_format(
                name,
                delimiter=settings.key_delimiter,
                full_name=settings.key_full_name,
                schema_id=settings.key_schema_id,
            ),
        )
        return made

    def default_format(self, part: str) -> str | None:
        found = self.properties.get(f"ksql.persistence.default.format.{part}")
        return str(found).upper() if found else None

    def column(self, element: tree.Element, kind: tree.Kind) -> Column:
        type_ = resolve_type(element.type, self.catalog.types, self.script)
        wrong = {"stream": "PRIMARY KEY", "table": "KEY"}[kind]
        if element.role == wrong:
            right = "KEY' for streams" if kind == "stream" else "PRIMARY KEY' for tables"
            raise self.error(
                "BAD_SCHEMA",
                f"{self.placed(element.at)}Column `{element.name}` is a '{wrong}' column: "
                f"please use '{right}.",
                element.at,
            )
        if element.role in ("HEADERS", "HEADER"):
            return self.header_column(element, type_)
        return Column(element.name, type_, "value" if element.role == "VALUE" else "key")

    def header_column(self, element: tree.Element, type_: SqlType) -> Column:
        expected: SqlType = ALL_HEADERS if element.role == "HEADERS" else BYTES
        shown = "HEADERS" if element.role == "HEADERS" else f"HEADER('{element.header}')"
        if str(type_).upper() != str(expected):
            raise self.error(
                "BAD_SCHEMA",
                f"Invalid type for {shown} column: expected {expected}, got {type_}",
                element.at,
            )
        return Column(element.name, expected, "header", element.header)

    def inferred(
        self,
        topic: str,
        columns: tuple[Column, ...],
        key_format: Format,
        value_format: Format,
        body: tree.CreateSource,
    ) -> tuple[Column, ...]:
        """Key or value columns from the registry, where the statement gives none."""
        has_key = any(column.role == "key" for column in columns)
        has_value = any(column.role == "value" for column in columns)
        found: tuple[Column, ...] = ()
        if key_format.name == "AVRO" and not has_key:
            found += self.inferred_part(topic, True, key_format, body)
        if not has_value and value_format.name == "AVRO":
            found += self.inferred_part(topic, False, value_format, body)
        if not columns and not found:
            raise self.error("BAD_SCHEMA", "The statement does not define any columns.", body.at)
        return found

    def inferred_part(
        self, topic: str, is_key: bool, format_: Format, body: tree.CreateSource
    ) -> tuple[Column, ...]:
        """The key's or the value's columns; a key without a schema is no key."""
        try:
            return self.registered(topic, is_key, format_, body.at)
        except SqlError as error:
            if is_key and error.code.startswith("UNKNOWN") and format_.schema_id is None:
                return ()
            raise

    def check_names(self, columns: tuple[Column, ...], body: tree.CreateSource) -> None:
        seen: set[str] = set()
        for column in columns:
            at = next((e.at for e in body.elements if e.name == column.name), body.at)
            if column.name in RESERVED_COLUMNS:
                raise self.error(
                    "RESERVED_NAME",
                    f"'{column.name}' is a reserved column name. You cannot use it as a name for a column.",
                    at,
                )
            if column.name in seen:
                raise self.error("BAD_SCHEMA", f"Duplicate column names: {column.name}", at)
            seen.add(column.name)
        self.check_headers(columns, body.at)

    def check_headers(self, columns: tuple[Column, ...], at: tree.At) -> None:
        """All headers together, or some by their names, each once."""
        named = [column.header for column in columns if column.role == "header"]
        for n, header in enumerate(named):
            if None in named[:n] or (header is None and n):
                raise self.error("BAD_SCHEMA", "Schema already contains a HEADERS column.", at)
            if header in named[:n]:
                raise self.error(
                    "BAD_SCHEMA", f"Schema already contains a HEADER('{header}') column.", at
                )

    def timestamp(
        self, settings: Settings, columns: tuple[Column, ...], at: tree.At
    ) -> TimestampColumn | None:
        if settings.timestamp is None:
            if settings.timestamp_format is not None:
                raise self.error(
                    "BAD_SETTING", "'TIMESTAMP_FORMAT' needs 'TIMESTAMP', the column to read", at
                )
            return None
        name = self.column_named(settings.timestamp, columns)
        found = next((column for column in columns if column.name == name), None)
        if found is None:
            close = nearest(name, [column.name for column in columns])
            raise self.error(
                "UNKNOWN_COLUMN",
                "The TIMESTAMP column set in the WITH clause does not exist in the schema: "
                f"'{name}'.{close}",
                at,
            )
        pattern = settings.timestamp_format
        if found.type == STRING and pattern is not None:
            self.at_statement(at, lambda: timestamp_reader(pattern))
            return TimestampColumn(name, pattern)
        if found.type not in (BIGINT, TIMESTAMP):
            raise self.error(
                "TYPE_MISMATCH",
                f"Timestamp column, `{name}`, should be LONG(INT64), TIMESTAMP, or a String with a "
                "timestamp_format specified",
                at,
            )
        if pattern is not None:
            raise self.error(
                "TYPE_MISMATCH",
                f"'TIMESTAMP_FORMAT' set, but Timestamp column, `{name}`, is {found.type}, not STRING",
                at,
            )
        return TimestampColumn(name)

    def column_named(self, text: str, columns: tuple[Column, ...]) -> str:
        """A column's name as a setting gives it: quoted keeps its case, bare is upper case."""
        if len(text) > 1 and text[0] in '`"' and text[-1] == text[0]:
            return text[1:-1]
        return text.upper()

    def check_formats(self, source: Source, settings: Settings, at: tree.At) -> None:
        self.at_statement(at, lambda: check_no_maps(source.key_columns))
        if source.key_columns or source.key_format.name != "NONE":
            self.at_statement(
                at, lambda: check_format(source.key_format, source.key_columns, "Key")
            )
        values = tuple(column for column in source.columns if column.role == "value")
        self.at_statement(at, lambda: check_format(source.value_format, values, "Value"))
        if settings.wrap_single is not None and len(values) != 1:
            raise self.error(
                "BAD_SETTING",
                "'WRAP_SINGLE_VALUE' is only valid for single-field value schemas",
                at,
            )

    # Queries

    def source_of(self, query: tree.Query) -> tuple[Source, str]:
        """The one stream that a query reads, and its alias; everything else is refused by name."""
        assert isinstance(query.source, tree.From)
        source = self.found(query.source)
        self.check_clauses(query)
        return source, query.source.alias

    def found(self, node: tree.From) -> Source:
        source = self.catalog.sources.get(node.name)
        if source is None:
            raise self.unknown_source(
                f"Failed to prepare statement: {node.name} does not exist.", node.name, node.at
            )
        return source

    def check_clauses(self, query: tree.Query) -> None:
        """Clauses that need another one."""
        for what, found in (("WINDOW", query.window), ("HAVING", query.having)):
            if found is not None and not query.group_by:
                raise self.error(
                    "UNSUPPORTED",
                    f"{what} clause requires a GROUP BY clause.",
                    getattr(found, "at", query.at),
                )
        if query.emit == "FINAL" and query.window is None:
            raise self.error(
                "UNSUPPORTED", "EMIT FINAL is only supported for windowed aggregations.", query.at
            )

    def unknown_source(self, message: str, name: str, at: tree.At) -> SqlError:
        return self.error("UNKNOWN_STREAM", message + self.did_you_mean(name), at)

    def did_you_mean(self, name: str) -> str:
        for known in self.catalog.sources:
            if known.upper() == name.upper():
                if known == known.upper():
                    hint = "Hint: try removing double quotes from the source name."
                    return f"\nDid you mean {known}? {hint}"
                hint = "Hint: wrap the source name in double quotes to make it case-sensitive."
                return f'\nDid you mean "{known}"? {hint}'
        return nearest(name, self.catalog.sources)

    def check_pull(self, query: tree.Query) -> None:
        """A query without EMIT ends by itself, so it takes no clause that needs state."""
        for what, found in (
            ("JOIN", isinstance(query.source, tree.Join)),
            ("WINDOW", query.window is not None),
            ("GROUP BY", bool(query.group_by)),
            ("PARTITION BY", bool(query.partition_by)),
            ("HAVING", query.having is not None),
        ):
            if found:
                raise self.error(
                    "UNSUPPORTED",
                    f"Pull queries don't support {what} clauses. See https://cnfl.io/queries for more info.\n"
                    "Add EMIT CHANGES if you intended to issue a push query.",
                    query.at,
                )

    def projected(
        self,
        query: tree.Query,
        statement: str = "SELECT",
        into: tree.CreateAsSelect | tree.InsertSelect | None = None,
    ) -> tuple[Projected | Grouped, str]:
        """A query resolved, and its source's alias.

        Args:
            into: the statement that it is part of, None for a SELECT by itself.
        """
        if isinstance(query.source, tree.Join):
            return self.projected_join(query, statement, into), ""
        source, alias = self.source_of(query)
        if not query.group_by:
            types, alone = self.catalog.types, into is None
            found = project(query, source, alias, types, self.script, statement, alone=alone)
            return found, alias
        if source.value_format.name == "KAFKA":
            raise self.error(
                "UNSUPPORTED",
                f"Source(s) {source.name} are using the 'KAFKA' value format. This format does not yet support "
                "GROUP BY.",
                query.at,
            )
        grouped = group(query, source, alias, self.catalog.types, self.script, self.properties)
        self.check_aggregates(grouped, source)
        return grouped, alias

    def projected_join(
        self,
        query: tree.Query,
        statement: str,
        into: tree.CreateAsSelect | tree.InsertSelect | None,
    ) -> Projected | Grouped:
        """A query over several sources, as one over their joined rows."""
        self.check_clauses(query)
        joined = join(query, self.found, self.catalog.types, self.script)
        self.check_partitions(joined)
        query, source = joined.query, joined.source
        if query.group_by:
            grouped = group(query, source, "", self.catalog.types, self.script, self.properties)
            self.check_aggregates(grouped, source)
            return replace(grouped, joined=joined)
        if not query.partition_by:
            shown = _names_shown(joined.query)
            source = any_key(joined, shown) if into is None else self.keyed(joined, into)
        made = project(query, source, "", self.catalog.types, self.script, statement)
        return replace(made, joined=joined)

    def check_partitions(self, joined: Joined) -> None:
        """Rows with equal keys meet only where all topics have as many partitions."""
        if self.partitions is None:
            return
        first = joined.sources[0][0]
        mine = self.partitions(first.topic)
        for joint, (source, _) in zip(joined.joints, joined.sources[1:], strict=True):
            theirs = self.partitions(source.topic)
            if joint.foreign or mine is None or theirs is None or mine == theirs:
                continue
            raise self.error(
                "BAD_JOIN",
                f"Can't join `{first.name}` with `{source.name}` since the number of partitions don't match. "
                f"`{first.name}` partitions = {mine}; `{source.name}` partitions = {theirs}. Please repartition "
                "either one so that the number of partitions match.",
                joint.node.at,
            )

    def check_topics(self, joined: Joined) -> None:
        """Streams may share a topic; a table may not: it is read from the first record on, whatever a stream is."""
        seen: dict[str, Source] = {}
        for source, _ in joined.sources:
            other = seen.setdefault(source.topic, source)
            if other is source or "table" not in (source.kind, other.kind):
                continue
            table = source if source.kind == "table" else other
            raise self.error(
                "BAD_JOIN",
                f"Invalid topology: Topic {source.topic} has already been registered by another source.\n"  # noqa: S608
                f"`{other.name}` and `{source.name}` read one topic, and a table shares its topic with no other source of "
                f"a query. Make a table of its own first: CREATE TABLE … AS SELECT * FROM {table.name};",
                joined.joints[0].node.at,
            )

    def keyed(self, joined: Joined, into: tree.CreateAsSelect | tree.InsertSelect) -> Source:
        """The joined rows with the key that SELECT shows."""
        shown = _names_shown(joined.query)
        if joined.foreign:
            return self.keyed_by_primary(joined, shown)
        key = next((name for name in joined.viable if name in shown), None)
        if key is None:
            names = [joined.shown.get(name, name) for name in joined.viable]
            several = len(names) > 1
            more = (
                f"\n{names[0]} was added as a synthetic key column because the join criteria did not match any "
                "source column."
                if joined.computed
                else ""
            )
            raise self.error(
                "BAD_PROJECTION",
                f"The query used to build `{into.name}` must include the join expression{'s' * several} "
                f"{_either(names)} in its projection (eg, SELECT {names[0]}...).{more}",
                into.at,
            )
        columns = tuple(
            replace(column, role="key" if column.name == key else "value")
            for column in joined.source.columns
        )
        return replace(joined.source, columns=columns)

    def keyed_by_primary(self, joined: Joined, shown: list[str]) -> Source:
        """A join by foreign key has the left table's key, all of it."""
        left = joined.sources[0][0]
        missing = [
            column.name
            for column, name in zip(left.key_columns, joined.viable, strict=True)
            if name not in shown
        ]
        if missing:
            several = "s" * (len(missing) > 1)
            raise self.error(
                "BAD_PROJECTION",
                f"Primary key column{several} missing in projection. For foreign-key table-table joins, the projection "
                f"must include all primary key columns from the left input table (`{left.name}`). "
                f"Missing column{several}: {', '.join(f'`{name}`' for name in missing)}.",
                joined.query.at,
            )
        columns = tuple(
            replace(column, role="key" if column.name in joined.viable else "value")
            for column in joined.source.columns
        )
        return replace(joined.source, columns=columns)

    def check_aggregates(self, grouped: Grouped, source: Source) -> None:
        """Can the rows of this source go into these aggregates, and out again?"""
        at = grouped.query.at
        if source.kind == "table":
            if grouped.query.window is not None:
                raise self.error("UNSUPPORTED", "WINDOW clause is only supported for streams.", at)
            never = list(
                dict.fromkeys(of.name for of in grouped.aggregates if of.function.undo is None)
            )
            if never:
                listed = " and ".join(filter(None, [", ".join(never[:-1]), never[-1]]))
                raise self.error(
                    "BAD_AGGREGATE",
                    f"The aggregation function{'s' * (len(never) > 1)} {listed} cannot be applied to a table source, "
                    "only to a stream source.",
                    at,
                )
        if source.value_format.name == "DELIMITED" and not all(
            of.function.plain for of in grouped.aggregates
        ):
            raise self.error(
                "BAD_AGGREGATE",
                "One of the functions used in the statement has an intermediate type that the value format can not "
                "handle. Please remove the function or change the format.",
                at,
            )

    def query_plan(
        self,
        query_id: str,
        projected: Projected | Grouped,
        keys: tuple[Output, ...],
        values: tuple[Output, ...],
        *,
        sink: Source | None = None,
        limit: int | None = None,
    ) -> QueryPlan:
        source = projected.source
        read = columns_read(projected, keys, values)
        headers = {column.name for column in source.columns if column.role == "header"}
        columns = tuple(
            column.name
            for column in source.columns
            if (column.name in read and column.role != "header")
            or (source.kind == "table" and column.role == "key")
        )
        pseudo = frozenset(
            name for name in read if name in headers or name not in {c.name for c in source.columns}
        )
        tasks = frozenset({PARTITION} if clocked(projected) else ())
        time = None
        if sink is not None and sink.timestamp is not None:
            time = _sink_time(sink.timestamp)
        made = tuple(
            [Column(k.name, k.type, "key") for k in keys] + [Column(v.name, v.type) for v in values]
        )
        evaluate: Evaluate = not_started
        if source.kind == "stream" and not isinstance(projected, Grouped):
            evaluate = Evaluator(
                projected.columns,
                projected.where,
                projected.tables,
                keys,
                values,
                frozenset(_not_from_value(source)),
                time,
            )
        steps = self.steps(query_id, projected, made, sink, limit)
        start = None
        if (joined := projected.joined) is not None:
            self.check_topics(joined)
            start = starter(projected, read, keys, values, time)
            sources = tuple(of for of, _ in joined.sources)
            parts = tuple(
                _part(of, names, tasks)
                for of, names in zip(sources, joined_reads(joined, read), strict=True)
            )
            return QueryPlan(
                query_id, sources, columns, pseudo, made, limit, steps, not_started, start, parts
            )
        if source.kind == "table" or isinstance(projected, Grouped):
            start = starter(projected, read, keys, values, time)
        pseudo |= tasks
        return QueryPlan(query_id, (source,), columns, pseudo, made, limit, steps, evaluate, start)

    def steps(
        self,
        query_id: str,
        projected: Projected,
        output: tuple[Column, ...],
        sink: Source | None,
        limit: int | None,
    ) -> Step:
        source = projected.source
        step = Step(
            "SOURCE",
            f"{source.name} | Topic: {source.topic} | Schema: {format_columns(source.columns)} | "
            f"Logger: {query_id}.KsqlTopic.Source",
        )
        if projected.joined is not None:
            step = self.join_steps(query_id, projected.joined)
        if projected.query.where is not None:
            detail = f"{format_expression(projected.query.where)} | Logger: {query_id}.WhereFilter"
            step = Step("FILTER", detail, (step,))
        if isinstance(projected, Grouped):
            by = ", ".join(map(format_expression, projected.query.group_by))
            named = ", ".join(dict.fromkeys(of.name for of in projected.aggregates))
            window = projected.query.window
            shown = f" | Window: {window.kind} {window.size.text}" if window else ""
            detail = f"{named} by {by}{shown} | Logger: {query_id}.Aggregate"
            step = Step("AGGREGATE", detail, (step,))
            if projected.query.having is not None:
                detail = (
                    f"{format_expression(projected.query.having)} | Logger: {query_id}.HavingFilter"
                )
                step = Step("FILTER", detail, (step,))
        elif projected.repartitioned:
            by = ", ".join(map(format_expression, projected.query.partition_by))
            step = Step("REKEY", f"{by} | Logger: {query_id}.PartitionBy", (step,))
        step = Step(
            "PROJECT", f"Schema: {format_columns(output)} | Logger: {query_id}.Project", (step,)
        )
        if limit is not None:
            step = Step("LIMIT", str(limit), (step,))
        if sink is not None:
            step = Step("SINK", f"{sink.name} | Topic: {sink.topic}", (step,))
        return step

    def join_steps(self, query_id: str, joined: Joined) -> Step:
        def read(source: Source, alias: str) -> Step:
            return Step("SOURCE", f"{source.name} as {alias} | Topic: {source.topic}")

        step = read(*joined.sources[0])
        for joint, (source, alias) in zip(joined.joints, joined.sources[1:], strict=True):
            on = format_expression(joint.node.on)
            how = f"{joint.node.kind} on {on} | Logger: {query_id}.Join"
            step = Step("JOIN", how, (step, read(source, alias)))
        return step

    def select(self, query: tree.Query) -> actions.StartQuery:
        if query.emit is None:
            self.check_pull(query)
        query = grouped_whole(query)
        projected, _ = self.projected(query)
        source = projected.source
        query_id = f"transient_{source.name}_{secrets.randbits(62)}"
        check_unique(projected.items, "value", self.script, query.at)
        if query.emit is None:
            self.check_pulled(projected)
        keys, values = shown_keys(projected)
        if source.kind == "stream" and not isinstance(projected, Grouped):
            keys, values = (), projected.items
        plan = self.query_plan(query_id, projected, keys, values, limit=query.limit)
        made = {column.name: column for column in plan.output}
        output = tuple(made[item.name] for item in projected.items)
        plan = replace(plan, output=output)
        if query.emit is None and source.kind == "table":
            plan = replace(plan, keys=keys_asked(query.where, source))
        return actions.StartQuery(self.text, plan, "push" if query.emit else "pull")

    def check_pulled(self, projected: Projected) -> None:
        """Which columns a pull query reads, and how it looks up those of a table's key."""
        query, source = projected.query, projected.source
        items = set().union(*(item.item.columns() for item in projected.items))
        where = set() if projected.where is None else projected.where.columns()
        for clause, read in (("SELECT", items), ("WHERE", where)):
            if found := [f"`{name}`" for name in ("ROWPARTITION", "ROWOFFSET") if name in read]:
                raise self.error(
                    "UNSUPPORTED",
                    f"Pull queries don't support the following columns in {clause} clauses: {', '.join(found)}",
                    query.at,
                )
        if source.kind == "table":
            check_where(query, source, self.properties, self.script)

    def create_as_select(self, body: tree.CreateAsSelect) -> actions.Action:
        if (found := self.existing(body.name, body)) is not None:
            return found
        if body.query.limit is not None:
            raise self.error(
                "UNSUPPORTED",
                f"CREATE {body.kind.upper()} AS SELECT statements don't support LIMIT clause.",
                body.at,
            )
        settings = self.settings(body.settings, body.at)
        statement = f"CREATE {body.kind.upper()} AS SELECT"
        projected, alias = self.projected(body.query, statement, body)
        self.check_kind(body, projected)
        if projected.source.kind == "table" and projected.source.window is not None:
            raise self.error(
                "UNSUPPORTED",
                "KSQL does not support persistent queries on windowed tables.",
                body.at,
            )
        keys, values = split_keys(projected, body.name, alias, self.script, self.keys_optional())
        sink = self.sink(body, settings, projected, keys, values)
        self.check_upgrade(sink, body)
        query_id = f"C{body.kind[0].upper()}AS_{body.name}_{self.number}"
        plan = self.query_plan(query_id, projected, keys, values, sink=sink)
        topic = actions.TopicSettings(
            sink.topic, settings.partitions, settings.replicas, settings.retention_ms
        )
        return actions.StartQuery(self.text, plan, "persistent", sink, True, topic, body.replace)

    def check_kind(self, body: tree.CreateAsSelect, projected: Projected | Grouped) -> None:
        made = "table" if isinstance(projected, Grouped) else projected.source.kind
        if made == body.kind:
            return
        raise self.error(
            "TYPE_MISMATCH",
            f"Invalid result type. Your SELECT query produces a {made.upper()}. Please use CREATE {made.upper()} AS "
            "SELECT statement instead.",
            body.at,
        )

    def keys_optional(self) -> bool:
        """ksqlDB's newer planner, off unless asked for, lets a stream drop its key."""
        return str(self.properties.get("ksql.new.query.planner.enabled")).lower() == "true"

    def sink(
        self,
        body: tree.CreateAsSelect,
        settings: Settings,
        projected: Projected,
        keys: tuple[Output, ...],
        values: tuple[Output, ...],
    ) -> Source:
        source = projected.source
        columns = tuple(
            [Column(k.name, k.type, "key") for k in keys] + [Column(v.name, v.type) for v in values]
        )
        prefix = str(self.properties.get("ksql.output.topic.name.prefix") or "")
        sink = Source(
            body.name,
            body.kind,
            columns,
            settings.topic or prefix + body.name,
            self.sink_key_format(settings, projected, keys, body.at),
            self.sink_value_format(settings, source, body.at),
            self.timestamp(settings, columns, body.at),
            self.text,
            window=windowed_key(projected),
        )
        self.check_formats(sink, settings, body.at)
        self.check_schema_ids(sink, body.at)
        return sink

    def check_schema_ids(self, sink: Source, at: tree.At) -> None:
        """Do the columns fit the registered schemas that the statement names?"""
        for is_key, format_, columns in (
            (True, sink.key_format, sink.key_columns),
            (False, sink.value_format, sink.value_columns),
        ):
            if format_.schema_id is None:
                continue
            physical = self.registered(sink.topic, is_key, format_, at)
            bare = (is_key and len(columns) == 1) or format_.wrap_single is False
            check = partial(check_physical, columns, physical, is_key=is_key, unwrapped=bare)
            self.at_statement(at, check)

    def registered(
        self, topic: str, is_key: bool, format_: Format, at: tree.At
    ) -> tuple[Column, ...]:
        """The columns of a schema that a format names."""
        if self.infer is None:
            self.unsupported("schema inference here", at)
        try:
            return self.infer(topic, is_key, format_)
        except GradstreamError as error:
            if not isinstance(error, SqlError) and not error.code.startswith("UNKNOWN"):
                raise
            message = error.bare_message if isinstance(error, SqlError) else error.message
            raise self.error(error.code, message, at) from None

    def sink_value_format(self, settings: Settings, source: Source, at: tree.At) -> Format:
        name = settings.value_format or source.value_format.name
        delimiter = settings.value_delimiter
        if delimiter is None and name == source.value_format.name == "DELIMITED":
            delimiter = source.value_format.delimiter
        made: Format = self.at_statement(
            at,
            lambda: make_format(
                name,
                delimiter=delimiter,
                full_name=settings.value_full_name,
                schema_id=settings.value_schema_id,
                wrap_single=settings.wrap_single,
            ),
        )
        return made

    def sink_key_format(
        self, settings: Settings, projected: Projected, keys: tuple[Output, ...], at: tree.At
    ) -> Format:
        source = projected.source
        if not keys and projected.repartitioned:
            if settings.key_format not in (None, "NONE") and settings.value_format is None:
                raise self.error(
                    "BAD_SETTING", "Key format specified for stream without key columns.", at
                )
            return Format("NONE")
        name = settings.key_format or source.key_format.name
        if keys and name == "NONE" and settings.key_format is None:
            name = self.default_format("key") or "KAFKA"
        delimiter = settings.key_delimiter
        if delimiter is None and name == source.key_format.name == "DELIMITED":
            delimiter = source.key_format.delimiter
        made: Format = self.at_statement(
            at,
            lambda: make_format(
                name,
                delimiter=delimiter,
                full_name=settings.key_full_name,
                schema_id=settings.key_schema_id,
            ),
        )
        return made

    def insert_select(self, body: tree.InsertSelect) -> actions.StartQuery:
        sink = self.catalog.sources.get(body.name)
        if sink is None:
            raise self.error(
                "UNKNOWN_STREAM",
                f"{self.placed((body.at[0] + 12, body.at[1]))}Source `{body.name}` does not exist."
                + self.did_you_mean(body.name),
                body.at,
            )
        if sink.kind == "table":
            raise self.error(
                "UNSUPPORTED",
                f"INSERT INTO can only be used to insert into a stream. {sink.name} is a table.",
                body.at,
            )
        if sink.is_source:
            raise self.error(
                "UNSUPPORTED", f"Cannot insert into read-only {sink.kind}: {sink.name}", body.at
            )
        projected, alias = self.projected(body.query, into=body)
        keys, values = split_keys(projected, body.name, alias, self.script)
        keys, values = self.fitted(sink, keys, values, body.at)
        query_id = f"INSERTQUERY_{self.number}"
        plan = self.query_plan(query_id, projected, keys, values, sink=sink)
        return actions.StartQuery(
            self.text, plan, "persistent", sink, False, actions.TopicSettings(sink.topic)
        )

    def fitted(
        self, sink: Source, keys: tuple[Output, ...], values: tuple[Output, ...], at: tree.At
    ) -> tuple[tuple[Output, ...], tuple[Output, ...]]:
        """The result's columns widened to the sink's; names and order must agree."""
        wanted = (
            [c for c in sink.columns if c.role == "key"],
            [c for c in sink.columns if c.role == "value"],
        )
        fits = all(
            len(given) == len(columns)
            and all(
                g.name == c.name and _insertable(g.type, c.type)
                for g, c in zip(given, columns, strict=True)
            )
            for given, columns in zip((keys, values), wanted, strict=True)
        )
        if not fits:
            result = [Column(k.name, k.type, "key") for k in keys]
            result += [Column(v.name, v.type) for v in values]
            raise self.error(
                "TYPE_MISMATCH",
                "Incompatible schema between results and sink.\n"
                f"Result schema is {format_columns(result)}\n"
                f"Sink schema is {format_columns(sink.columns)}",
                at,
            )
        made = [
            tuple(
                g if g.type == c.type else Output(g.name, c.type, Typed("cast", c.type, (g.item,)))
                for g, c in zip(given, columns, strict=True)
            )
            for given, columns in zip((keys, values), wanted, strict=True)
        ]
        return made[0], made[1]

    # INSERT INTO … VALUES

    def insert_row(self, body: tree.InsertRow) -> actions.InsertValues:
        source = self.catalog.sources.get(body.name)
        if source is None:
            raise self.error(
                "UNKNOWN_STREAM",
                f"Cannot insert values into an unknown stream/table: `{body.name}`"
                + self.did_you_mean(body.name),
                body.at,
            )
        if source.is_source:
            raise self.error(
                "UNSUPPORTED",
                f"Cannot insert values into read-only {source.kind}: {source.name}",
                body.at,
            )
        given = self.given_values(source, body)
        timestamp = given.pop("ROWTIME", None)
        known = {column.name: column for column in source.columns}
        values = {
            name: inserted(node, known[name], source.name, self.script, self.catalog.types)
            for name, node in given.items()
        }
        if source.kind == "table":
            for column in source.key_columns:
                if values.get(column.name) is None:
                    raise self.error(
                        "BAD_VALUE",
                        f"Failed to insert values into '{source.name}'. Value for primary key column(s) "
                        f"{column.name} is required for tables",
                        body.at,
                    )
        row = tuple(values.get(column.name) for column in source.columns)
        time = None
        if timestamp is not None:
            time = inserted(
                timestamp, Column("ROWTIME", BIGINT), source.name, self.script, self.catalog.types
            )
        return actions.InsertValues(self.text, source, row, time)

    def given_values(self, source: Source, body: tree.InsertRow) -> dict[str, tree.Expression]:
        known = [column.name for column in source.columns]
        headers = [column.name for column in source.columns if column.role == "header"]
        if not body.columns:
            if headers and len(body.values) == len(known):
                raise self.error(
                    "BAD_VALUE", f"Cannot insert into HEADER columns: {', '.join(headers)}", body.at
                )
            names = tuple(c.name for c in (*source.key_columns, *source.value_columns))
            if len(names) != len(body.values):
                raise self.error(
                    "BAD_VALUE",
                    f"Failed to insert values into '{source.name}'. Expected a value for each column. "
                    f"Expected Columns: [{', '.join(names)}]. Got [{', '.join(map(format_expression, body.values))}]",
                    body.at,
                )
            return dict(zip(names, body.values, strict=True))
        for name in body.columns:
            if name in ("ROWPARTITION", "ROWOFFSET"):
                raise self.error(
                    "BAD_VALUE", f"Inserting into column `{name}` is not allowed.", body.at
                )
            if name in headers:
                raise self.error("BAD_VALUE", f"Cannot insert into HEADER columns: {name}", body.at)
            if name not in known and name != "ROWTIME":
                raise self.error(
                    "UNKNOWN_COLUMN",
                    f"Failed to insert values into '{source.name}'. Column name {format_name(name)} does not exist."
                    + nearest(name, known),
                    body.at,
                )
        return dict(zip(body.columns, body.values, strict=True))

    # The rest

    def drop(self, body: tree.DropSource) -> actions.Action:
        source = self.catalog.sources.get(body.name)
        if source is None:
            if body.if_exists:
                return actions.Nothing(
                    self.text, f"Source `{body.name}` does not exist.", warning=False
                )
            raise self.unknown_source(
                f"{body.kind.capitalize()} {body.name} does not exist.", body.name, body.at
            )
        if source.kind != body.kind:
            raise self.error(
                "TYPE_MISMATCH",
                f"Incompatible data source type is {source.kind.upper()}, but statement was DROP {body.kind.upper()}",
                body.at,
            )
        if body.delete_topic and source.is_source:
            raise self.error(
                "UNSUPPORTED", f"Cannot delete topic for read-only source: {body.name}", body.at
            )
        return actions.DropSource(self.text, body.name, body.kind, source, body.delete_topic)

    def alter(self, body: tree.AlterSource) -> actions.AlterSource:
        source = self.catalog.sources.get(body.name)
        if source is None:
            raise self.unknown_source(f"Source {body.name} does not exist.", body.name, body.at)
        if source.kind != body.kind:
            raise self.error(
                "TYPE_MISMATCH",
                f"Incompatible data source type is {source.kind.upper()}, but statement was ALTER {body.kind.upper()}",
                body.at,
            )
        if source.is_source:
            raise self.error(
                "UNSUPPORTED",
                f"Cannot alter {source.kind} '{source.name}': ALTER operations are not supported on source "
                f"{source.kind}s.",
                body.at,
            )
        added = tuple(self.column(element, body.kind) for element in body.elements)
        known = {column.name for column in source.columns}
        for column in added:
            if column.name in known:
                raise self.error(
                    "ALREADY_EXISTS",
                    f"Cannot add column `{column.name}` to schema. A column with the same name already exists.",
                    body.at,
                )
        return actions.AlterSource(self.text, replace(source, columns=source.columns + added))

    def control(self, body: tree.ControlQuery) -> actions.ControlQuery:
        return actions.ControlQuery(self.text, body.verb, body.query)

    def show(self, body: tree.List) -> actions.Show:
        return actions.Show(self.text, body.what, body.extended)

    def describe(self, body: tree.DescribeSource) -> actions.Describe:
        source = self.catalog.sources.get(body.name)
        if source is None:
            raise self.unknown_source(
                f"Could not find STREAM/TABLE '{body.name}' in the Metastore", body.name, body.at
            )
        return actions.Describe(self.text, (source,), body.extended)

    def describe_all(self, body: tree.DescribeAll) -> actions.Describe:
        sources = tuple(s for s in self.catalog.sources.values() if s.kind == body.kind)
        return actions.Describe(self.text, sources, body.extended, several=True)

    def describe_function(self, body: tree.DescribeFunction) -> actions.DescribeFunction:
        family = functions.find(body.name)
        if family is None:
            raise self.error(
                "UNKNOWN_FUNCTION",
                f"Can't find any functions with the name '{body.name}'."
                + nearest(body.name, functions.names()),
                body.at,
            )
        signatures = tuple(
            (
                tuple(str(parameter.type) for parameter in overload.parameters),
                "T" if callable(overload.returns) else str(overload.returns),
                overload.variadic,
            )
            for overload in family.overloads
        )
        return actions.DescribeFunction(
            self.text, family.name, family.category, family.description, family.kind, signatures
        )

    def explain(self, body: tree.ExplainQuery) -> actions.Explain:
        if body.statement is None:
            return actions.Explain(self.text, query_id=body.query_id)
        if not isinstance(body.statement, tree.Query | tree.CreateAsSelect | tree.InsertSelect):
            raise self.error(
                "UNSUPPORTED",
                "The provided statement does not run a ksql query; EXPLAIN takes SELECT and what ends in AS SELECT",
                body.at,
            )
        action = self.plan(body.statement)
        if not isinstance(action, actions.StartQuery):
            return actions.Explain(self.text)
        return actions.Explain(self.text, action=action, plan=str(action.query))

    def set_property(self, body: tree.SetProperty) -> actions.SetProperty:
        return actions.SetProperty(self.text, body.name, body.value)

    def unset_property(self, body: tree.UnsetProperty) -> actions.SetProperty:
        return actions.SetProperty(self.text, body.name, None)

    def alter_system(self, body: tree.AlterSystem) -> NoReturn:
        self.unsupported("ALTER SYSTEM", body.at)

    def define(self, body: tree.DefineVariable) -> actions.DefineVariable:
        return actions.DefineVariable(self.text, body.name, body.value)

    def undefine(self, body: tree.UndefineVariable) -> actions.DefineVariable:
        return actions.DefineVariable(self.text, body.name, None)

    def print_topic(self, body: tree.PrintTopic) -> actions.PrintTopic:
        return actions.PrintTopic(
            self.text, body.topic, body.from_beginning, body.interval, body.limit
        )

    def create_type(self, body: tree.CreateType) -> actions.Action:
        if body.name in self.catalog.types:
            if body.if_not_exists:
                return actions.Nothing(
                    self.text,
                    f"{body.name} is already registered with type {self.catalog.types[body.name]}",
                )
            raise self.error(
                "ALREADY_EXISTS",
                f"Cannot register custom type '{body.name}' since it is already registered with type: "
                f"{self.catalog.types[body.name]}",
                body.at,
            )
        type_ = resolve_type(body.type, self.catalog.types, self.script)
        return actions.CreateType(self.text, body.name, type_)

    def drop_type(self, body: tree.DropType) -> actions.Action:
        if body.name not in self.catalog.types:
            if body.if_exists:
                return actions.Nothing(
                    self.text, f"Type '{body.name}' does not exist", warning=False
                )
            raise self.error(
                "UNKNOWN_TYPE",
                f"Type {body.name} does not exist." + nearest(body.name, self.catalog.types),
                body.at,
            )
        return actions.DropType(self.text, body.name)

    def assert_topic(self, body: tree.AssertTopic) -> actions.AssertTopic:
        settings = {name: constant.value for name, constant in body.settings.items()}
        timeout = body.timeout.milliseconds if body.timeout else 1000
        return actions.AssertTopic(self.text, body.topic, settings, body.exists, timeout)

    def assert_schema(self, body: tree.AssertSchema) -> actions.AssertSchema:
        if body.subject is None and body.schema_id is None:
            raise self.error("BAD_VALUE", "Must include a subject name or an id.", body.at)
        timeout = body.timeout.milliseconds if body.timeout else 1000
        return actions.AssertSchema(self.text, body.subject, body.schema_id, body.exists, timeout)

    def refuse(self, body: tree.Unsupported) -> NoReturn:
        self.unsupported(body.what, body.at)


def _names_shown(query: tree.Query) -> list[str]:
    """The columns that SELECT shows as they are."""
    return [item.expression.name for item in query.items if isinstance(item.expression, tree.Name)]


def _part(
    source: Source, names: dict[str, str], more: frozenset[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """What a join reads of a source: (columns, pseudo columns and those from headers), ``more`` of the latter."""
    kept = {column.name for column in source.columns if column.role != "header"}
    own = list(names.values())
    return (
        tuple(name for name in own if name in kept),
        frozenset(name for name in own if name not in kept) | more,
    )


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _not_from_value(source: Source) -> set[str]:
    return {column.name for column in source.columns if column.role != "value"} | set(PSEUDO)


def _insertable(source: SqlType, target: SqlType) -> bool:
    """Does INSERT INTO … SELECT bring one to the other? Whole numbers may go into any DECIMAL."""
    whole = source in (INTEGER, BIGINT)
    return widens(source, target) or (isinstance(target, Decimal) and whole)


def _sink_time(column: TimestampColumn) -> Timed:
    """Reads the sink's TIMESTAMP column of a batch of output rows."""
    read = timestamp_reader(column.pattern) if column.pattern is not None else None

    def time(
        batch: pa.RecordBatch, timestamps: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], list[tuple[int, str]]]:
        values = batch.column(column.name)
        if read is None:
            cast = values.cast(pa.int64())
            times = cast.fill_null(-1).to_numpy(zero_copy_only=False)
            return times, [
                (int(at), f"{column.name} holds no time") for at in np.flatnonzero(times < 0)
            ]
        out = np.full(len(values), -1, np.int64)
        bad = []
        for at, text in enumerate(values.to_pylist()):
            try:
                out[at] = read(text)
            except (ValueError, TypeError) as error:
                bad.append((at, str(error)))
        return out, bad

    return time


_RULES: dict[type, Callable[[Planner, Any], actions.Action]] = {
    tree.CreateSource: Planner.create_source,
    tree.CreateAsSelect: Planner.create_as_select,
    tree.InsertSelect: Planner.insert_select,
    tree.InsertRow: Planner.insert_row,
    tree.Query: Planner.select,
    tree.DropSource: Planner.drop,
    tree.AlterSource: Planner.alter,
    tree.ControlQuery: Planner.control,
    tree.List: Planner.show,
    tree.DescribeSource: Planner.describe,
    tree.DescribeAll: Planner.describe_all,
    tree.DescribeFunction: Planner.describe_function,
    tree.ExplainQuery: Planner.explain,
    tree.SetProperty: Planner.set_property,
    tree.UnsetProperty: Planner.unset_property,
    tree.AlterSystem: Planner.alter_system,
    tree.DefineVariable: Planner.define,
    tree.UndefineVariable: Planner.undefine,
    tree.PrintTopic: Planner.print_topic,
    tree.CreateType: Planner.create_type,
    tree.DropType: Planner.drop_type,
    tree.AssertTopic: Planner.assert_topic,
    tree.AssertSchema: Planner.assert_schema,
    tree.Unsupported: Planner.refuse,
}
