"""Apache Kafka in a container: one node in KRaft mode, transactions included."""

from __future__ import annotations

from typing import Any

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.stack.ready import groups_answer
from gradstream.testing.containers.service import ServiceContainer
from gradstream.wire.kafka import check_broker

INNER, OUTER = 9092, 29092  # for other containers; for this machine
LISTENERS = "/tmp/gradstream-listeners"  # noqa: S108  in the container
# The port on this machine, which Kafka has to tell its clients, is known when the container runs. So it begins with a
# wait for the file that names it, and then becomes what the image runs.
WAIT = f'until [ -s {LISTENERS} ]; do sleep 0.05; done; export "$(cat {LISTENERS})"; exec "$@"'
SETTINGS = {
    "CLUSTER_ID": "Z3JhZHN0cmVhbS1sb2NhbA",
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_LISTENERS": f"INNER://:{INNER},OUTER://:{OUTER},CONTROLLER://localhost:9093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INNER:PLAINTEXT,OUTER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INNER",
    # As gradstream/stack/broker.py, where the reasons stand.
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_NUM_PARTITIONS": "1",
    "KAFKA_DEFAULT_REPLICATION_FACTOR": "1",
    "KAFKA_MESSAGE_MAX_BYTES": "16777216",
    "KAFKA_REPLICA_FETCH_MAX_BYTES": "16777216",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
    "KAFKA_LOG_CLEANER_DEDUPE_BUFFER_SIZE": "8388608",
    "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
}


class KafkaContainer(ServiceContainer):
    """Kafka of the image apache/kafka.

        with KafkaContainer() as kafka:
            kafka.bootstrap_servers

    Args:
        alias: its name for other containers of its network, who reach it at ``alias:9092``.
        timeout, kwargs: as of ServiceContainer.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        alias: str = "kafka",
        timeout: float = 120.0,
        **kwargs: Any,
    ) -> None:
        super().__init__("KAFKA", image, OUTER, timeout, **kwargs)
        self.alias = alias
        self.with_network_aliases(alias)
        self.with_envs(**SETTINGS)

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` as this machine reaches it."""
        return self.address

    @property
    def inside(self) -> str:
        """``host:port`` as other containers of its network reach it."""
        return f"{self.alias if self._network else 'localhost'}:{INNER}"

    def answers(self) -> bool:
        """Whether metadata and consumer groups are served, by the name that clients are told."""
        services = Services(self.bootstrap_servers, "", "")
        try:
            check_broker(services, timeout=1.0)
        except UnavailableError:
            return False
        return groups_answer(services)

    def _prepare(self, program: dict[str, list[str]]) -> None:
        given = self._command.split() if isinstance(self._command, str) else self._command
        words = [*program["Entrypoint"], *(given or program["Cmd"])]
        self._command = None
        self.with_kwargs(**{**self._kwargs, "entrypoint": ["sh", "-c", WAIT, "sh", *words]})

    def _begin(self) -> None:
        told = f"KAFKA_ADVERTISED_LISTENERS=INNER://{self.inside},OUTER://{self.bootstrap_servers}"
        self.copy_into_container(told.encode(), LISTENERS)
