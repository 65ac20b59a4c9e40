"""What a trainer loads before it talks to anyone; imported by the process from which trainers are forked in tests."""

from gradstream.wire.codec_avro import compile_all
from gradstream.wire.librdkafka_reader import LibrdkafkaReader
from trainers import loop
from trainers.backends import on_numpy

__all__ = ["loop", "on_numpy"]

compile_all()
LibrdkafkaReader.check()
