"""Canaries: unique words in every place that a statement masks, drops or cannot read, and a search for them afterwards.

    with Lab() as lab:
        flock = Flock(lab, 10_000)
        flock.fly()                     # producers, statements, processing log, REST, trainers, dead letters
        print(flock.leaks(), flock.seen_in_the_raw_topics())

A canary may be in the raw topics, where the search must find every one of them, and nowhere else: no other topic, file of
the broker or registry, log, answer or output, as it is, in UTF-16, in hexadecimal digits or in base64.
"""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from faults.child import Child
from faults.query import EARLIEST, Sink, ready, started
from gradstream.shell.client import KsqlClient
from gradstream.wire.codec_avro import encode
from gradstream.wire.kafka import committed_offsets, end_offsets, ensure_topics, list_topics
from gradstream.wire.reader import EARLIEST as FIRST
from gradstream.wire.reader import open_log_reader
from gradstream.wire.records import Headers
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer

if TYPE_CHECKING:
    from faults.lab import Lab

WORD = re.compile(rb"CNRY[0-9a-f]{12}")
# The first letters in other clothes: UTF-16, hexadecimal digits, and base64 from each of its three places.
DISGUISED = re.compile(rb"C\0N\0R\0Y\0|434[eE]5259|Q05SW|NOUl[k-n]|DTlJZ")
PACKINGS = ("uncompressed", "zstd", "gzip", "lz4", "snappy")  # of raw topics, by the broker
EMOJI = "\U0001f469\u200d\U0001f4bb"

Record = tuple[bytes | None, bytes | None, Headers]  # value, key, headers


@dataclass(frozen=True, slots=True)
class Kind:
    """A place where canaries are put, and the statement that they must not get past.

    Attributes:
        columns: of the raw stream; ID is a running number and Y a target.
        select: what the statement takes of them.
        record: makes the record of a number and a canary.
    """

    name: str
    columns: str
    format: str
    select: str
    record: Callable[[int, str], Record]
    more: str = ""


def delimited(text: Callable[[int, str], str]) -> Callable[[int, str], Record]:
    return lambda number, word: (text(number, word).encode(), None, [])


def json_of(row: Callable[[int, str], object]) -> Callable[[int, str], Record]:
    return lambda number, word: (json.dumps(row(number, word)).encode(), None, [])


def poison_text(number: int, word: str) -> str:
    """DELIMITED rows that cannot be read, or whose expressions fail."""
    return (
        f"{number},{word}",  # a column is missing
        f"{word},name,1.5",  # no number
        f"{number},name,{word}",
        f'{number},"{word},1.5',  # an open quote
        f"{number},{word},1.5,{word}",  # a column too many
        f"{number},{word},1.5",  # a name that CAST and PARSE_TIMESTAMP cannot read
    )[number % 6]


def poison_json(number: int, word: str) -> bytes:
    whole = {"ID": number, "NAME": word, "Y": 1.5}
    return (
        json.dumps(whole).encode()[:-5],
        json.dumps({**whole, "ID": word}).encode(),
        json.dumps({**whole, "Y": {word: word}}).encode(),
        json.dumps([word]).encode(),
        word.encode(),
        json.dumps({word: 1, **whole}).encode(),
        b'{"NAME": "' + word.encode() + b'\xff", "ID": 1}',
    )[number % 7]


