"""Readiness as a question asked of each service: True, or False for not yet."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.stack.ports import HOST
from gradstream.wire.kafka import admin, answer, check_broker

COMPATIBILITY = "BACKWARD"
PROBE = "gradstream-stack-ready"  # a group that nobody joins


def registry_answers(port: int, base: str) -> bool:
    """Whether the registry lists its subjects."""
    try:
        status, _ = _call(port, "GET", f"{base}/subjects")
    except (OSError, HTTPException):
        return False
    return status == 200


def engine_answers(port: int) -> bool:
    """Whether the engine says that it runs; it listens earlier, while it still resumes its queries."""
    try:
        _, answer = _call(port, "GET", "/info")
    except (OSError, HTTPException):
        return False
    info = answer.get("KsqlServerInfo")
    return isinstance(info, dict) and info.get("serverStatus") == "RUNNING"


def broker_answers(services: Services) -> bool:
    """Whether the broker gives its metadata."""
    try:
        check_broker(services, timeout=1.0)
    except UnavailableError:
        return False
    return True


def groups_answer(services: Services) -> bool:
    """Whether consumer groups can be formed; the first question makes Kafka create the topic for them."""
    client = admin(services)
    (group,) = client.describe_consumer_groups([PROBE], request_timeout=2.0).values()
    try:
        answer(services, group.result, 2.0)
    except UnavailableError:
        return False
    return True


def set_compatibility(port: int, base: str) -> None:
    """Make the registry refuse schemas that old readers cannot follow; a rule that the user has set is kept.

    Raises:
        UnavailableError: ``REGISTRY_RULE``, the registry did not take it.
    """
    if _level(port, base) in (None, "NONE"):
        _call(port, "PUT", f"{base}/config", {"compatibility": COMPATIBILITY})
        found = _level(port, base)
        if found != COMPATIBILITY:
            raise UnavailableError(
                "REGISTRY_RULE",
                f"the registry on port {port} keeps compatibility {found} although {COMPATIBILITY} was set; "
                "see its log with gradstream status",
            )


def _level(port: int, base: str) -> str | None:
    status, answer = _call(port, "GET", f"{base}/config")
    return str(answer.get("compatibilityLevel")) if status == 200 else None


def _call(
    port: int, method: str, path: str, body: dict[str, str] | None = None, timeout: float = 2.0
) -> tuple[int, dict[str, object]]:
    # http.client, since it never sends a question for 127.0.0.1 to a proxy.
    connection = HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(
            method,
            path,
            json.dumps(body) if body else None,
            {"Content-Type": "application/vnd.schemaregistry.v1+json"} if body else {},
        )
        answer = connection.getresponse()
        text = answer.read()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        return answer.status, parsed if isinstance(parsed, dict) else {}
    finally:
        connection.close()
