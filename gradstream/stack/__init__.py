"""Real Kafka and schema registry, and the KSQL engine, on one machine without Docker."""

from gradstream.stack.local import LocalStack, Status

__all__ = ["LocalStack", "Status"]
