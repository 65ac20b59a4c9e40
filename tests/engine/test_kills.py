"""An engine dies, freezes or is replaced at each phase of a query's transaction, and each row takes effect once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from faults.raw import RawTopic
from gradstream.config import Services
from gradstream.failpoints import PHASES

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


def stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child is stopped; true once for each time that it stops."""
    assert process.returncode is None
    found, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
    assert found == 0 or os.WIFSTOPPED(status), "it has ended"
    return found == process.pid