PLAIN = "ID BIGINT, NAME VARCHAR, Y DOUBLE"
NESTED = "ID BIGINT, S STRUCT<SECRET VARCHAR, INNER_ STRUCT<WORD VARCHAR>>, A ARRAY<VARCHAR>, M MAP<VARCHAR, VARCHAR>, Y DOUBLE"
MASKED = "ID, MASK(NAME) AS NAME, Y"
FAILING = (
    "ID, CAST(NAME AS INT) AS I, PARSE_TIMESTAMP(NAME, 'yyyy-MM-dd') AS T, "
    "CAST(NAME AS DECIMAL(4, 2)) AS D, 10 / (ID - ID) AS Q, Y"
)
KINDS = (
    Kind("value", PLAIN, "DELIMITED", MASKED, delimited(lambda n, word: f"{n},{word},{n}.5")),
    Kind(
        "null_neighbours",
        f"{PLAIN}, NOTE VARCHAR",
        "DELIMITED",
        f"{MASKED}, MASK(NOTE) AS NOTE",
        delimited(lambda n, word: f"{n},{word},," if n % 2 else f"{n},,{n}.5,{word}"),
        "WHERE Y IS NOT NULL",
    ),
    Kind(
        "emoji",
        PLAIN,
        "JSON",
        MASKED,
        json_of(lambda n, word: {"ID": n, "NAME": f"{EMOJI}{word}\u00df\U0001f1e9", "Y": n}),
    ),
    Kind(
        "nested",
        NESTED,
        "JSON",
        "ID, MASK(S->SECRET) AS A, MASK(S->INNER_->WORD) AS B, MASK(A[1]) AS C, MASK(M['k']) AS D, Y",
        json_of(
            lambda n, word: {
                "ID": n,
                "S": {"SECRET": word, "INNER_": {"WORD": word}},
                "A": [word, None],
                "M": {"k": word, word: "x"},
                "Y": n,
            }
        ),
    ),
    Kind(
        "key",
        PLAIN,
        "DELIMITED",
        MASKED,
        lambda n, word: (f"{n},name,{n}.5".encode(), word.encode(), []),
    ),
    Kind(
        "key_column",
        "K VARCHAR KEY, ID BIGINT, Y DOUBLE",
        "JSON",
        "MASK(K) AS K, ID, Y",
        lambda n, word: (json.dumps({"ID": n, "Y": n}).encode(), word.encode(), []),
        "PARTITION BY MASK(K)",
    ),
    Kind(
        "header",
        PLAIN,
        "DELIMITED",
        MASKED,
        lambda n, word: (
            f"{n},name,{n}.5".encode(),
            None,
            [(word, b"v"), ("user", word.encode())],
        ),
    ),
    Kind("poison", PLAIN, "DELIMITED", FAILING, delimited(poison_text)),
    Kind("poison_json", PLAIN, "JSON", FAILING, lambda n, word: (poison_json(n, word), None, [])),
    Kind("avro", PLAIN, "AVRO", MASKED, lambda n, word: (None, None, [])),
)


