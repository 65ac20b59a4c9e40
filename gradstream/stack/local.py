"""The local stack as one thing: up, down, and what runs now."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from gradstream import config
from gradstream.config import Services
from gradstream.console import notes
from gradstream.errors import ConfigError, UnavailableError
from gradstream.stack import archives, broker, engine, jars, ports, process, registry, state
from gradstream.stack.folders import Folders, usable
from gradstream.stack.lock import locked
from gradstream.stack.process import Child
from gradstream.stack.start import QUICK, Start, addresses, answers, undisturbed
from gradstream.stack.state import State

GRACE = (
    20.0  # seconds that a service gets to write out its data (once: its archive of classes) and end
)

# listener: the flag that gives its port, None where nobody needs to know it
LISTENERS = {
    "broker": "--kafka-port",
    "controller": None,
    "registry": "--registry-port",
    "engine": "--ksql-port",
}


@dataclass(frozen=True, slots=True)
class Status:
    """One service now.

    Attributes:
        service: its name: broker, registry or engine.
        address: as clients name it.
        pid, memory, uptime: of its process (resident bytes, seconds), None where it does not run.
        healthy: whether it answers.
    """

    service: str
    address: str
    pid: int | None
    memory: int | None
    uptime: float | None
    healthy: bool


class LocalStack:
    """Kafka, schema registry and KSQL engine as child processes on this machine.

        with LocalStack(home=folder) as stack:
            stack.services

    The context manager stops at its end what it has started; a stack that already ran stays. Without ``with``, ``up``
    leaves the services running, for ``down`` to stop.

    Args:
        home: data, logs and configuration; default ``GRADSTREAM_HOME``, else ``~/.gradstream``.
        kafka_port, registry_port, ksql_port: default the last run's if free, else free ones.
        with_engine: whether to start the KSQL engine too.
        timeout: seconds for all services together to be ready; downloads do not count.
        cache: where the Java programs lie; default ``GRADSTREAM_CACHE``, else the user's cache folder.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        kafka_port: int | None = None,
        registry_port: int | None = None,
        ksql_port: int | None = None,
        with_engine: bool = True,
        timeout: float = 60.0,
        cache: Path | None = None,
    ) -> None:
        self.folders = Folders(usable((home or config.home()).resolve()))
        self.given = {"broker": kafka_port, "registry": registry_port, "engine": ksql_port}
        self.names = [broker.NAME, registry.NAME, *([engine.NAME] if with_engine else [])]
        self.timeout = timeout
        self.cache = usable(cache or jars.cache_folder())
        self._started = False

    @property
    def services(self) -> Services:
        """The addresses of the running stack.

        Raises:
            UnavailableError: ``NOT_RUNNING``.
        """
        found = state.read(self.folders)
        if found is None or found.services is None:
            raise UnavailableError(
                "NOT_RUNNING",
                f"no local stack runs in {self.folders.home}; start it with gradstream up",
            )
        return found.services

    def up(self) -> bool:
        """Start what does not run; return when all is ready.

        Returns:
            Whether anything was started; False when all ran already.

        Raises:
            ConfigError: ``ALREADY_RUNNING`` at other ports than those given.
            GradstreamError: as raised by jars.provide, ports.choose and Start.run.
        """
        if self._runs():
            return False
        self.folders.make()
        programs = jars.provide(self.cache)
        with self._locked():
            if self._runs():  # another up was quicker
                return False
            before = state.read(self.folders)
            kept = self._kept(before)
            chosen = self._ports(before, kept)
            kept = self._fitting(kept, before, chosen)
            missing = [name for name in self.names if name not in kept]
            with notes.status(f"Starting {', '.join(missing) or 'nothing, waiting for all'} ..."):
                Start(self.folders, programs, chosen, kept, self.timeout).run()
        return True

    def down(self, *, delete_data: bool = False, hurry: bool = False) -> int:
        """Stop all services of this home, recorded or lost from the record.

        Args:
            delete_data: delete topics, schemas, offsets and logs too.
            hurry: stop all at once within two seconds, as after Ctrl-C; Kafka and the registry bear that.

        Returns:
            How many processes were stopped.
        """
        if not self.folders.home.is_dir():
            return 0
        with self._locked():
            running = process.marked(self.folders.home)
            last = [] if hurry else self._stores(running)
            # The engine first: it commits and leaves its groups while there is a broker to tell.
            gone = process.stop(
                [one for one in running if one not in last], QUICK if hurry else GRACE
            )
            if process.stop(last, GRACE) and gone:
                archives.adopt(self.folders, self.cache)
            state.forget(self.folders)
            if delete_data:
                self.folders.delete_data()
        return len(running)

    def _stores(self, running: list[psutil.Process]) -> list[psutil.Process]:
        """Those of the processes that hold data."""
        found = state.read(self.folders)
        children = found.children if found else {}
        pids = {children[name].pid for name in (broker.NAME, registry.NAME) if name in children}
        return [one for one in running if one.pid in pids]

    def status(self) -> list[Status]:
        """Every service of the stack, asked now; empty when none runs.

        A record that a crash or reboot has left behind is removed.
        """
        found = state.read(self.folders)
        if found is None:
            return []
        if not any(process.find(child, self.folders.home) for child in found.children.values()):
            state.forget(self.folders)
            return []
        names = [name for name in (broker.NAME, registry.NAME, engine.NAME) if name in found.ports]
        return [self._status(name, found) for name in names]

    def __enter__(self) -> LocalStack:
        self._started = self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._started:
            with undisturbed():
                self.down(hurry=kind is KeyboardInterrupt)

    def _locked(self) -> AbstractContextManager[None]:
        holder = f"another gradstream up or down is at work in {self.folders.home}"
        return locked(self.folders.lock_file, self.timeout + GRACE, holder)

    def _runs(self) -> bool:
        """Whether all wanted services run and answer, at the given ports."""
        found = state.read(self.folders)
        if found is None or found.services is None:
            return False
        statuses = {status.service: status.healthy for status in self.status()}
        if not all(statuses.get(name) for name in self.names):
            return False
        for listener, port in found.ports.items():
            self._check_given(listener, port)
        return True

    def _check_given(self, listener: str, port: int) -> None:
        """What runs cannot move."""
        given = self.given.get(listener)
        if given not in (None, port):
            raise ConfigError(
                "ALREADY_RUNNING",
                f"the stack in {self.folders.home} runs with the {listener} on port {port}, not {given}; "
                "to move it, run gradstream down first",
            )

    def _kept(self, before: State | None) -> dict[str, Child]:
        """Children that still run; whatever else carries our mark is stopped, nobody could find it later."""
        children = before.children if before else {}
        kept = {
            name: child
            for name, child in children.items()
            if process.find(child, self.folders.home) is not None
        }
        pids = {child.pid for child in kept.values()}
        process.stop(
            [found for found in process.marked(self.folders.home) if found.pid not in pids], GRACE
        )
        return kept

    def _ports(self, before: State | None, kept: dict[str, Child]) -> dict[str, int]:
        last = {**state.last_ports(self.folders), **(before.ports if before else {})}
        chosen: dict[str, int] = {}
        taken: set[int] = set()
        for listener in LISTENERS:
            owner = _owner(listener)
            if owner in kept and listener in last:
                self._check_given(listener, last[listener])
                chosen[listener] = last[listener]
                taken.add(last[listener])
        for listener, flag in LISTENERS.items():
            owner = _owner(listener)
            if owner in self.names and listener not in chosen:
                given = self.given.get(listener)
                chosen[listener] = ports.choose(flag or "", given, last.get(listener), taken)
        return chosen

    def _fitting(
        self, kept: dict[str, Child], before: State | None, chosen: dict[str, int]
    ) -> dict[str, Child]:
        """An engine that still runs but was told other addresses is stopped, to be started anew."""
        told = before.ports if before else {}
        moved = any(told.get(name) != chosen[name] for name in (broker.NAME, registry.NAME))
        if engine.NAME in kept and moved:
            found = process.find(kept.pop(engine.NAME), self.folders.home)
            process.stop([found] if found else [], GRACE)
        return kept

    def _status(self, name: str, found: State) -> Status:
        services = addresses(found.ports)
        address = {
            broker.NAME: services.bootstrap_servers,
            registry.NAME: services.schema_registry_url,
            engine.NAME: services.ksql_url,
        }[name]
        child = found.children.get(name)
        running = process.find(child, self.folders.home) if child else None
        if running is None:
            return Status(name, address, None, None, None, False)
        try:
            memory, uptime = running.memory_info().rss, process.uptime(running)
        except psutil.Error:
            return Status(name, address, None, None, None, False)
        return Status(name, address, running.pid, memory, uptime, answers(name, found.ports))


def _owner(listener: str) -> str:
    return broker.NAME if listener == "controller" else listener
