"""Confluent's schema registry in a container."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from gradstream.errors import UnavailableError
from gradstream.testing.containers.service import ServiceContainer
from gradstream.wire.registry import Registry

PORT = 8081


class SchemaRegistryContainer(ServiceContainer):
    """The registry of the image confluentinc/cp-schema-registry.

    Args:
        bootstrap_servers: Kafka as the container reaches it, such as ``kafka:9092`` in its network.
        alias: its name for other containers of its network.
        timeout, kwargs: as of ServiceContainer.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        image: str | None = None,
        *,
        alias: str = "schema-registry",
        timeout: float = 120.0,
        **kwargs: Any,
    ) -> None:
        super().__init__("REGISTRY", image, PORT, timeout, **kwargs)
        self.alias = alias
        self.with_network_aliases(alias)
        self.with_envs(
            SCHEMA_REGISTRY_HOST_NAME=alias,
            SCHEMA_REGISTRY_LISTENERS=f"http://0.0.0.0:{PORT}",
            SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS=f"PLAINTEXT://{bootstrap_servers}",
            SCHEMA_REGISTRY_KAFKASTORE_TOPIC_REPLICATION_FACTOR="1",
            SCHEMA_REGISTRY_HEAP_OPTS="-Xmx256m",
        )

    @property
    def url(self) -> str:
        """As this machine reaches it."""
        return f"http://{self.address}"

    @property
    def inside(self) -> str:
        """As other containers of its network reach it."""
        return f"http://{self.alias}:{PORT}"

    def answers(self) -> bool:
        """Whether it lists its subjects."""
        with closing(Registry(self.url)) as registry:
            try:
                registry.check(timeout=2.0)
            except UnavailableError:
                return False
        return True
