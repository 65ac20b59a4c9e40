"""An engine dies, freezes or is replaced at each phase of a query's transaction, and each row takes effect once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from faults.raw import RawTopic
from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.failpoints import PHASES
from gradstream.shell.client import RefusedStatementError
from gradstream.wire.kafka import delete_topics, ensure_topics, list_topics
from tests.crowd import in_time
from tests.engine.test_queries import allow

pytestmark = pytest.mark.integration
EARLIEST = {"auto.offset.reset": "earliest"}
OF_TRAINERS = ("after_decode", "after_step")
Unique = Callable[[str], str]
Eventually = Callable[..., bool]


class Fed:
    """A raw topic with a query on it, in an engine of its own."""

    def __init__(
        self, engine: Any, services: Services, unique: Unique, partitions: int = 3
    ) -> None:
        self.engine = engine
        self.raw = RawTopic(services, unique("RAW").upper(), partitions)
        self.sink = unique("MADE").upper()
        made = engine.client.execute(self.raw.statement(self.sink), EARLIEST)
        self.query_id = made[-1]["commandStatus"]["queryId"]

    @property
    def group(self) -> str:
        return f"_confluent-ksql-{self.engine.service_id}query_{self.query_id}"

    def assert_each_once(self) -> None:
        assert self.raw.settled(self.group), self.engine.client.execute(f"EXPLAIN {self.query_id};")
        account = self.raw.account(self.sink, f"{self.engine.service_id}ksql_processing_log")
        assert account.faults == []
        assert account.kept + account.filtered + account.logged == self.raw.sent
        assert min(account.kept, account.filtered, account.logged) > 0


def test_killed_at_every_phase_in_turn_each_row_takes_effect_once(
    start_engine: Callable[..., Any], services: Services, unique: Unique
) -> None:
    engine = start_engine()
    fed = Fed(engine, services, unique)
    engine.kill()
    with fed.raw.feeding():
        for phase in PHASES:
            if phase not in OF_TRAINERS:
                engine.dies_at(f"{phase}:2")
    engine.start()
    fed.assert_each_once()


def test_engines_that_wake_up_after_their_successors_have_begun_write_nothing_that_counts(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    fed = Fed(engine, services, unique)
    engine.kill()
    zombies: list[subprocess.Popen[bytes]] = []
    with fed.raw.feeding():
        for phase in ("after_run", "after_send_offsets", "after_flush"):
            zombies.append(engine.launch(f"{phase}:2=stop"))  # takes over from the one before
            assert eventually(lambda: stopped(zombies[-1]), 60), engine.said()
        engine.start()
        fed.raw.send(1000)
        for zombie in zombies:
            zombie.send_signal(signal.SIGCONT)
        assert [zombie.wait(60) for zombie in zombies] == [75, 75, 75], engine.said()
    assert engine.said().count("\nFENCED: ") == 3, engine.said()
    fed.assert_each_once()


def test_killed_while_a_statement_is_logged_it_is_in_force_wholly_or_not_at_all(
    start_engine: Callable[..., Any], services: Services, unique: Unique
) -> None:
    engine = start_engine()
    engine.kill()
    made: dict[str, tuple[RawTopic, str, str]] = {}
    for phase in ("after_produce", "after_flush", "after_commit"):
        client = engine.start(f"command_{phase}:3")  # its own record, CREATE, CREATE … AS SELECT
        raw, sink = RawTopic(services, unique("RAW").upper()), unique("MADE").upper()
        create, select = raw.statement(sink).split(";")[:2]
        client.execute(f"{create};", EARLIEST)
        raw.send(500)
        with pytest.raises(GradstreamError):
            client.execute(f"{select};", EARLIEST)
        assert engine.process.wait(20) == -signal.SIGKILL
        made[phase] = raw, sink, select
    began = time.monotonic()
    client = engine.start("command_after_commit:4")
    assert in_time(time.monotonic() - began, 15), "it waited for a transaction of the dead one"
    (streams, queries) = client.execute("SHOW STREAMS; SHOW QUERIES;")
    names = [of["name"] for of in streams["streams"]]
    assert [sink in names for _, sink, _ in made.values()] == [False, False, True]
    assert [of["sinks"] for of in queries["queries"]] == [[made["after_commit"][1]]]
    for phase in ("after_produce", "after_flush"):  # as who got no answer would
        client.execute(f"{made[phase][2]};", EARLIEST)
    (queries,) = client.execute("SHOW QUERIES;")
    ids = {of["sinks"][0]: of["id"] for of in queries["queries"]}
    for raw, sink, _ in made.values():
        assert raw.settled(f"_confluent-ksql-{engine.service_id}query_{ids[sink]}")
        assert raw.account(sink, f"{engine.service_id}ksql_processing_log").faults == []
    dropped = made["after_commit"][1]
    with pytest.raises(GradstreamError):
        client.execute(f"DROP STREAM {dropped} DELETE TOPIC;")
    assert engine.process.wait(20) == -signal.SIGKILL
    assert dropped in list_topics(services)
    engine.start()
    assert dropped not in list_topics(services)


def test_a_statement_that_the_log_refuses_ends_no_engine(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    raw, sink = RawTopic(services, unique("RAW").upper()), unique("MADE").upper()
    topic = f"_confluent-ksql-{engine.service_id}_command_topic"
    allow(services, topic, 100)
    with pytest.raises(GradstreamError, match="SEND_FAILED"):
        engine.client.execute(raw.statement(sink), EARLIEST)
    allow(services, topic, 1_000_000)

    def taken() -> bool:
        try:
            engine.client.execute(raw.statement(sink), EARLIEST)
        except RefusedStatementError:  # the producer says once more that a record has failed
            return False
        return True

    assert eventually(taken)
    assert len(engine.client.execute("SHOW QUERIES;")[0]["queries"]) == 1


def test_a_source_that_was_made_anew_meanwhile_stops_its_query(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    fed = Fed(engine, services, unique, partitions=1)
    fed.raw.send(500)
    fed.assert_each_once()
    engine.kill()
    delete_topics(services, [fed.raw.name])
    ensure_topics(services, {fed.raw.name: 1})
    fed.raw.send(1000)
    client = engine.start()

    def state() -> str:
        return str(client.execute("SHOW QUERIES;")[0]["queries"][0]["state"])

    assert eventually(lambda: state() == "ERROR"), client.execute(f"EXPLAIN {fed.query_id};")
    assert "TOPIC_RECREATED" in str(client.execute(f"EXPLAIN {fed.query_id};"))


def stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child is stopped; true once for each time that it stops."""
    assert process.returncode is None
    found, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
    assert found == 0 or os.WIFSTOPPED(status), "it has ended"
    return found == process.pid
