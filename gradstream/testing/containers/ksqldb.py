"""ksqlDB in a container."""

from __future__ import annotations

from typing import Any

from gradstream.errors import GradstreamError
from gradstream.shell.client import KsqlClient
from gradstream.testing.containers.service import ServiceContainer

PORT = 8088


class KsqlDBContainer(ServiceContainer):
    """The server of the image confluentinc/ksqldb-server.

        with KsqlDBContainer("kafka:9092", network=network) as ksqldb:
            ksqldb.url

    Args:
        bootstrap_servers: Kafka as the container reaches it, such as ``kafka:9092`` in its network.
        schema_registry_url: the registry as the container reaches it; None for statements without AVRO.
        alias: its name for other containers of its network.
        timeout, kwargs: as of ServiceContainer; its settings can be given as ``env``, such as
            ``{"KSQL_KSQL_SERVICE_ID": "mine_"}``.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        schema_registry_url: str | None = None,
        image: str | None = None,
        *,
        alias: str = "ksqldb-server",
        timeout: float = 180.0,
        **kwargs: Any,
    ) -> None:
        super().__init__("KSQLDB", image, PORT, timeout, **kwargs)
        self.alias = alias
        self.with_network_aliases(alias)
        usual = {
            "KSQL_LISTENERS": f"http://0.0.0.0:{PORT}",
            "KSQL_BOOTSTRAP_SERVERS": bootstrap_servers,
            "KSQL_KSQL_SERVICE_ID": "gradstream_tests_",
            "KSQL_KSQL_STREAMS_PROCESSING_GUARANTEE": "exactly_once_v2",
            "KSQL_CONFLUENT_SUPPORT_METRICS_ENABLE": "false",
            "KSQL_HEAP_OPTS": "-Xmx1g",
        }
        if schema_registry_url is not None:
            usual["KSQL_KSQL_SCHEMA_REGISTRY_URL"] = schema_registry_url
        self.env = {**usual, **self.env}

    @property
    def url(self) -> str:
        """As this machine reaches it."""
        return f"http://{self.address}"

    @property
    def inside(self) -> str:
        """As other containers of its network reach it."""
        return f"http://{self.alias}:{PORT}"

    def answers(self) -> bool:
        """Whether it says that it runs; it listens earlier, while it still resumes its queries."""
        with KsqlClient(self.url, timeout=2.0) as client:
            try:
                return bool(client.info().get("serverStatus") == "RUNNING")
            except GradstreamError:
                return False
