"""One start: broker and registry side by side, then the engine; all ready before one deadline, or nothing left."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.stack import archives, broker, engine, process, ready, registry, state
from gradstream.stack.folders import Folders
from gradstream.stack.jars import Programs
from gradstream.stack.java import JAVA_ENVIRONMENT
from gradstream.stack.ports import HOST
from gradstream.stack.process import Child
from gradstream.stack.state import State

GROUPS = "broker's group coordinator"
POLL = 0.03  # seconds between two rounds of questions
QUICK = 1.5  # seconds that children get to end by themselves when a start is given up


def addresses(ports: Mapping[str, int]) -> Services:
    """The three addresses for these ports; without an engine of ours, the usual port of one."""
    return Services(
        f"{HOST}:{ports['broker']}",
        f"http://{HOST}:{ports['registry']}{registry.PATH}",
        f"http://{HOST}:{ports.get('engine', 8088)}",
    )


def answers(service: str, ports: Mapping[str, int]) -> bool:
    """Whether a service does its work now; it is asked, not looked at."""
    if service == broker.NAME:
        return ready.broker_answers(addresses(ports))
    if service == GROUPS:
        return ready.groups_answer(addresses(ports))
    if service == registry.NAME:
        return ready.registry_answers(ports[service], registry.PATH)
    return ready.engine_answers(ports[service])


class Start:
    """The children of one start, and their undoing.

    Args:
        folders: of the stack's home, made.
        programs: verified.
        ports: by listener: broker, controller, registry and, if an engine is wanted, engine.
        kept: children of an earlier start that still run; they are asked for readiness, not started.
        timeout: seconds for all services together.
    """

    def __init__(
        self,
        folders: Folders,
        programs: Programs,
        ports: dict[str, int],
        kept: Mapping[str, Child],
        timeout: float,
    ) -> None:
        self.folders = folders
        self.programs = programs
        self.ports = ports
        self.services = addresses(ports)
        self.children = dict(kept)
        self.handles: dict[str, subprocess.Popen[bytes]] = {}
        self.began: dict[str, float] = {}
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout

    def run(self) -> State:
        """Start what is missing, wait until all is ready, write it down.

        Raises:
            UnavailableError: ``SERVICE_DIED`` or ``NOT_READY``, with the log's tail as a note; nothing that this
                start began is left.
        """
        try:
            self._registry()
            self._broker()
            self._wait([broker.NAME, registry.NAME])
            self._engine()
            ready.set_compatibility(self.ports["registry"], registry.PATH)
            self._wait([GROUPS, *([engine.NAME] if "engine" in self.ports else [])])
            return self._written(self.services)
        except BaseException:
            with undisturbed():
                self._undo()
            raise
        finally:
            for handle in self.handles.values():
                process.release(handle)

    def _registry(self) -> None:
        if registry.NAME not in self.children:
            self._spawn(
                registry.NAME,
                registry.command(self.folders, self.programs, self.ports["registry"]),
                self.folders.log(registry.NAME),
                extra=JAVA_ENVIRONMENT,
            )

    def _broker(self) -> None:
        if broker.NAME not in self.children:
            broker.prepare(
                self.folders, self.programs, self.ports["broker"], self.ports["controller"]
            )
            # Kafka writes its log itself, in bounded files; here goes what Java says.
            self._spawn(
                broker.NAME,
                broker.command(self.folders, self.programs),
                self.folders.output(broker.NAME),
                keep=self.folders.log(broker.NAME),
                extra=JAVA_ENVIRONMENT,
            )

    def _engine(self) -> None:
        if "engine" in self.ports and engine.NAME not in self.children:
            self._spawn(
                engine.NAME,
                engine.command(
                    self.ports["engine"],
                    self.services.bootstrap_servers,
                    self.services.schema_registry_url,
                ),
                self.folders.log(engine.NAME),
                extra=engine.environment(),
            )

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        output: Path,
        keep: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        for log in {output, keep or output}:
            if log.exists():  # each start has a log of its own; the one before is kept
                log.replace(log.with_name(log.name + ".1"))
        handle = process.spawn(command, self.folders.home, output, extra)
        self.handles[name] = handle
        self.began[name] = time.monotonic()
        self.children[name] = process.record(handle)
        self._written(None)

    def _written(self, services: Services | None) -> State:
        now = State(services, self.children, self.ports)
        state.write(self.folders, now)
        return now

    def _wait(self, names: Sequence[str]) -> None:
        pending = list(names)
        while pending:
            for name in list(pending):
                self._check_deaths()
                if answers(name, self.ports):
                    pending.remove(name)
            if pending and time.monotonic() > self.deadline:
                raise self._late(pending[0])
            if pending:
                time.sleep(POLL)
        self._check_deaths()

    def _check_deaths(self) -> None:
        for name, handle in self.handles.items():
            code = handle.poll()
            if code is not None:
                raise self._died(name, code)

    def _died(self, name: str, code: int) -> UnavailableError:
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        seconds = time.monotonic() - self.began[name]
        text = self._tail(name)
        return _with_note(
            UnavailableError(
                "SERVICE_DIED",
                f"the {name} ended with {how} after {seconds:.1f} s: {_reason(text)}; its log is "
                f"{self.folders.log(name)}; nothing was left running",
            ),
            text,
        )

    def _late(self, what: str) -> UnavailableError:
        name = broker.NAME if what == GROUPS else what
        if name in self.handles:
            remedy = (
                f"on a slow machine give more time: gradstream up --timeout {self.timeout * 3:g}"
            )
        else:
            remedy = "it has run since before, so run gradstream down, then gradstream up"
        return _with_note(
            UnavailableError(
                "NOT_READY",
                f"the {what} did not answer within {self.timeout:g} s; its log is {self.folders.log(name)}; {remedy}",
            ),
            self._tail(name),
        )

    def _tail(self, name: str) -> str:
        logs = (self.folders.log(name), self.folders.output(name))
        return "\n".join(filter(None, (process.tail(log) for log in logs)))

    def _undo(self) -> None:
        # By their handles: a launcher that is just replacing itself shows no environment to know it by.
        started = [psutil.Process(of.pid) for of in self.handles.values() if of.poll() is None]
        process.stop(started, QUICK)
        archives.discard(self.folders)
        for name, handle in self.handles.items():
            handle.poll()
            del self.children[name]
        if self.children:
            self._written(None)
        else:
            state.forget(self.folders)


def _with_note(error: UnavailableError, text: str) -> UnavailableError:
    if text:
        error.add_note(text)
    return error


def _reason(text: str) -> str:
    """The line of a log's tail that most likely tells why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if re.search(r"\b(ERROR|FATAL|Error|\w*Exception)\b", line) and not line.startswith("at ")
    ]
    return (telling or lines or ["it said nothing"])[-1][:300]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Cleaning up is not stopped by a second Ctrl-C; it is bounded in time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
