"""The JSON that ksqlDB's clients expect: one function per entity, and rows as clients read them."""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gradstream.engine import types
from gradstream.engine.catalog import Column, Source
from gradstream.engine.server.replies import Entity
from gradstream.engine.types import Array, Map, SqlType, Struct

# Statements --------------------------------------------------------------------------------------------


def _entity(kind: str, statement: str, warnings: Iterable[str] = (), **body: Any) -> Entity:
    return {
        "@type": kind,
        "statementText": statement,
        "warnings": [{"message": text} for text in warnings],
        **body,
    }


def current_status(
    statement: str,
    command_id: str,
    message: str,
    sequence: int,
    query_id: str | None = None,
    status: str = "SUCCESS",
    warnings: Iterable[str] = (),
) -> Entity:
    return _entity(
        "currentStatus",
        statement,
        warnings,
        commandId=command_id,
        commandStatus={"status": status, "message": message, "queryId": query_id},
        commandSequenceNumber=sequence,
    )


def warning(statement: str, message: str) -> Entity:
    return _entity("warning_entity", statement, message=message)


def terminated_push_query(statement: str, query_id: str, was_terminated: bool) -> Entity:
    return _entity("terminate_query", statement, queryId=query_id, wasTerminated=was_terminated)


def source_list(statement: str, kind: str, sources: Iterable[Source]) -> Entity:
    """``kind`` is ``streams`` or ``tables``."""
    listed = [
        {
            "type": source.kind.upper(),
            "name": source.name,
            "topic": source.topic,
            "keyFormat": _shown_format(source.key_format.name),
            "valueFormat": source.value_format.name,
            "isWindowed": False,
        }
        for source in sorted(sources, key=lambda source: source.name)
    ]
    return {**_entity(kind, statement), kind: listed}


def _shown_format(name: str) -> str:
    return "KAFKA" if name == "NONE" else name


def topic_list(statement: str, topics: Mapping[str, Sequence[int]]) -> Entity:
    """``topics`` maps a name to the number of replicas of each partition."""
    listed = [
        {"name": name, "replicaInfo": list(replicas)} for name, replicas in sorted(topics.items())
    ]
    return _entity("kafka_topics", statement, topics=listed)


def query_list(statement: str, queries: Iterable[Entity]) -> Entity:
    return _entity("queries", statement, queries=list(queries))


def query(
    text: str, identifier: str, sinks: Sequence[str], topics: Sequence[str], kind: str, state: str
) -> Entity:
    return {
        "queryString": text,
        "sinks": list(sinks),
        "sinkKafkaTopics": list(topics),
        "id": identifier,
        "statusCount": {state: 1},
        "queryType": kind,
        "state": state,
    }


def property_list(
    statement: str,
    defaults: Mapping[str, object],
    overrides: Mapping[str, object],
    editable: Callable[[str], bool],
) -> Entity:
    listed = [
        {
            "name": name,
            "scope": "KSQL",
            "value": None if value is None else str(value),
            "editable": editable(name),
            "level": "SERVER" if name.startswith("ksql.") else "QUERY",
        }
        for name, value in sorted({**defaults, **overrides}.items())
    ]
    return _entity(
        "properties",
        statement,
        properties=listed,
        overwrittenProperties=sorted(overrides),
        defaultProperties=sorted(set(defaults) - set(overrides)),
    )


def variable_list(statement: str, variables: Mapping[str, str]) -> Entity:
    listed = [{"name": name, "value": value} for name, value in sorted(variables.items())]
    return _entity("variables", statement, variables=listed)


def type_list(statement: str, custom: Mapping[str, SqlType]) -> Entity:
    return _entity(
        "type_list", statement, types={name: schema(type_) for name, type_ in custom.items()}
    )


def function_list(statement: str, functions: Iterable[Mapping[str, str]]) -> Entity:
    return _entity("function_names", statement, functions=list(functions))


def source_description_entity(statement: str, description: Entity) -> Entity:
    return _entity("sourceDescription", statement, sourceDescription=description)


def source_descriptions(statement: str, descriptions: Iterable[Entity]) -> Entity:
    return _entity("source_descriptions", statement, sourceDescriptions=list(descriptions))


def source_description(
    source: Source,
    reads: Sequence[Entity],
    writes: Sequence[Entity],
    extended: bool,
    partitions: int = 0,
    replication: int = 0,
    statistics: str = "",
    errors: str = "",
    offsets: Sequence[Entity] = (),
) -> Entity:
    """What DESCRIBE tells; partitions, replication, statistics and offsets only where extended."""
    return {
        "name": source.name,
        "windowType": None,
        "readQueries": list(reads),
        "writeQueries": list(writes),
        "fields": [field(column) for column in source.columns],
        "type": source.kind.upper(),
        "timestamp": source.timestamp.name if source.timestamp else "",
        "statistics": statistics,
        "errorStats": errors,
        "extended": extended,
        "keyFormat": _shown_format(source.key_format.name),
        "valueFormat": source.value_format.name,
        "topic": source.topic,
        "partitions": partitions,
        "replication": replication,
        "statement": source.statement,
        "queryOffsetSummaries": list(offsets),
        "sourceConstraints": [],
        "clusterStatistics": [],
        "clusterErrorStats": [],
    }


