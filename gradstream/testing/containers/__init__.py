"""Kafka, schema registry and ksqlDB in Docker, by testcontainers: alone, or the three as one stack.

    with ContainerStack() as stack:
        stack.services

Needs a Docker engine and ``pip install 'gradstream[testing]'``.
"""

from gradstream.errors import UnavailableError

try:
    import testcontainers.core  # noqa: F401  what all modules here build on
except ImportError:
    raise UnavailableError(
        "NO_TESTCONTAINERS",
        "the package testcontainers is not installed; pip install 'gradstream[testing]', or use LocalStack, which "
        "needs no Docker",
    ) from None

from gradstream.testing.containers.kafka import KafkaContainer
from gradstream.testing.containers.ksqldb import KsqlDBContainer
from gradstream.testing.containers.registry import SchemaRegistryContainer
from gradstream.testing.containers.stack import ContainerStack

__all__ = ["ContainerStack", "KafkaContainer", "KsqlDBContainer", "SchemaRegistryContainer"]
