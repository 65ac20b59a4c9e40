"""Processes of the laboratory: started, watched, stopped in every way, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from faults.attempt import Died, Hang
from gradstream.config import Services
from gradstream.failpoints import REACHED
from gradstream.stack import process

PATIENCE = 120.0  # seconds after which whatever we wait for counts as hanging
GLANCE = 0.005
ROOT = Path(__file__).parent.parent


def environment(services: Services, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a child: our services and no failpoint but those that are asked for."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("GRADSTREAM_")}
    kept = {k: v for k, v in os.environ.items() if k in ("GRADSTREAM_CACHE", "GRADSTREAM_CLIENT")}
    return {
        **mine,
        **kept,
        "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers,
        "GRADSTREAM_SCHEMA_REGISTRY_URL": services.schema_registry_url,
        "GRADSTREAM_KSQL_URL": services.ksql_url,
        **(more or {}),
    }


class Child:
    """One process. At the end of its ``with`` block it is killed if it still lives.

    Args:
        log: takes what it writes to stderr.
        glance: what to do while we wait for it, a few milliseconds long.
    """

    def __init__(
        self,
        argv: Sequence[str],
        services: Services,
        log: Path,
        more: Mapping[str, str] | None = None,
        glance: Callable[[], None] | None = None,
    ) -> None:
        self.log = log
        self._glance = glance or (lambda: time.sleep(GLANCE))
        self.started = time.monotonic()
        with log.open("wb") as errors:
            # In a session of its own, so that Ctrl-C reaches the laboratory only, which ends its children itself.
            self._process = subprocess.Popen(
                argv,
                env=environment(services, more),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or is stopped and could run on."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code, below zero the signal that it died of; None while it lives."""
        return self._process.poll()

    @property
    def errors(self) -> str:
        """What it has written to stderr."""
        return self.log.read_text(errors="replace")

    @property
    def last_words(self) -> str:
        """The last line of it, which for our commands is the one error; of a crash the line before Python's stacks."""
        told, _, _ = self.errors.partition("Fatal Python error: ")
        lines = [line for line in told.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def state(self) -> str:
        """How it is, or how it has ended, and its last line."""
        code = self.code
        if code is None:
            return f"process {self.pid} is {'stopped' if self.stopped else 'alive'}: {process.tail(self.log, 1)}"
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"ended by {how}: {self.last_words}"

    def kill(self) -> bool:
        """SIGKILL; whether it was alive and died of that."""
        if not self.alive:
            return False
        self._process.kill()
        return self._process.wait(PATIENCE) == -signal.SIGKILL

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        self._process.terminate()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def wait_until(
        self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE
    ) -> float:
        """Glances until it holds; the seconds that it took.

        Raises:
            Hang: it does not hold in time.
        """
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout:
                raise Hang(f"{what} did not happen in {timeout:.0f} s; {self.state()}")
            self._glance()
        return time.monotonic() - began

    def await_exit(self, timeout: float = PATIENCE) -> int:
        """Its exit code."""
        self.wait_until(lambda: not self.alive, "the end of the process", timeout)
        return self._process.returncode

    def await_signal(self, number: int, timeout: float = PATIENCE) -> bool:
        """Whether it died of this signal; False where it has done all its work and ended before.

        Raises:
            Died: it ended with an error.
        """
        code = self.await_exit(timeout)
        if code not in (0, -number):
            raise Died(f"{self.state()}, not of {signal.Signals(number).name}")
        return code == -number

    def stops(self, timeout: float = PATIENCE) -> bool:
        """Waits until a failpoint has stopped it; False where it has done all its work and ended before.

        Raises:
            Died: it ended with an error.
        """
        self.wait_until(lambda: not self.alive or self.stopped, "SIGSTOP at a failpoint", timeout)
        if self.code:
            raise Died(self.state())
        return self.alive

    def await_stopped(self, timeout: float = PATIENCE) -> None:
        """As ``stops``, where an earlier end is a fault too."""
        if not self.stops(timeout):
            raise Died(f"{self.state()} before its failpoint")

    def reaches(self, timeout: float = PATIENCE) -> bool:
        """Waits until it has reached a failpoint, as it writes; False where it has done all its work and ended before.

        Raises:
            Died: it ended with an error.
        """
        self.wait_until(lambda: not self.alive or self.at_failpoint, "a failpoint", timeout)
        if self.code and not self.at_failpoint:
            raise Died(self.state())
        return self.at_failpoint

    @property
    def at_failpoint(self) -> bool:
        """Whether it has reached one of its failpoints."""
        return f"{REACHED}: " in self.errors

    def expect(self, error: str, code: int | None = None, timeout: float = PATIENCE) -> None:
        """Waits for its end with one line that begins with this code of an error.

        Raises:
            Died: it ended in another way.
        """
        got = self.await_exit(timeout)
        if not self.last_words.startswith(f"{error}: ") or code not in (None, got):
            raise Died(f"{self.state()}; expected {error} and exit code {code}")

    def expect_fenced(self) -> str:
        """Waits for its end as one that another has superseded; what was odd about it, for the record.

        librdkafka 2.16 ends a process by an assertion where it learns of a commit after it has learned that it is fenced.

        Raises:
            Died: it ended in another way.
        """
        if self.await_exit() == -signal.SIGABRT and "rd_kafka_txn_set_state" in self.last_words:
            return "ended by an assertion of librdkafka"
        self.expect("FENCED", 75)
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Killed, if it still lives."""
        if self.alive:
            self._process.kill()
            self._process.wait()

    @property
    def stopped(self) -> bool:
        """Whether it is frozen."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False
