"""Dead letters' records are sent again, each once to a topic, however often and by however many it is tried.

A replay is the one writer of its transactional id, so one that begins ends or fences the one before it. For each chunk:

    begin      from here on we hold the newest epoch, or cannot commit
    read       the ledger: all that was committed by older epochs is in it
    send       the records that it lacks, and their entries for the ledger
    commit     both or neither

The ledger is read after begin, not only at the start: a replay that slept while another did the work, and whose
client connected anew since, would otherwise hold the newest epoch and know nothing of that work.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gradstream.config import Services
from gradstream.errors import RetryError, UnavailableError, UsageError
from gradstream.wire.kafka import list_topics, unknown_topic
from gradstream.wire.records import Headers
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Fenced, Refused, TransactionAborted, Writer
from trainers.dlq.ledger import Ledger, Sent
from trainers.dlq.letters import Place, Row, origin, own_place
from trainers.dlq.originals import Gone, Original, Originals

CHUNK = 500  # records of a transaction
ABORTS = 3  # transactions in a row that may fail
LARGEST = 64 << 20  # bytes of a record that the client would take; the topic's own limit is below
ORIGIN, LETTER, SHA256 = "gradstream-origin", "gradstream-dead-letter", "gradstream-sha256"


@dataclass(frozen=True, slots=True)
class Item:
    """A record that can be sent again.

    Attributes:
        partition: of the target, -1 for whichever the key leads to.
        from_letter: whether the record itself is gone.
    """

    letter: Place
    sent: Sent
    partition: int
    original: Original
    from_letter: bool

    @property
    def headers(self) -> Headers:
        """The record's own, then ours: of a record that comes back twice, the last ones name the nearest origin."""
        ours = {ORIGIN: str(self.sent.origin), LETTER: str(self.letter)}
        if self.sent.sha256 is not None:
            ours[SHA256] = self.sent.sha256
        return [*self.original.headers, *((name, text.encode()) for name, text in ours.items())]


@dataclass(slots=True)
class Report:
    """What has become of the letters that were meant.

    Attributes:
        sent: by topic, the number of records sent; of a dry run, those that would be.
        from_letter: of them, those whose bytes came out of the letter, since the record is gone.
        before: letters whose record had been sent to that topic already, by an earlier replay or for another letter.
        unsent: letters whose record cannot be sent, and why.
    """

    sent: Counter[str] = field(default_factory=Counter)
    from_letter: int = 0
    before: int = 0
    unsent: list[tuple[Row, str]] = field(default_factory=list)


def replay(
    services: Services,
    registry: Registry,
    letters: pa.Table,
    topic: str,
    *,
    to: str | None = None,
    dry_run: bool = False,
    watch: Callable[[int], None] = lambda letters: None,
) -> Report:
    """Sends the letters' records again.

    Args:
        letters: those that are meant, as letters.read gives them.
        topic: where they are.
        to: the topic to send to; by default the one that each record came from.
        watch: called with the number of letters that have been dealt with since.

    Raises:
        RetryError: FENCED by a replay that began later; TRANSACTION_ABORTED, again and again.
        DataError: UNKNOWN_TOPIC, of the target.
        UnavailableError: SEND_FAILED, the target does not take such a record; the broker or the registry is away.
    """
    ledger = Ledger(services, registry, topic)
    _check_target(services, to, {topic, ledger.topic})
    order = [("topic", "ascending"), ("partition", "ascending"), ("offset", "ascending")]
    letters = letters.sort_by(order)
    try:
        with Originals(services) as originals:
            chunks = _chunks(letters, topic, to, originals)
            if dry_run:
                return _count(ledger, chunks, watch)
            ledger.create()
            with Writer(
                services,
                transactional_id=f"gradstream-dlq-{topic}",
                message_max_bytes=LARGEST,
            ) as writer:
                return _send(ledger, writer, chunks, watch)
    except Fenced as error:
        raise RetryError(
            "FENCED",
            f"another replay of {topic!r} began while this one ran, and goes on with what is left; "
            "no record was sent twice",
        ) from error
    finally:
        ledger.close()


def _check_target(services: Services, to: str | None, ours: set[str]) -> None:
    if to is None:
        return
    if to in ours:
        raise UsageError("BAD_VALUE", f"--to {to}: dead letters are kept there; give another topic")
    if to not in (found := list_topics(services)):
        raise unknown_topic(to, found)


Chunk = tuple[list[Item], list[tuple[Row, str]]]  # what can be sent, and what cannot and why