def query_offsets(group: str, offsets: Iterable[tuple[tuple[str, int], int, int, int]]) -> Entity:
    """How far a query's consumer group has come in its topics: (partition, first, end, committed) of each partition."""
    summaries: dict[str, list[Entity]] = {}
    for (topic, partition), low, high, committed in offsets:
        summaries.setdefault(topic, []).append(
            {
                "partition": partition,
                "logStartOffset": low,
                "logEndOffset": high,
                "consumerOffset": committed,
            }
        )
    return {
        "groupId": group,
        "topicSummaries": [
            {"kafkaTopic": topic, "offsets": found} for topic, found in summaries.items()
        ],
    }


def query_description(
    statement: str,
    identifier: str,
    text: str,
    columns: Iterable[Column],
    sources: Sequence[str],
    sinks: Sequence[str],
    plan: str,
    properties: Mapping[str, object],
    state: str,
    kind: str,
    group: str,
    errors: Sequence[Entity] = (),
) -> Entity:
    return {
        "id": identifier,
        "statementText": text,
        "windowType": None,
        "fields": [field(column) for column in columns],
        "sources": list(sources),
        "sinks": list(sinks),
        "topology": plan,
        "executionPlan": plan,
        "overriddenProperties": dict(properties),
        "ksqlHostQueryStatus": {"gradstream": state} if state else {},
        "queryType": kind,
        "queryErrors": list(errors),
        "tasksMetadata": [],
        "consumerGroupId": group,
        "state": state or None,
    }


def query_description_entity(statement: str, description: Entity) -> Entity:
    return _entity("queryDescription", statement, queryDescription=description)


def query_descriptions(statement: str, descriptions: Iterable[Entity]) -> Entity:
    return _entity("query_descriptions", statement, queryDescriptions=list(descriptions))


# Types -------------------------------------------------------------------------------------------------


def field(column: Column) -> Entity:
    made: Entity = {"name": column.name, "schema": schema(column.type)}
    if column.role != "value":
        made["type"] = column.role.upper()
    return made


def schema(type_: SqlType) -> Entity:
    match type_:
        case Array(item):
            return {"type": "ARRAY", "fields": None, "memberSchema": schema(item)}
        case Map(_, value):
            return {"type": "MAP", "fields": None, "memberSchema": schema(value)}
        case Struct(fields):
            inner = [{"name": name, "schema": schema(of)} for name, of in fields]
            return {"type": "STRUCT", "fields": inner, "memberSchema": None}
        case types.Decimal(precision, scale):
            parameters = {"precision": precision, "scale": scale}
            return {
                "type": "DECIMAL",
                "fields": None,
                "memberSchema": None,
                "parameters": parameters,
            }
    return {"type": str(type_), "fields": None, "memberSchema": None}


def schema_text(columns: Iterable[Column], keys: bool = False) -> str:
    """```A` INTEGER, `B` STRING``, with KEY marks where asked for."""
    return ", ".join(
        f"`{column.name}` {column.type}" + (" KEY" if keys and column.role == "key" else "")
        for column in columns
    )


# Rows --------------------------------------------------------------------------------------------------

EPOCH = datetime.datetime(1970, 1, 1)


def shown(type_: SqlType) -> Callable[[Any], Any] | None:
    """How a value of this type is written in a reply's row; None where JSON writes it as it is."""
    if type_ == types.TIMESTAMP:
        return _timestamp
    if type_ == types.DATE:
        return lambda days: None if days is None else _date(days)
    if type_ == types.TIME:
        return lambda ms: None if ms is None else _time(ms)
    return _nested(type_)


def _nested(type_: SqlType) -> Callable[[Any], Any] | None:
    """As ``shown``, but inside a struct, list or map, where times are numbers."""
    if type_ == types.DOUBLE:
        return _double
    if type_ == types.BYTES:
        return lambda raw: None if raw is None else base64.b64encode(raw).decode()
    match type_:
        case Array(item):
            return _each_item(_nested(item))
        case Map(_, value):
            return _each_entry(_nested(value))
        case Struct(fields):
            return _each_field({name: how for name, of in fields if (how := _nested(of))})
    return None


def _each_item(how: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return how and (lambda items: items and [how(value) for value in items])


def _each_entry(how: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return how and (lambda map_: map_ and {key: how(value) for key, value in map_.items()})


def _each_field(how: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if not how:
        return None
    return lambda struct: (
        struct and {name: how[name](of) if name in how else of for name, of in struct.items()}
    )


def _double(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _timestamp(ms: int | None) -> str | None:
    if ms is None:
        return None
    try:
        return (EPOCH + datetime.timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return str(ms)


def _date(days: int) -> str:
    try:
        return (EPOCH.date() + datetime.timedelta(days=days)).isoformat()
    except OverflowError:
        return str(days)


def _time(ms: int) -> str:
    """As Java's LocalTime prints: seconds and milliseconds only where there are any."""
    seconds, millis = divmod(ms, 1000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    if seconds % 60 or millis:
        text += f":{seconds % 60:02}"
    return text + (f".{millis:03}" if millis else "")
