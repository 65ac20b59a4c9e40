#!/usr/bin/env python3
"""Starts Kafka as the image apache/kafka does: KAFKA_X_Y is the property x.y, CLUSTER_ID names the cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

BIN = Path("/opt/kafka/bin")
FILE = Path("/opt/kafka/config/server.properties")
CLUSTER = "5L6g3nShT-eMCtK--X86sw"
# Read by the start script, or no setting at all.
NO_PROPERTIES = {"KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_VERSION", "KAFKA_JVM_PERFORMANCE_OPTS"}
# What one gets who sets nothing: one node, reached by the port that it listens on.
SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.quorum.voters": "1@localhost:9093",
    "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
    "advertised.listeners": "PLAINTEXT://localhost:9092",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "log.dirs": "/tmp/kraft-combined-logs",  # noqa: S108  apache/kafka's, too
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}


def properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Kafka's settings: ``_`` in a variable's name is a dot, ``__`` an underscore, ``___`` a hyphen."""
    found = {
        _name(name.removeprefix("KAFKA_")): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name not in NO_PROPERTIES
    }
    if not found:
        return SINGLE_NODE
    if "listeners" not in found and "advertised.listeners" in found:
        everywhere = re.sub(r"://[^:]*:", "://0.0.0.0:", found["advertised.listeners"])
        found["listeners"] = everywhere
    return found


def _name(name: str) -> str:
    signs = {"_": ".", "__": "_", "___": "-"}
    return re.sub("_{1,3}", lambda found: signs[found[0]], name.lower())


def main() -> None:
    """Write the settings, make the data folder Kafka's if it is new, and become Kafka."""
    settings = properties(os.environ)
    FILE.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    cluster = os.environ.get("CLUSTER_ID", CLUSTER)
    subprocess.run(
        [BIN / "kafka-storage.sh", "format", "--ignore-formatted", "-t", cluster, "-c", FILE],
        env={**os.environ, "KAFKA_OPTS": ""},  # those are for the broker
        check=True,
    )
    sys.stdout.flush()
    os.environ["KAFKA_OPTS"] = f"-Dkafka.log=INFO {os.environ.get('KAFKA_OPTS', '')}"
    os.execv(BIN / "kafka-server-start.sh", ["kafka-server-start.sh", str(FILE)])  # noqa: S606


if __name__ == "__main__":
    main()
