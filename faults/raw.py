"""A raw topic whose rows have a known fate each, and the account of what a query has made of them.

Of fifty rows one cannot be read and belongs in the processing log, five have no Y and are filtered, and the others belong
in the query's sink, once, masked, and within a partition in the order in which they were written.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.wire.kafka import committed_offsets, end_offsets
from gradstream.wire.reader import EARLIEST, open_log_reader
from gradstream.wire.writer import Writer

NAMED = "Hans-"  # how each name begins that must be masked
FAULTS_SHOWN = 5  # of a kind
Rows = dict[int, list[tuple[int, bytes]]]  # (offset, value) in order, by partition
Identify = Callable[[bytes], int]


@dataclass(slots=True)
class Account:
    """What became of the rows.

    Attributes:
        kept, filtered, logged: rows by their fate.
        faults: each in one line; empty where every row has met its fate once.
    """

    kept: int = 0
    filtered: int = 0
    logged: int = 0
    faults: list[str] = field(default_factory=list)


class RawTopic:
    """Rows of a number, a name, a feature and a target; the topic is made by ``statement``.

    Args:
        name: of the topic and of its stream.
    """

    def __init__(self, services: Services, name: str, partitions: int = 3) -> None:
        self.services, self.name, self.partitions = services, name, partitions
        self.sent = 0
        self._lock = threading.Lock()

    def statement(self, sink: str, value_format: str = "DELIMITED") -> str:
        """What makes the topic, its stream and the query to the sink."""
        source, columns = self.name, "SELECT ID, MASK(SENSOR) AS SENSOR, X1, Y"
        return (
            f"CREATE STREAM {source} (ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE) WITH "
            f"(KAFKA_TOPIC='{source}', VALUE_FORMAT='DELIMITED', PARTITIONS={self.partitions});"
            f"CREATE STREAM {sink} WITH (KAFKA_TOPIC='{sink}', VALUE_FORMAT='{value_format}') AS "
            f"{columns} FROM {source} WHERE Y IS NOT NULL;"
        )

    def send(self, count: int) -> None:
        """Rows over all partitions; every other time in a transaction, whose marker leaves a gap in the offsets."""
        with self._lock:
            first, self.sent = self.sent, self.sent + count
            own = f"{self.name}-producer" if first // count % 2 else None
            numbers = range(first, first + count)
            with Writer(self.services, transactional_id=own) as writer:
                if own:
                    writer.begin()
                writer.send(
                    self.name,
                    pa.array([row(number) for number in numbers], pa.binary()),
                    partitions=np.arange(first, first + count, dtype=np.int32) % self.partitions,
                )
                if own:
                    writer.commit(None, None)

    @property
    def kept(self) -> int:
        """How many of the rows that were sent belong in the sink."""
        return sum(fate(number) == "kept" for number in range(self.sent))

    @contextmanager
    def feeding(self, rows: int = 2000, every: float = 0.1) -> Iterator[None]:
        """Rows come in meanwhile, so many every so many seconds."""
        over, failed = threading.Event(), list[Exception]()

        def feed() -> None:
            try:
                while not over.wait(every):
                    self.send(rows)
            except Exception as error:  # noqa: BLE001  raised below, in the thread that waits
                failed.append(error)

        thread = threading.Thread(target=feed, name="feed")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failed:
            raise failed[0]

    def settled(self, group: str, seconds: float = 60.0) -> bool:
        """Whether the query's group has committed the end of every partition, within some seconds."""
        deadline = time.monotonic() + seconds
        while True:
            ends = end_offsets(self.services, self.name)
            if committed_offsets(self.services, group, self.name) == ends:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def account(self, sink: str, log_topic: str, identify: Identify | None = None) -> Account:
        """Compares the sink and the processing log with the rows themselves, read from their topics.

        Args:
            identify: the number of a row from its value in the sink; by default it is DELIMITED.
        """
        made = Account()
        raw, kept = read(self.services, self.name), read(self.services, sink)
        written = [number_of(value) for rows in raw.values() for _, value in rows]
        if sorted(written) != list(range(self.sent)):
            made.faults.append(f"RAW: {len(written)} rows are in the topic, {self.sent} were sent")
        logged = Counter[tuple[int, int]]()
        for partition, rows in raw.items():
            fates = [(fate(number_of(value)), offset, value) for offset, value in rows]
            expected = [number_of(value) for what, _, value in fates if what == "kept"]
            found = [(identify or number_of)(value) for _, value in kept.get(partition, [])]
            made.faults += differences(f"{sink}[{partition}]", expected, found)
            made.kept += len(expected)
            made.filtered += sum(what == "filtered" for what, _, _ in fates)
            logged.update((partition, offset) for what, offset, _ in fates if what == "logged")
        made.logged = logged.total()
        entries = [value for rows in read(self.services, log_topic).values() for _, value in rows]
        told = sorted(place for entry in entries if (place := self._place(entry)))
        made.faults += differences(log_topic, sorted(logged.elements()), told)
        shown = [value for rows in kept.values() for _, value in rows] + entries
        unmasked = sum(NAMED.encode() in value for value in shown)
        if unmasked:
            made.faults.append(f"UNMASKED: {unmasked} records of {sink} or {log_topic} have a name")
        return made

    def _place(self, entry: bytes) -> tuple[int, int] | None:
        """Which of our rows an entry of the processing log is about."""
        about = json.loads(entry)["message"]["deserializationError"]
        if about is None or about["topic"] != self.name:
            return None
        return about["partition"], about["offset"]


