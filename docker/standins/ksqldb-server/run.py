#!/usr/bin/env python3
"""Starts gradstream's engine as the image of ksqlDB is started: KSQL_X_Y is the property x.y."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

# Options for Java, and what the real image's scripts read.
NO_PROPERTIES = {"KSQL_OPTS", "KSQL_HEAP_OPTS", "KSQL_LOG4J_OPTS", "KSQL_JVM_PERFORMANCE_OPTS"}


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """ksqlDB's settings: ``_`` in a variable's name is a dot, ``__`` an underscore, ``___`` a hyphen."""
    signs = {"_": ".", "__": "_", "___": "-"}
    return {
        re.sub("_{1,3}", lambda found: signs[found[0]], name.removeprefix("KSQL_").lower()): value
        for name, value in environment.items()
        if name.startswith("KSQL_") and name not in NO_PROPERTIES
    }


def command(environment: Mapping[str, str]) -> list[str]:
    """The engine's command line.

    Raises:
        SystemExit: the variable that names the broker is missing.
    """
    settings = properties(environment)
    broker = settings.pop("bootstrap.servers", "")
    if not broker:
        sys.exit("KSQL_BOOTSTRAP_SERVERS is required.")
    listener = settings.pop("listeners", "http://0.0.0.0:8088").split(",")[0]
    flags = {
        "--listen": listener.partition("://")[2],
        "--bootstrap-servers": broker.replace("PLAINTEXT://", ""),
        "--schema-registry-url": settings.pop("ksql.schema.registry.url", None),
        "--service-id": settings.pop("ksql.service.id", None),
    }
    # Compose and Testcontainers give it a network of its own, and publish it on loopback only.
    given = ["--insecure-listen"]
    given += [word for flag, value in flags.items() if value for word in (flag, value)]
    # By what name clients come is known outside only: the container's own, and the aliases in a compose file.
    for name in ("ksql", "ksqldb-server", environment.get("HOSTNAME", "")):
        given += ["--allow-host", name] if name else []
    return ["gradstream", "engine", *given, *(f"--property={n}={v}" for n, v in settings.items())]


if __name__ == "__main__":
    words = command(os.environ)
    os.execvp(words[0], words)  # noqa: S606