def _chunks(letters: pa.Table, topic: str, to: str | None, originals: Originals) -> Iterator[Chunk]:
    for batch in letters.to_batches(max_chunksize=CHUNK):
        rows: list[Row] = batch.to_pylist()
        found = originals.fetch(map(origin, rows))
        items: list[Item] = []
        unsent: list[tuple[Row, str]] = []
        for row in rows:
            place, to_topic = origin(row), to or row["topic"]
            judged = judge(row, found[place], moves=to is not None)
            if isinstance(judged, Gone):
                unsent.append((row, judged.why))
                continue
            sent = Sent(place, row["sha256"], to_topic)
            partition = place.partition if to_topic == place.topic else -1
            at = own_place(row, topic)
            items.append(Item(at, sent, partition, judged, judged is not found[place]))
        yield items, unsent


def judge(row: Row, found: Original | Gone, *, moves: bool) -> Original | Gone:
    """The record to send for a letter, or why there is none.

    Args:
        found: what Originals gave.
        moves: whether it is sent to a topic that is known to be there, rather than back to its own.
    """
    if isinstance(found, Original):
        if found.sha256 == row["sha256"]:
            return found
        found = Gone("another record is at its place: its hash disagrees with the letter's")
    if found.nowhere and not moves:
        return Gone(f"{found.why}; give another topic with --to")
    if row["value"] is None:
        return found
    return Original(row["key"], row["value"], row["timestamp"], [])


def _count(ledger: Ledger, chunks: Iterator[Chunk], watch: Callable[[int], None]) -> Report:
    report = Report()
    ledger.refresh()
    seen = set(ledger.entries)
    for items, unsent in chunks:
        news = _news(items, seen)
        seen.update(item.sent for item in news)
        _note(report, items, news, unsent)
        watch(len(items) + len(unsent))
    return report


def _send(
    ledger: Ledger, writer: Writer, chunks: Iterator[Chunk], watch: Callable[[int], None]
) -> Report:
    report = Report()
    for items, unsent in chunks:
        _note(report, items, _send_chunk(ledger, writer, items), unsent)
        watch(len(items) + len(unsent))
    return report


def _note(
    report: Report, items: list[Item], news: list[Item], unsent: list[tuple[Row, str]]
) -> None:
    report.sent.update(item.sent.to for item in news)
    report.from_letter += sum(item.from_letter for item in news)
    report.before += len(items) - len(news)
    report.unsent += unsent


def _send_chunk(ledger: Ledger, writer: Writer, items: list[Item]) -> list[Item]:
    """Those of the items that had not been sent before, and are now."""
    tried: dict[Sent, Item] = {}
    for attempt in range(1, ABORTS + 1):
        try:
            _transaction(ledger, writer, items, tried)
            break
        except Refused as error:
            raise UnavailableError(error.code, error.message) from error
        except TransactionAborted:  # where its outcome is unknown, the ledger tells
            if attempt == ABORTS:
                raise
    return list(tried.values())


def _transaction(
    ledger: Ledger, writer: Writer, items: list[Item], tried: dict[Sent, Item]
) -> None:
    """Sends the items that the ledger lacks."""
    writer.begin()
    try:
        ledger.refresh()
        news = _news(items, ledger.entries)
        tried.update((item.sent, item) for item in news)
        for to in sorted({item.sent.to for item in news}):
            _send_to(writer, to, [item for item in news if item.sent.to == to])
        if news:
            sent, letters = [item.sent for item in news], [item.letter for item in news]
            writer.send(ledger.topic, ledger.values(sent, letters, time.time_ns() // 1_000_000))
    except BaseException:
        writer.abort()
        raise
    writer.commit(None, None)


def _news(items: list[Item], done: Container[Sent]) -> list[Item]:
    """Without those that were sent, and one where two letters are about the same record."""
    found: dict[Sent, Item] = {}
    for item in items:
        if item.sent not in done:
            found.setdefault(item.sent, item)
    return list(found.values())


def _send_to(writer: Writer, topic: str, items: list[Item]) -> None:
    records = [item.original for item in items]
    writer.send(
        topic,
        pa.array([one.value for one in records], pa.binary()),
        keys=pa.array([one.key for one in records], pa.binary()),
        timestamps=np.array([one.timestamp for one in records], np.int64),
        partitions=np.array([item.partition for item in items], np.int32),
        headers=[item.headers for item in items],
    )
