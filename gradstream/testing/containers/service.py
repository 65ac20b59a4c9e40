"""A container that is up when its service answers in its own protocol, whatever its log says."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Self

from docker.errors import NotFound
from testcontainers.core.config import ConnectionMode
from testcontainers.core.container import DockerContainer

from gradstream.errors import UnavailableError
from gradstream.testing.containers import engine
from gradstream.testing.containers.images import Role, image, variable

POLL = 0.1  # seconds between two questions
LOOPBACK = "127.0.0.1"
TAIL = 40  # lines of the log that an error brings along


class ServiceContainer(DockerContainer):
    """One service of the stack; as any container of testcontainers a context manager, with with_env() and the like.

    Args:
        role: whose image it is.
        image: default that of docker-compose.yml, or the one that GRADSTREAM_<role>_IMAGE names.
        port: that the service listens on inside.
        timeout: seconds until it must answer; pulling does not count.
        kwargs: as of testcontainers' DockerContainer.

    Raises:
        UnavailableError: ``NO_DOCKER``.
    """

    def __init__(
        self, role: Role, image_: str | None, port: int, timeout: float, **kwargs: Any
    ) -> None:
        engine.connected().close()
        super().__init__(image_ or image(role), **kwargs)
        self.role: Role = role
        self.port = port
        self.timeout = timeout
        self.with_exposed_ports(port)
        if (
            self._is_local
        ):  # nobody else is to reach it; what has no password is not for the network
            self.ports[str(port)] = (LOOPBACK, None)  # type: ignore[assignment]

    @property
    def _is_local(self) -> bool:
        """Whether the engine publishes ports on this very machine."""
        client = self.get_docker_client()
        here = client.get_connection_mode() == ConnectionMode.docker_host
        return here and client.host() in ("localhost", LOOPBACK)

    @property
    def address(self) -> str:
        """``host:port`` as this machine reaches it."""
        host = LOOPBACK if self._is_local else self.get_container_host_ip()
        return f"{host}:{self._get_exposed_port(self.port)}"

    def answers(self) -> bool:
        """Whether the service does its work now."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start, and return when the service answers.

        Raises:
            UnavailableError: ``MISSING_IMAGE``; ``SERVICE_DIED`` or ``NOT_READY`` with the container's log as a note,
                and then no container is left.
        """
        self._prepare(engine.provide(self.image, variable(self.role)))
        engine.spare_the_reaper()
        try:
            super().start()
            self._begin()
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _prepare(self, program: dict[str, list[str]]) -> None:
        """Before the container is made; ``program`` is what the image would run."""

    def _begin(self) -> None:
        """When the container runs."""

    def _wait(self) -> None:
        container = self.get_wrapped_container()
        deadline = time.monotonic() + self.timeout
        while True:
            with suppress(ConnectionError):  # that of a container without a port: it has ended
                if self.answers():
                    return
            container.reload()
            if container.status in ("exited", "dead"):
                code = container.attrs["State"]["ExitCode"]
                raise self._failed("SERVICE_DIED", f"ended with exit code {code}")
            if time.monotonic() > deadline:
                raise self._failed("NOT_READY", f"did not answer within {self.timeout:g} s")
            time.sleep(POLL)

    def _failed(self, code: str, how: str) -> UnavailableError:
        log = self.get_wrapped_container().logs(tail=TAIL).decode(errors="replace").strip()
        last = (log.splitlines() or ["it said nothing"])[-1].strip()[:300]
        error = UnavailableError(
            code,
            f"the container of {self.image} {how}: {last}; {variable(self.role)} names another image",
        )
        error.add_note(f"The end of its log:\n{log}")
        return error

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        """Remove the container, if there is one; a second call does nothing."""
        with suppress(NotFound):
            super().stop(force, delete_volume)
        self._container = None