def fate(number: int) -> str:
    """Of a row: ``kept``, ``filtered`` or ``logged``."""
    return "logged" if number % 50 == 7 else "filtered" if number % 10 == 3 else "kept"


def row(number: int) -> bytes:
    """DELIMITED: a number, a name, a feature in [-1, 1) and a target that is linear in it."""
    x = (number * 2654435761 % (1 << 32)) / (1 << 31) - 1.0
    match fate(number):
        case "logged":
            return b"%d,%s%d" % (number, NAMED.encode(), number)
        case "filtered":
            return b"%d,%s%d,%r," % (number, NAMED.encode(), number, x)
    return b"%d,%s%d,%r,%r" % (number, NAMED.encode(), number, x, 2 * x + 0.5)


def number_of(value: bytes) -> int:
    return int(value.split(b",", 1)[0])


def differences(where: str, expected: Sequence[object], found: Sequence[object]) -> list[str]:
    """What is lost, repeated, strange or out of order, in lines."""
    if found == expected:
        return []
    wanted, got = Counter(expected), Counter(found)
    lost, more = list(wanted - got), got - wanted
    strange = [what for what in more if what not in wanted]
    repeated = [what for what in more if what in wanted]
    kinds = {"LOST": lost, "REPEATED": repeated, "STRANGE": strange}
    made = [
        f"{kind}: {len(some)} of {where}, such as {some[:FAULTS_SHOWN]}"
        for kind, some in kinds.items()
        if some
    ]
    return made or [f"ORDER: {where} has its rows in another order"]


def read(services: Services, topic: str, seconds: float = 60.0) -> Rows:
    """Everything that is committed in a topic, by partition.

    Raises:
        TimeoutError: the end cannot be read, such as behind a transaction that stays open.
    """
    ends = end_offsets(services, topic)
    found: Rows = {partition: [] for _, partition in ends}
    deadline = time.monotonic() + seconds
    with open_log_reader(services, dict.fromkeys(ends, EARLIEST)) as reader:
        while any(reader.position().get(at, 0) < end for at, end in ends.items()):
            records = reader.fetch(50_000, 0.2)
            columns = (records.partition.tolist(), records.offset.tolist())
            for partition, offset, value in zip(*columns, records.value.to_pylist(), strict=True):
                found[partition].append((offset, value or b""))
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} could not be read to its end in {seconds:.0f} s")
    return found
