"""The search for canaries finds them where they are, and nowhere behind a statement that masks."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from faults.canary import DISGUISED, KINDS, WORD, Flock, contents, decompressed
from faults.lab import Lab
from gradstream.config import Services

CANARY = b"CNRYa5f000001eef"


def segment(codec: int, records: bytes) -> bytes:
    """One batch of Kafka's log, as far as the search looks at it."""
    rest = struct.pack(">ibIh", 0, 2, 0, codec) + bytes(61 - 23) + records
    return struct.pack(">qi", 7, len(rest)) + rest


def test_a_canary_in_a_compressed_batch_is_found(tmp_path: Path) -> None:
    plain = b"some records and " + CANARY * 3
    blocks = bytes(pa.compress(plain, "snappy", asbytes=True))
    stream = b"\x82SNAPPY\0" + bytes(8) + struct.pack(">i", len(blocks)) + blocks
    sink = {"gzip": 1, "lz4": 3, "zstd": 4}
    packed = [(2, blocks), (2, stream)]
    for codec, number in sink.items():
        buffer = pa.BufferOutputStream()
        with pa.CompressedOutputStream(buffer, codec) as out:
            out.write(plain)
        packed.append((number, buffer.getvalue().to_pybytes()))
    whole = b"".join(segment(number, records) for number, records in packed) + segment(0, plain)
    assert [inside for _, inside in decompressed(whole)] == [plain] * 5
    path = tmp_path / "00000000000000000000.log"
    path.write_bytes(whole)
    assert all(WORD.findall(data) for _, data in contents(path))
    assert len(list(contents(path))) == 6  # the file as it is, and five batches


@pytest.mark.parametrize("before", [b"", b"x", b"xx"])
def test_a_canary_in_disguise_is_found(before: bytes) -> None:
    whole = before + CANARY + b"rest"
    for data in (
        base64.b64encode(whole),
        whole.hex().encode(),
        whole.hex().upper().encode(),
        whole.decode().encode("utf-16-le"),
    ):
        assert not WORD.search(data)
        assert DISGUISED.search(data), data


@pytest.mark.integration
def test_no_canary_gets_past_a_statement_that_masks_it(services: Services) -> None:
    with Lab(services) as lab:
        flock = Flock(lab, 30 * len(KINDS))
        flock.fly()
        assert flock.leaks() == []
        assert flock.seen_in_the_raw_topics() == {kind.name: 30 for kind in KINDS}
        assert flock.logged() >= 30
