"""gradstream: train models on Kafka streams with KSQL preprocessing, exactly once."""

__version__ = "0.1.0"
