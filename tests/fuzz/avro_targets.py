"""What is fuzzed of the Avro codec. An input's first byte names the schema, the rest is one record.

The record and some of what it looks like when it is cut short are decoded in fenced memory and compared with the judge
of tests/wire. A target takes an input and gives a number for what it met, so that new ways are worth keeping.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from gradstream.errors import DataError
from gradstream.wire import avro_schema, codec_avro
from gradstream.wire.codec_avro import AvroDecoder, encode
from tests.fuzz.guarded import Rooms
from tests.wire.avro_cases import Case, body
from tests.wire.avro_examples import FLAT, NESTED
from tests.wire.avro_judge import Avro, Types
from tests.wire.test_avro_properties import (
    Known,
    assert_matrix,
    framed,
    numbers_and_vectors,
    rows_of,
    verdict,
    words,
)

Target = Callable[[bytes], Iterable[int]]
MOST_CUTS = 24
LONGEST = 4096


class Codec:
    """One schema with its decoder, and the names of its numbers."""

    def __init__(self, schema: Avro, row: Any) -> None:
        self.schema = schema
        self.types = Types(schema)
        self.good = framed(body(self.types, row))
        self.decoder = AvroDecoder(Known(schema))
        self.numbers = numbers_and_vectors(Case(schema, [row]))


class Schemas:
    """What the targets share: the codecs, and fenced memory for an input's records."""

    def __init__(self, given: list[tuple[Avro, Any]]) -> None:
        self.codecs = [Codec(*one) for one in given]
        self.rooms = Rooms(MOST_CUTS + 4, LONGEST + 5)

    def seeds(self) -> list[bytes]:
        return [bytes([i]) + one.good[5:] for i, one in enumerate(self.codecs)]

    def taken(self, data: bytes) -> tuple[int, Codec, list[bytes]]:
        """The schema that an input names, and its record between good ones, whole and cut short."""
        which = (data[0] if data else 0) % len(self.codecs)
        codec = self.codecs[which]
        whole = framed(data[1 : LONGEST + 1])
        cuts = list(range(len(whole)))
        if len(cuts) > MOST_CUTS:
            cuts = sorted(random.Random(len(whole)).sample(cuts, MOST_CUTS))
        return which, codec, [codec.good, whole, codec.good, *(whole[:size] for size in cuts)]


def met(which: int, codes: Any, where: int = 0) -> Iterable[int]:
    """Numbers for the codes of a schema's records."""
    return {(which * 64 + int(code)) * 64 + where for code in codes}


class _OfSchemas:
    """A target whose inputs name one of some schemas."""

    def __init__(self, given: list[tuple[Avro, Any]]) -> None:
        self.schemas = Schemas(given)
        self.seeds = self.schemas.seeds()


class Columns(_OfSchemas):
    """AvroDecoder.columns, against the judge."""

    def __call__(self, data: bytes) -> Iterable[int]:
        which, codec, values = self.schemas.taken(data)
        raw = self.schemas.rooms.values(values, first=len(data) % 3 == 0)
        decoded = codec.decoder.columns(raw)
        decoded.batch.validate(full=True)
        expected = [verdict(codec.types, value) for value in values]
        assert words(decoded.codes[::2]) == [code for code, _ in expected]
        assert set(words(decoded.codes[1::2])) <= {"TOMBSTONE"}
        good = [row for code, row in expected if code == "OK"]
        assert repr(rows_of(decoded.batch)) == repr(good)
        assert isinstance(decoded.reason(2), str)
        return met(which, decoded.codes, sum(data[1:3]) % 2)


class Matrix(_OfSchemas):
    """AvroDecoder.matrix, against the judge: all numbers, or every other, as doubles or floats."""

    def __call__(self, data: bytes) -> Iterable[int]:
        which, codec, values = self.schemas.taken(data)
        raw = self.schemas.rooms.values(values, first=len(data) % 3 == 0)
        how = (data[0] if data else 0) // len(self.schemas.codecs) % 4
        wanted = codec.numbers[:: 1 + how % 2]
        dtype = np.float64 if how < 2 else np.float32
        matrix, codes = codec.decoder.matrix(raw, wanted, dtype)
        assert set(words(codes[1::2])) <= {"TOMBSTONE"}
        assert_matrix(codec.types, list(values), wanted, matrix[::2], codes[::2])
        assert isinstance(codec.decoder.reasons(raw, 2, int(codes[2])), str)
        return met(which, codes, how)


