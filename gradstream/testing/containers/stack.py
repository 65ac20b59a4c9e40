"""The three services in containers, as one thing."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from testcontainers.core.network import Network

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.testing.containers import engine
from gradstream.testing.containers.kafka import KafkaContainer
from gradstream.testing.containers.ksqldb import KsqlDBContainer
from gradstream.testing.containers.registry import SchemaRegistryContainer
from gradstream.testing.containers.service import ServiceContainer


class ContainerStack:
    """Kafka, schema registry and ksqlDB in containers of one Docker network.

        with ContainerStack() as stack:
            stack.services

    Args:
        kafka, registry, ksqldb: images; default those of docker-compose.yml, or the ones that GRADSTREAM_KAFKA_IMAGE,
            GRADSTREAM_REGISTRY_IMAGE and GRADSTREAM_KSQLDB_IMAGE name.
        timeout: seconds until each must answer; pulling does not count.

    Raises:
        UnavailableError: as of ServiceContainer.start; nothing is left then.
    """

    def __init__(
        self,
        *,
        kafka: str | None = None,
        registry: str | None = None,
        ksqldb: str | None = None,
        timeout: float = 180.0,
    ) -> None:
        self.images = (kafka, registry, ksqldb)
        self.timeout = timeout
        self.containers: list[ServiceContainer] = []
        self.network: Network | None = None
        self._services: Services | None = None
        self._open = ExitStack()

    @property
    def services(self) -> Services:
        """The addresses, as this machine reaches them.

        Raises:
            UnavailableError: ``NOT_RUNNING``.
        """
        if self._services is None:
            raise UnavailableError(
                "NOT_RUNNING", "the containers are not up; call up() or use with"
            )
        return self._services

    def up(self) -> None:
        """Start one after the other, each when those answer that it needs."""
        engine.connected().close()
        with ExitStack() as opened:
            self.network = opened.enter_context(Network())
            kafka_image, registry_image, ksqldb_image = self.images
            common: dict[str, Any] = {"network": self.network, "timeout": self.timeout}
            kafka = opened.enter_context(KafkaContainer(kafka_image, **common))
            registry = opened.enter_context(
                SchemaRegistryContainer(kafka.inside, registry_image, **common)
            )
            ksqldb = opened.enter_context(
                KsqlDBContainer(kafka.inside, registry.inside, ksqldb_image, **common)
            )
            self.containers = [kafka, registry, ksqldb]
            self._services = Services(kafka.bootstrap_servers, registry.url, ksqldb.url)
            self._open = opened.pop_all()

    def down(self) -> None:
        """Remove the containers and their network; a second call does nothing."""
        self._services = None
        self._open.close()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()
