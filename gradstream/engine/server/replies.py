"""JSON, errors and the server's own state as ksqlDB answers them; light, so that the server can answer while it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Entity: TypeAlias = dict[str, Any]


# Errors ------------------------------------------------------------------------------------------------


def generic_error(code: int, message: str) -> Entity:
    return {"@type": "generic_error", "error_code": code, "message": message}


def statement_error(
    message: str, statement: str, entities: Sequence[Entity] = (), code: int = 40001
) -> Entity:
    return {
        "@type": "statement_error",
        "error_code": code,
        "message": message,
        "statementText": statement,
        "entities": list(entities),
    }


# Server ------------------------------------------------------------------------------------------------


def server_info(version: str, cluster_id: str, service_id: str, state: str) -> Entity:
    return {
        "KsqlServerInfo": {
            "version": version,
            "kafkaClusterId": cluster_id,
            "ksqlServiceId": service_id,
            "serverStatus": state,
        }
    }


def health(parts: Mapping[str, bool], state: str) -> Entity:
    return {
        "isHealthy": all(parts.values()),
        "details": {name: {"isHealthy": healthy} for name, healthy in parts.items()},
        "serverState": state,
    }
