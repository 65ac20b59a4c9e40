"""Apache Kafka as one process: KRaft, broker and controller together, loopback only."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from gradstream.errors import UnavailableError
from gradstream.stack.folders import Folders
from gradstream.stack.jars import Programs
from gradstream.stack.java import JAVA_ENVIRONMENT, class_path, java
from gradstream.stack.ports import HOST

NAME = "broker"

# Weights of 8 MB in one record, with room for their envelope.
LARGEST_RECORD = 16 * 1024 * 1024
TEN_YEARS_IN_MINUTES = 10 * 365 * 24 * 60


def server_properties(port: int, controller_port: int, data: Path) -> str:
    """Kafka's configuration: everything on 127.0.0.1, nothing forgotten, small."""
    return f"""\
# Written by gradstream up at every start; changes are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{HOST}:{controller_port}
listeners=PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}
advertised.listeners=PLAINTEXT://{HOST}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

# A topic that a typing error names must be an error, not an empty topic that is waited on forever; producers, engine
# and trainers create theirs explicitly, with the partitions that they want.
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1

# Training logs and the place where each reader stands in them must not vanish by themselves.
log.retention.ms=-1
log.retention.bytes=-1
offsets.retention.minutes={TEN_YEARS_IN_MINUTES}

message.max.bytes={LARGEST_RECORD}
replica.fetch.max.bytes={LARGEST_RECORD}

# Kafka's own topics on a single node.
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# No rebalance waits for members that might come.
group.initial.rebalance.delay.ms=0

# Transactions: a dead producer's is looked for every second (its own timeout decides when it has expired), and
# records are accepted only from a transaction that the coordinator knows.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
transaction.partition.verification.enable=true

# One user on few cores: fewer threads; the cleaner's default buffer alone is 128 MB.
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=8388608
# No empty record into the metadata log twice a second for as long as the stack idles.
metadata.max.idle.interval.ms=0
"""


def log4j_properties(log: Path) -> str:
    """Kafka's log: one file of at most 10 MB, and the one before it."""
    return f"""\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.1
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %m (%c{{1}})%n
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
"""


def prepare(folders: Folders, programs: Programs, port: int, controller_port: int) -> None:
    """Write the configuration; format the data folder if there is none yet."""
    _write(folders.config / "log4j2.properties", log4j_properties(folders.log(NAME)))
    _write(
        folders.config / "server.properties",
        server_properties(port, controller_port, folders.broker_data),
    )
    if not (folders.broker_data / "meta.properties").exists():
        _format(folders, programs, port, controller_port)


def command(folders: Folders, programs: Programs) -> list[str]:
    """The broker's command line, for the configuration that prepare wrote."""
    return [*_kafka(folders, programs), "kafka.Kafka", str(folders.config / "server.properties")]


def _kafka(folders: Folders, programs: Programs) -> list[str]:
    log4j = f"-Dlog4j2.configurationFile={folders.config / 'log4j2.properties'}"
    flags = (log4j, "-Dlog4j2.disableJmx=true")
    return [*java(folders, programs, NAME, "256m", flags), "-cp", class_path(programs.kafka)]


def _format(folders: Folders, programs: Programs, port: int, controller_port: int) -> None:
    """Make an empty data folder with a new cluster id, under its name only when it is whole."""
    fresh = folders.home / "kafka.new"
    shutil.rmtree(fresh, ignore_errors=True)
    properties = folders.config / "format.properties"
    _write(properties, server_properties(port, controller_port, fresh))
    tool = [*_kafka(folders, programs), "kafka.tools.StorageTool", "format"]
    done = subprocess.run(
        [*tool, "-t", _cluster_id(), "-c", str(properties)],
        env={**os.environ, **JAVA_ENVIRONMENT},
        capture_output=True,
        text=True,
        cwd=folders.home,
        umask=0o077,
        check=False,
    )
    properties.unlink()
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise UnavailableError(
            "FORMAT_FAILED",
            f"Kafka's storage tool could not make {folders.broker_data} and said: {said[-1]}; "
            f"is there room on the disk, and may you write there?",
        )
    shutil.rmtree(folders.broker_data, ignore_errors=True)
    fresh.rename(folders.broker_data)


def _cluster_id() -> str:
    """A random UUID in Kafka's base64 form, never one that a command line would take for an option."""
    while True:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster.startswith("-"):
            return cluster


def _write(file: Path, text: str) -> None:
    """Java reads these files as Latin-1 with ``\\uXXXX`` for the rest, whatever the language settings."""
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    file.touch(mode=0o600)
    file.write_text("".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes))
