"""A query on a raw topic, in engines of its own: started one after another, watched from outside, and held to an account."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Literal

from faults.attempt import Died
from faults.child import PATIENCE, Child
from faults.raw import RawTopic
from faults.topic import Topic
from gradstream.config import Services
from gradstream.failpoints import VARIABLE
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import committed_offsets, end_offsets

if TYPE_CHECKING:
    from faults.lab import Lab

EARLIEST = {"auto.offset.reset": "earliest"}
LOOK_EVERY = 0.02  # seconds between two questions how far the query is
LONG = 180.0  # seconds that a query may take to come to the end of its source


class Sink(Topic):
    """The training topic that a query makes, its schema included."""

    def __init__(self, services: Services, name: str) -> None:
        self.services, self.name = services, name
        self.weights, self.dead = f"{name}-weights", f"{name}-dead"


def started(lab: Lab, service_id: str, failpoint: str = "") -> Child:
    """An engine on any port; with a failpoint it may never become ready."""
    command = [
        *(sys.executable, "-m", "gradstream.engine", "--listen", "127.0.0.1:0"),
        *("--service-id", service_id),
    ]
    return lab.spawn(command, {VARIABLE: failpoint} if failpoint else {}, "engine")


def ready(engine: Child) -> str:
    """Waits until it answers; its address.

    Raises:
        Died: it ended before.
    """
    told = re.compile(r"engine ready at (\S+),")
    engine.wait_until(lambda: bool(told.search(engine.errors)) or not engine.alive, "the engine")
    found = told.search(engine.errors)
    if found is None:
        raise Died(engine.state())
    return found[1]


class Query:
    """CREATE STREAM … AS SELECT from a raw topic, the same in every engine that is started for it.

    Args:
        value_format: of the sink.

    Attributes:
        engine: the newest process.
    """

    def __init__(
        self, lab: Lab, raw: RawTopic, value_format: Literal["AVRO", "DELIMITED"] = "AVRO"
    ) -> None:
        self.lab, self.raw = lab, raw
        name = lab.name("sink").replace("-", "_")
        self.sink = Sink(lab.services, name.upper())
        self.service_id = f"{name.lower()}_"
        self.engine = self.start()
        with KsqlClient(ready(self.engine)) as client:
            made = client.execute(raw.statement(self.sink.name, value_format), EARLIEST)
        self._group = (
            f"_confluent-ksql-{self.service_id}query_{made[-1]['commandStatus']['queryId']}"
        )

    @property
    def log_topic(self) -> str:
        return f"{self.service_id}ksql_processing_log"

    def start(self, failpoint: str = "") -> Child:
        """The next engine; it may never become ready."""
        self.engine = started(self.lab, self.service_id, failpoint)
        return self.engine

    def committed(self) -> int:
        """Records of the source, and gaps between them, that are done."""
        return sum(committed_offsets(self.lab.services, self._group, self.raw.name).values())

    def behind(self) -> int:
        """Offsets of the source that are not committed."""
        return sum(end_offsets(self.lab.services, self.raw.name).values()) - self.committed()

    def first_commit(self, engine: Child, before: int, timeout: float = PATIENCE) -> float:
        """Seconds from the start of an engine to the first commit that can be seen.

        Raises:
            Died: it ended before.
        """

        def seen() -> bool:
            time.sleep(LOOK_EVERY)
            return not engine.alive or self.committed() > before

        engine.wait_until(seen, "the first commit of the query", timeout)
        if not engine.alive:
            raise Died(engine.state())
        return round(time.monotonic() - engine.started, 3)

    def settle(self) -> None:
        """Waits until all of the source is done.

        Raises:
            Hang, Died: it does not come to its end.
        """

        def done() -> bool:
            time.sleep(LOOK_EVERY)
            return not self.engine.alive or self.behind() == 0

        self.engine.wait_until(done, "the end of the query's source", LONG)
        if not self.engine.alive:
            raise Died(self.engine.state())