class Kernel(_OfSchemas):
    """AvroDecoder.matrix_at with machine code of the schema's own, against the judge: doubles or floats by the schema."""

    def __init__(self, given: list[tuple[Avro, Any]]) -> None:
        super().__init__(given)
        for i, codec in enumerate(self.schemas.codecs):
            assert codec.decoder.prepare(258, codec.numbers, self.dtype(i))

    @staticmethod
    def dtype(which: int) -> type:
        return np.float32 if which % 2 else np.float64

    def __call__(self, data: bytes) -> Iterable[int]:
        which, codec, values = self.schemas.taken(data)
        begins, ends = self.schemas.rooms.places(values, first=len(data) % 3 == 0)
        begins[-1] = ends[-1] = 0
        dtype = self.dtype(which)
        matrix, codes = codec.decoder.matrix_at(begins, ends, codec.numbers, dtype)
        assert_matrix(codec.types, [*values[:-1], None], codec.numbers, matrix, codes)
        return met(which, codes)


class Encode:
    """encode of what columns gives: written as it was read, and read again."""

    def __init__(self) -> None:
        mixed = {2}  # a union of several types becomes text, whose branch nobody knows any more
        self.schemas = Schemas([*FLAT, *(one for i, one in enumerate(NESTED) if i not in mixed)])
        self.seeds = self.schemas.seeds()

    def __call__(self, data: bytes) -> Iterable[int]:
        which, codec, values = self.schemas.taken(data)
        batch = codec.decoder.columns(pa.array(values, pa.binary())).batch
        start = len(data) % 3 % max(1, batch.num_rows)
        written = encode(batch.slice(start), codec.schema, 258)
        again = codec.decoder.columns(
            self.schemas.rooms.values(written.to_pylist()[:MOST_CUTS])
        ).batch
        assert repr(rows_of(again)) == repr(rows_of(batch.slice(start, again.num_rows)))
        if batch.num_rows > start:
            assert written[0].as_py()[:5] == framed(b"")
        return met(which, [min(63, batch.num_rows)])


class SchemaText:
    """avro_schema.parse on any text; what it takes must be good for all that is made of a schema."""

    seeds = (
        *(json.dumps(schema).encode() for schema, _ in [*FLAT, *NESTED]),
        b'"int"',
        b'["null", "string"]',
        b'{"type": "array", "items": "null"}',
        b'{"type": "enum", "name": "E", "symbols": []}',
        b'{"type":"record","name":"N","namespace":"a.b","fields":[{"name":"n","type":["null","N"]}]}',
        b'{"type":{"type":"int","logicalType":"date"},"precision":true,"scale":1e3,"size":-1}',
        b'{"type":"fixed","name":"F","size":9,"symbols":5,"fields":"x","items":7,"values":[]}',
    )

    def __call__(self, data: bytes) -> Iterable[int]:
        text = data.decode("utf-8", "replace")
        try:
            root = avro_schema.parse(text)
        except DataError as error:
            return [sum(error.code.encode())]
        codec_avro.arrow_schema(text)
        names = codec_avro.numeric_columns(text)
        assert set(names) <= set(codec_avro.schema_columns(text))
        registry = Known()
        registry.remember_text(text)
        decoder = AvroDecoder(registry)
        values = pa.array([framed(b"\0" * size) for size in (1, 2, 8, 40, 300)], pa.binary())
        decoded = decoder.columns(values)
        decoded.batch.validate(full=True)
        _, codes = decoder.matrix(values, names[:64])
        return [2048 + root.kind, *met(root.total % 32, [*decoded.codes, *codes])]


class Property:
    """A property of tests/wire on what Hypothesis makes of the input: any schema, its records, their damage."""

    seeds = (bytes(range(60)), b"\x05\x01\x02\x03" * 12, bytes(400))

    def __init__(self, test: Any) -> None:
        self.fuzz = test.hypothesis.fuzz_one_input

    def __call__(self, data: bytes) -> Iterable[int]:
        taken = self.fuzz(data)
        return [0 if taken is None else min(len(taken).bit_length(), 63)]
