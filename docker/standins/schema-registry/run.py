#!/usr/bin/env python3
"""Starts Apicurio as if it were Confluent's registry: schemas in Kafka, the rule BACKWARD, its API at the root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

PORT = 8080  # Apicurio's, on loopback; nginx.conf has it, too
API = "/apis/ccompat/v7"
CONFIGURATION = Path("/etc/schema-registry/nginx.conf")
ARCHIVE = Path(
    "/opt/apicurio/classes.jsa"
)  # of classes, so that Java need not read and check the jars again
POLL = 0.1


def java(environment: Mapping[str, str]) -> list[str]:
    """Apicurio's command line; it listens on loopback only.

    Raises:
        SystemExit: the variable that names the broker is missing.
    """
    broker = environment.get("SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS", "")
    if not broker:
        sys.exit("SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS is required.")
    settings = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": str(PORT),
        "quarkus.management.host": "127.0.0.1",
        "quarkus.http.access-log.enabled": "false",
        "quarkus.banner.enabled": "false",
        "apicurio.storage.kind": "kafkasql",
        "apicurio.kafkasql.bootstrap.servers": broker.replace("PLAINTEXT://", ""),
    }
    heap = environment.get("SCHEMA_REGISTRY_HEAP_OPTS", "-Xmx192m").split()
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    if ARCHIVE.exists():
        flags.append(f"-XX:SharedArchiveFile={ARCHIVE}")
    named = [f"-D{name}={value}" for name, value in settings.items()]
    more = environment.get("SCHEMA_REGISTRY_OPTS", "").split()
    return ["java", *heap, *flags, *named, *more, "-jar", "/opt/apicurio/quarkus-run.jar"]


def address(environment: Mapping[str, str]) -> str:
    """What nginx listens on: the host and port of the first listener, as in ``http://0.0.0.0:8081``."""
    first = environment.get("SCHEMA_REGISTRY_LISTENERS", "http://0.0.0.0:8081").split(",")[0]
    return first.partition("://")[2]


def level(environment: Mapping[str, str]) -> str:
    """The rule for new versions of a schema that holds where no other was set."""
    return environment.get("SCHEMA_REGISTRY_SCHEMA_COMPATIBILITY_LEVEL", "BACKWARD").upper()


def main() -> int:
    """Apicurio first; the port opens when it answers; when either ends, both do."""
    registry = subprocess.Popen(java(os.environ))
    children = [registry]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: registry.terminate())
    while registry.poll() is None and not _answers():
        time.sleep(POLL)
    if registry.poll() is None:
        _set_level(level(os.environ))
        text = CONFIGURATION.read_text().replace("LISTEN", address(os.environ))
        configuration = Path("/tmp/nginx.conf")  # noqa: S108  nobody else is in this container
        configuration.write_text(text)
        children.append(subprocess.Popen(["nginx", "-c", configuration]))
    while all(child.poll() is None for child in children):
        time.sleep(POLL)
    for child in children:
        child.terminate()
    return max(abs(child.wait()) for child in children)


def _answers() -> bool:
    try:
        return _call("GET", "/subjects")[0] == 200
    except (OSError, HTTPException):
        return False


def _set_level(wanted: str) -> None:
    """Apicurio starts without a rule; one that was set before is kept."""
    if _call("GET", "/config")[1].get("compatibilityLevel") in (None, "NONE"):
        _call("PUT", "/config", json.dumps({"compatibility": wanted}))


def _call(method: str, path: str, body: str | None = None) -> tuple[int, dict[str, object]]:
    # http.client, since it never sends a question for 127.0.0.1 to a proxy.
    connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"} if body else {}
        connection.request(method, API + path, body, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read() or "{}")
        return answer.status, said if isinstance(said, dict) else {}
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