@dataclass(slots=True)
class Flock:
    """So many canaries, over all kinds.

    Attributes:
        sent: the canaries of each kind.
        raws: topics in which they may be.
    """

    lab: Lab
    count: int
    sent: dict[str, set[bytes]] = field(default_factory=dict)
    raws: set[str] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)  # that were written because of them
    log: str = ""  # the processing log

    def fly(self) -> None:
        """Sends them, waits until the statements are through, asks what can be asked, trains."""
        name = self.lab.name("canary").replace("-", "_")
        service_id = f"{name}_"
        engine = started(self.lab, service_id)
        with closing(KsqlClient(ready(engine))) as client:
            for kind in KINDS:
                self._release(kind, f"{name}_{kind.name}".upper(), client)
            self._settle(service_id, client, engine)
            self._ask(client)
        self.log = f"{service_id}ksql_processing_log"
        self.topics |= {self.log, f"_confluent-ksql-{service_id}_command_topic"}
        self._train(f"{name}_VALUE_MADE".upper(), "ID")
        self._train(f"{name}_AVRO".upper(), "ID")

    def _release(self, kind: Kind, raw: str, client: KsqlClient) -> None:
        sink = f"{raw}_MADE"
        made = f"KAFKA_TOPIC='{raw}', VALUE_FORMAT='{kind.format}', PARTITIONS=2"
        kept = f"SELECT {kind.select} FROM {raw} {kind.more};"  # noqa: S608  the names are our own
        packing = PACKINGS[KINDS.index(kind) % len(PACKINGS)]
        ensure_topics(self.lab.services, {raw: 2}, {"compression.type": packing})
        client.execute(
            f"CREATE STREAM {raw} ({kind.columns}) WITH ({made});"
            f"CREATE STREAM {sink} WITH (KAFKA_TOPIC='{sink}', VALUE_FORMAT='AVRO') AS {kept}",
            EARLIEST,
        )
        words = [f"CNRY{number:012x}" for number in self._numbers(kind)]
        self.sent[kind.name] = {word.encode() for word in words}
        self.raws.add(raw)
        self.topics.add(sink)
        records = [kind.record(number, word) for number, word in enumerate(words)]
        values = [value for value, _, _ in records]
        if kind.format == "AVRO":
            values = self._avro(raw, words)
        with Writer(self.lab.services) as writer:
            writer.send(
                raw,
                pa.array(values, pa.binary()),
                pa.array([key for _, key, _ in records], pa.binary()),
                headers=[headers for _, _, headers in records],
            )

    def _numbers(self, kind: Kind) -> Iterable[int]:
        """Numbers that look like nothing else, so that no other number of a file is one of them."""
        share = self.count // len(KINDS)
        place = KINDS.index(kind)
        return (0xA5F000000000 + (place << 24) + number * 7919 for number in range(share))

    def _avro(self, raw: str, words: Sequence[str]) -> list[bytes | None]:
        """Good records, and in between some that are cut short or have something else at their end."""
        with closing(Registry(self.lab.services.schema_registry_url)) as registry:
            number, _, schema = registry.latest(f"{raw}-value")
        columns = [
            pa.array(range(len(words))),
            pa.array(words),
            pa.array(np.arange(float(len(words)))),
        ]
        whole = pa.RecordBatch.from_arrays(columns, ["ID", "NAME", "Y"])
        values: list[bytes | None] = encode(whole, schema, number).to_pylist()
        for row in range(0, len(values), 5):
            good = values[row] or b""
            values[row] = (good[:-4], good + words[row].encode(), words[row].encode())[row // 5 % 3]
        return values

    def _settle(self, service_id: str, client: KsqlClient, engine: Child) -> None:
        (entity,) = client.execute("SHOW QUERIES;")
        groups = {
            f"_confluent-ksql-{service_id}query_{query['id']}": query["sinks"][0].removesuffix(
                "_MADE"
            )
            for query in entity["queries"]
        }
        assert len(groups) == len(KINDS)

        def done() -> bool:
            time.sleep(0.05)
            return all(through(self.lab, group, raw) for group, raw in groups.items())

        engine.wait_until(done, "the end of all queries")

    def _ask(self, client: KsqlClient) -> None:
        """Everything that the engine tells about sinks and queries goes into a file, which is searched like the others."""
        told: list[Any] = [
            client.execute("SHOW QUERIES EXTENDED; SHOW STREAMS EXTENDED; SHOW TOPICS;")
        ]
        for sink in sorted(topic for topic in self.topics if topic.endswith("_MADE")):
            with client.query(f"SELECT * FROM {sink};", EARLIEST, idle_timeout=60) as rows:  # noqa: S608
                told.append(list(rows))
        (self.lab.folder / "rest.json").write_text(json.dumps(told, default=str))

    def _train(self, topic: str, feature: str) -> None:
        """A bounded run; what cannot be trained on becomes a dead letter."""
        source = Sink(self.lab.services, topic)
        self.lab.watch(source)
        self.lab.run(source, features=feature, learning_rate=1e-9, epochs=1).finish()
        self.topics |= {source.weights, source.dead}

    def logged(self) -> int:
        """Entries of the processing log: rows that could not be read, or whose expressions failed."""
        return sum(1 for _ in through_a_reader(self.lab, self.log)) if self.log else 0

    # The search

    def leaks(self) -> list[str]:
        """Where there is a canary that should not be there: a line each."""
        found = []
        for where, data in self._places():
            words = set(WORD.findall(data))
            if words or (words := set(DISGUISED.findall(data))):
                found.append(f"UNMASKED: {where}: {len(words)}, such as {min(words).decode()!r}")
        return found

    def seen_in_the_raw_topics(self) -> dict[str, int]:
        """How many canaries of each kind the same search finds where they are: all, or it proves nothing."""
        found: set[bytes] = set()
        for raw in self.raws:
            for _, data in self._of_topic(raw):
                found |= set(WORD.findall(data))
        return {kind: len(words & found) for kind, words in self.sent.items()}

    def _places(self) -> Iterator[tuple[str, bytes]]:
        """All that is searched: each file of the laboratory, and without a broker of our own, topics through a reader."""
        for path in sorted(self.lab.folder.rglob("*")):
            if path.is_file() and not self._is_raw(path):
                yield from contents(path)
        if self.lab.stack is None:
            for topic in sorted({*self.topics, "_schemas"}):
                yield from through_a_reader(self.lab, topic)

    def _of_topic(self, topic: str) -> Iterator[tuple[str, bytes]]:
        if self.lab.stack is None:
            yield from through_a_reader(self.lab, topic)
            return
        for path in sorted(self.lab.folder.rglob(f"{topic}-[0-9]*/*.log")):
            yield from contents(path)

    def _is_raw(self, path: Path) -> bool:
        return path.parent.name.rpartition("-")[0] in self.raws


def through(lab: Lab, group: str, topic: str) -> bool:
    """Whether a group has committed the end of a topic; of an empty partition it need not know."""
    committed = committed_offsets(lab.services, group, topic)
    ends = end_offsets(lab.services, topic)
    return all(committed.get(at, 0) == end for at, end in ends.items())


def through_a_reader(lab: Lab, topic: str) -> Iterator[tuple[str, bytes]]:
    """Keys, values and headers of all records of a topic, those of aborted transactions included."""
    if topic not in list_topics(lab.services):
        return
    ends = end_offsets(lab.services, topic)
    with open_log_reader(
        lab.services, dict.fromkeys(ends, FIRST), headers=True, isolation="read_uncommitted"
    ) as reader:
        while any(reader.position().get(at, 0) < end for at, end in ends.items()):
            records = reader.fetch(10_000, 0.2)
            for row, (key, value) in enumerate(
                zip(records.key.to_pylist(), records.value.to_pylist(), strict=True)
            ):
                parts = [key or b"", value or b""]
                for name, content in records.headers(row):
                    parts += [name.encode(), content or b""]
                yield f"topic {topic}", b"\n".join(parts)


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file, and of a segment of Kafka's log also those that its compressed batches hold."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # the broker cleans up
        return
    yield str(path), data
    if path.suffix == ".log" and path.stem.isdigit():
        for offset, inside in decompressed(data):
            yield f"{path}, batch at offset {offset}", inside


_BATCH = struct.Struct(">qiibIh")  # base offset, length, leader epoch, magic, checksum, attributes
_HEADER = 61  # bytes of a batch before its records
_CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_SNAPPY_STREAM = (
    b"\x82SNAPPY\0"  # how Java's begins, with 8 bytes more; then blocks, each behind its length
)


def decompressed(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """Base offset and records of each compressed batch (format 2) of a segment."""
    at = 0
    while at + _HEADER <= len(segment):
        offset, length, _, magic, _, attributes = _BATCH.unpack_from(segment, at)
        if magic != 2 or length <= 0:
            return
        codec = _CODECS.get(attributes & 7)
        if codec:
            yield offset, unpacked(codec, segment[at + _HEADER : at + 12 + length])
        at += 12 + length


def unpacked(codec: str, packed: bytes) -> bytes:
    """Records of a batch."""
    if codec != "snappy":
        with pa.CompressedInputStream(pa.BufferReader(packed), codec) as stream:
            return bytes(stream.read())
    if not packed.startswith(_SNAPPY_STREAM):
        return snappy_block(packed)
    at, found = 16, []
    while at < len(packed):
        (size,) = struct.unpack_from(">i", packed, at)
        found.append(snappy_block(packed[at + 4 : at + 4 + size]))
        at += 4 + size
    return b"".join(found)


def snappy_block(block: bytes) -> bytes:
    """It begins with its size unpacked, seven bits a byte, the lowest first."""
    size = shift = at = 0
    while True:
        size |= (block[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if block[at - 1] < 0x80:
            return bytes(pa.decompress(block, size, "snappy", asbytes=True))
