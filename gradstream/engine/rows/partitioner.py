"""To which partition a key goes: as Kafka's default partitioner decides, by murmur2 of the key's bytes."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.catalog import Format
from gradstream.engine.rows import serdes

_FACTOR = 0x5BD1E995
_ALL = 0xFFFFFFFF


def key_partitions(format_: Format, keys: pa.RecordBatch, count: int) -> list[int]:
    """The partition, below ``count``, of each of the keys, by their columns."""
    written = serdes.moved_key_encoder(format_, keys.schema).encode(keys)
    places: list[int] = partitions_of(written, count).tolist()
    return places


def partitions_of(keys: pa.BinaryArray, count: int) -> npt.NDArray[np.int32]:
    """The partition, below ``count``, of each of n keys, int32 (n,); -1 for none, of which the producer decides."""
    places = [
        -1 if key is None else (murmur2(key) & 0x7FFFFFFF) % count for key in keys.to_pylist()
    ]
    return np.array(places, np.int32)


@lru_cache(1 << 16)
def murmur2(data: bytes) -> int:
    """As Java's ``Utils.murmur2``, without a sign."""
    whole = len(data) & ~3
    found = 0x9747B28C ^ len(data)
    for (four,) in struct.iter_unpack("<I", data[:whole]):
        mixed = four * _FACTOR & _ALL
        mixed = (mixed ^ mixed >> 24) * _FACTOR & _ALL
        found = (found * _FACTOR & _ALL) ^ mixed
    if rest := data[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * _FACTOR & _ALL
    found = (found ^ found >> 13) * _FACTOR & _ALL
    return found ^ found >> 15
