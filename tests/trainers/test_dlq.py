"""Dead letters and their way back: what is listed, what is shown, and that a replay sends each record once."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.wire.codec_avro import encode
from gradstream.wire.kafka import end_offsets, ensure_topics
from gradstream.wire.reader import EARLIEST, open_log_reader
from gradstream.wire.records import Headers
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer
from tests.acceptance.command_line import DATA, RETRY, UNAVAILABLE, USAGE, User, check_line
from tests.trainers.feed import Topic, data, values_of
from tests.trainers.runs import job_on
from trainers import dead_letters
from trainers.dead_letters import DeadLetter
from trainers.dlq import replay as replaying
from trainers.dlq.__main__ import main
from trainers.dlq.ledger import Ledger, topic_of
from trainers.dlq.letters import Place, read
from trainers.dlq.originals import Originals
from trainers.dlq.replay import replay
from trainers.loop import train
from trainers.preflight import SCHEMAS

Unique = Callable[[str], str]
integration = pytest.mark.integration
LETTER = (SCHEMAS / "dead_letter.avsc").read_text()
KILLS = (  # in three transactions of 500, 500 and 200 records
    ("after_begin", 1),
    ("after_produce", 1),  # the records, not yet the ledger's entries
    ("after_produce", 2),
    ("after_flush", 1),
    ("after_commit", 1),
    ("during_commit", 1),
)


@dataclass(frozen=True)
class Record:
    """A record as it arrived."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


def records_of(services: Services, topic: str) -> list[Record]:
    """Every committed record of a topic."""
    ends = end_offsets(services, topic)
    found: list[Record] = []
    with open_log_reader(services, dict.fromkeys(ends, EARLIEST), headers=True) as reader:
        while any(reader.position().get(at, 0) < end for at, end in ends.items() if end):
            got = reader.fetch(1000, 0.2)
            for row in range(len(got)):
                numbers = got.partition[row], got.offset[row], got.timestamp[row]
                partition, offset, timestamp = map(int, numbers)
                key, value = got.key[row].as_py(), got.value[row].as_py()
                found.append(Record(partition, offset, key, value, timestamp, got.headers(row)))
    return found


class Desk:
    """A topic of records that somebody has refused, each with a dead letter."""

    def __init__(
        self, services: Services, unique: Unique, records: int, partitions: int = 2
    ) -> None:
        self.services = services
        self.name, self.dead, self.other = (unique(word) for word in ("source", "dead", "other"))
        ensure_topics(services, {self.name: partitions, self.dead: 1, self.other: 3})
        self.values = [b"%d of %d" % (number, records) for number in range(records)]
        with Writer(services) as writer:
            writer.send(
                self.name,
                pa.array(self.values, pa.binary()),
                keys=pa.array([b"k%d" % n if n % 3 else None for n in range(records)], pa.binary()),
                timestamps=np.arange(1_700_000_000_000, 1_700_000_000_000 + records),
                partitions=np.arange(records, dtype=np.int32) % partitions,
                headers=[[("own", b"%d" % n)] for n in range(records)],
            )
        self.records = records_of(services, self.name)
        self.write([self.letter(record) for record in self.records])

    def letter(self, record: Record, **more: Any) -> DeadLetter:
        made = DeadLetter(
            topic=self.name,
            partition=record.partition,
            offset=record.offset,
            code="UNKNOWN_SCHEMA_ID",
            reason="the registry has no schema 5",
            schema_id=5,
            sha256=None if record.value is None else sha256(record.value).hexdigest(),
            value=None,
            found_by="trainer:r",
            timestamp=record.timestamp,
        )
        return replace(made, **more)

    def write(self, letters: list[DeadLetter]) -> None:
        with closing(Registry(self.services.schema_registry_url)) as registry:
            schema_id = registry.register(f"{self.dead}-value", LETTER)
        with Writer(self.services) as writer:
            writer.send(self.dead, encode(dead_letters.rows(letters), LETTER, schema_id))

    def arrived(self, topic: str | None = None) -> list[Record]:
        """What replays have put into a topic, by default the records' own."""
        found = records_of(self.services, topic or self.name)
        return [record for record in found if dict(record.headers).get("gradstream-origin")]

    def check_each_once(self, topic: str | None = None) -> None:
        """Every record is in the topic once, as it was, with its origin, and in the ledger once."""
        by_origin = {f"{self.name}/{r.partition}/{r.offset}": r for r in self.records}
        arrived = self.arrived(topic)
        names = [dict(record.headers)["gradstream-origin"] or b"" for record in arrived]
        assert Counter(map(bytes.decode, names)) == Counter(list(by_origin))
        for name, record in zip(names, arrived, strict=True):
            first = by_origin[name.decode()]
            assert (record.key, record.value, record.timestamp) == (
                first.key,
                first.value,
                first.timestamp,
            )
            own, origin, letter, digest = record.headers
            assert own == first.headers[0]
            assert origin == ("gradstream-origin", name)
            assert letter[0] == "gradstream-dead-letter"
            assert (letter[1] or b"").startswith(self.dead.encode() + b"/0/")
            assert digest == ("gradstream-sha256", sha256(first.value or b"").hexdigest().encode())
            if topic is None:
                assert record.partition == first.partition
        assert len(records_of(self.services, topic_of(self.dead))) == len(self.records)

    def main(self, word: str, *flags: str) -> int:
        return main([word, *flags, "--dead-letters-topic", self.dead, *addresses(self.services)])


def addresses(services: Services) -> list[str]:
    return [
        "--bootstrap-servers",
        services.bootstrap_servers,
        "--schema-registry-url",
        services.schema_registry_url,
    ]


@pytest.fixture(scope="module")
def desk(services: Services) -> Desk:
    """For tests that change nothing."""
    return Desk(services, lambda prefix: f"{prefix}_{uuid.uuid4().hex[:10]}", 2)


@pytest.fixture
def user(services: Services, tmp_path: Path) -> User:
    return User(services, tmp_path)


@pytest.fixture
def registry(services: Services) -> Iterator[Registry]:
    with closing(Registry(services.schema_registry_url)) as made:
        yield made


@integration
def test_records_go_back_as_they_were_each_once(
    services: Services, unique: Unique, capfd: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(services, unique, 30)
    assert desk.main("replay", "--dry-run") == 0
    assert not desk.arrived()
    assert desk.main("replay", "--limit", "4") == 0
    assert len(desk.arrived()) == 4
    assert desk.main("replay") == 0
    desk.check_each_once()
    assert desk.main("replay") == 0  # and again
    desk.check_each_once()
    said = capfd.readouterr().err
    assert f"30 records would be sent to {desk.name}" in said
    assert f"4 records sent to {desk.name}" in said
    assert f"26 records sent to {desk.name}" in said
    assert "nothing sent\n30 letters whose records had been sent there before" in said


@integration
def test_a_replay_killed_at_any_phase_sends_each_record_once(
    services: Services, unique: Unique, user: User
) -> None:
    desk = Desk(services, unique, 1200)
    flags = ("dlq", "replay", "--to", desk.other, "--dead-letters-topic", desk.dead)
    for phase, number in KILLS:
        ended = user.run(*flags, GRADSTREAM_FAILPOINT=f"{phase}:{number}")
        if phase != "during_commit":  # which may be answered before the kill comes
            assert ended.code == -signal.SIGKILL, ended
    ended = user.run(*flags)
    assert ended.code == 0, ended
    desk.check_each_once(desk.other)


@integration
def test_of_two_replays_the_newer_one_sends_and_no_record_goes_twice(
    services: Services, unique: Unique, user: User
) -> None:
    desk = Desk(services, unique, 40)
    flags = ("dlq", "replay", "--to", desk.other, "--dead-letters-topic", desk.dead)
    with user.running(*flags, GRADSTREAM_FAILPOINT="after_flush=stop") as older:
        assert os.WIFSTOPPED(os.waitpid(older.process.pid, os.WUNTRACED)[1])
        newer = user.run(*flags)
        older.process.send_signal(signal.SIGCONT)
        ended = older.end()
    assert newer.code == 0, newer
    assert ended.code == RETRY, ended
    check_line(ended, ended.err.splitlines()[-1], "FENCED", (desk.dead, "no record was sent twice"))
    desk.check_each_once(desk.other)


@integration
def test_a_replay_that_slept_and_connected_anew_sees_what_another_has_sent(
    services: Services, unique: Unique, registry: Registry
) -> None:
    desk = Desk(services, unique, 10)
    letters = read(services, registry, desk.dead)
    slept = Ledger(services, registry, desk.dead)
    slept.create()
    with closing(slept), Originals(services) as originals:
        items, _ = next(replaying._chunks(letters, desk.dead, desk.other, originals))
        with Writer(services, transactional_id=f"gradstream-dlq-{desk.dead}") as writer:
            slept.refresh()
            report = replay(services, registry, letters, desk.dead, to=desk.other)
            assert report.sent == {desk.other: 10}
            writer._reconnect()  # its line broke: now it has the newest epoch again
            assert replaying._send_chunk(slept, writer, items) == []
    desk.check_each_once(desk.other)


@integration
def test_a_letter_of_each_finder_sends_the_record_once(services: Services, unique: Unique) -> None:
    desk = Desk(services, unique, 3)
    desk.write([desk.letter(record, found_by="trainer:another") for record in desk.records])
    assert desk.main("replay") == 0
    desk.check_each_once()


@integration
def test_a_record_that_is_gone_or_another_is_told_by_name_and_not_sent(
    services: Services, unique: Unique, capfd: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(services, unique, 4)
    first, second, third, _ = desk.records
    beyond = replace(first, offset=first.offset + 1000)
    changed = "0" * 64
    desk.write(
        [
            desk.letter(beyond),
            desk.letter(second, sha256=changed),
            desk.letter(third, topic=unique("nowhere")),
            desk.letter(beyond, offset=beyond.offset + 1, value=beyond.value, key=b"kept"),
        ]
    )
    with pytest.raises(GradstreamError) as caught:
        desk.main("replay", "--to", desk.other)
    assert (caught.value.code, caught.value.exit_code) == ("NOT_SENT", DATA)
    assert "3 of 8 dead letters" in str(caught.value)
    said = capfd.readouterr().err
    assert f"5 records sent to {desk.other}\n1 of them out of their letters" in said
    assert f"not sent: {desk.name}/{beyond.partition}/{beyond.offset}: the log ends at" in said
    assert f"not sent: {desk.name}/{second.partition}/{second.offset}: another record" in said
    assert "is gone\n" in said
    arrived = desk.arrived(desk.other)
    assert len(arrived) == 5
    (kept,) = (record for record in arrived if record.key == b"kept")
    assert (kept.value, kept.timestamp) == (beyond.value, beyond.timestamp)
    with pytest.raises(GradstreamError, match="3 of 8"):
        desk.main("replay")
    assert "is gone; give another topic with --to\n" in capfd.readouterr().err


@integration
def test_a_target_that_takes_no_such_record_is_told_and_nothing_is_sent(
    services: Services, unique: Unique
) -> None:
    desk = Desk(services, unique, 3)
    narrow = unique("narrow")
    ensure_topics(services, {narrow: 1}, {"max.message.bytes": "100"})
    with pytest.raises(GradstreamError) as caught:
        desk.main("replay", "--to", narrow)
    assert (caught.value.code, caught.value.exit_code) == ("SEND_FAILED", UNAVAILABLE)
    assert narrow in caught.value.message
    assert not desk.arrived(narrow)
    assert not records_of(services, topic_of(desk.dead))


@integration
def test_filters_choose_letters(
    services: Services, unique: Unique, capfd: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(services, unique, 6)
    one, two = desk.records[:2]
    desk.write([desk.letter(one, code="TRUNCATED"), desk.letter(two, found_by="trainer:x")])

    def listed(*flags: str) -> list[dict[str, Any]]:
        capfd.readouterr()
        assert desk.main("list", "--json", *flags) == 0
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert [group["letters"] for group in listed()] == [6, 1, 1]
    (group,) = listed("--code", "TRUNCATED")
    assert group["example"] == f"{desk.name}/{one.partition}/{one.offset}"
    assert (group["topic"], group["found_by"], group["sent_again"]) == (desk.name, "trainer:r", 0)
    assert [group["letters"] for group in listed("--run", "x")] == [1]
    assert [group["letters"] for group in listed("--found-by", "trainer:x")] == [1]
    assert len(listed("--since", "1h")) == 3
    assert len(listed("--limit", "2")) == 2
    assert len(listed("--each", "--limit", "100")) == 8
    with pytest.raises(GradstreamError) as caught:
        desk.main("list", "--topic", "none")
    assert (caught.value.code, caught.value.exit_code) == ("NOTHING_MATCHES", DATA)
    assert desk.name in str(caught.value)
    with pytest.raises(GradstreamError, match="NOTHING_MATCHES"):
        desk.main("replay", "--since", "2999-01-01")
    desk.main("replay", "--code", "TRUNCATED")
    assert [group["sent_again"] for group in listed()] == [1, 1, 0]  # it has two letters


@integration
def test_from_training_to_the_letter_and_back_to_training(
    services: Services, unique: Unique, capfd: pytest.CaptureFixture[str]
) -> None:
    topic = Topic(services, unique, 2)
    X, y = data(600, 2)
    rotten = X[:1].copy()
    rotten[0, 1] = np.nan
    nan = values_of(rotten, y[:1], topic.schema_id)[0].as_py()
    short = values_of(X[:1], y[:1], topic.schema_id)[0].as_py()[:-3]
    topic.send(X, y, poison={100: nan, 200: short, 300: None})
    job = job_on(topic, "dlq", batch_size=100, keep_values=True)
    train(job, services)
    flags = ["--dead-letters-topic", topic.dead, *addresses(services)]
    assert main(["show", f"{topic.name}/0/100", *flags]) == 0
    shown = capfd.readouterr().out
    assert "NON_FINITE" in shown
    assert "its hash agrees" in shown
    assert "→ X2      double" in shown
    assert "Xxnn" not in shown  # a value
    assert nan.hex(" ")[:40] not in shown
    assert main(["show", f"{topic.name}/0/201", "--values", "--json", *flags]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["fields"][0]["value"] == "Xxnn"
    assert found["value_hex"] == short.hex()
    assert (found["faulty"], found["fields"][-1]["name"]) == ("Y", "Y")
    assert main(["replay", *flags]) == 0
    result = train(job, services)
    assert result.record is not None
    assert (result.record.records_trained, result.record.records_rejected) == (600, 6)
    capfd.readouterr()
    assert main(["list", *flags]) == 0
    line = next(line for line in capfd.readouterr().out.splitlines() if "NON_FINITE" in line)
    assert line.split()[:4] == ["NON_FINITE", "2", "1", "1"]  # letters, sent again, came back
    assert main(["list", "--each", "--json", "--code", "NON_FINITE", *flags]) == 0
    back = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert back["came_back"]
    assert main(["show", back["dead_letter"], "--json", *flags]) == 0
    assert json.loads(capfd.readouterr().out)["came_from"] == f"{topic.name}/0/100"


@integration
@pytest.mark.parametrize(
    ("line", "exit_code", "code", "said"),
    [
        ("show SOURCE/0/77", DATA, "NO_SUCH_LETTER", "SOURCE/0/77; see which there are with"),
        ("show a/b", USAGE, "BAD_PLACE", "give TOPIC/PARTITION/OFFSET"),
        ("replay --to NONE", DATA, "UNKNOWN_TOPIC", "no topic 'NONE'"),
        ("replay --to DEAD", USAGE, "BAD_VALUE", "give another topic"),
        (
            "replay --code NONE",
            DATA,
            "NOTHING_MATCHES",
            "--code NONE; there are: UNKNOWN_SCHEMA_ID",
        ),
        (
            "list --dead-letters-topic NONE",
            DATA,
            "UNKNOWN_TOPIC",
            "no topic 'NONE' of dead letters",
        ),
        ("list --dead-letters-topic SOURCE", DATA, "BAD_DEAD_LETTER", "'SOURCE' offset 0"),
        (
            "replay --bootstrap-servers 127.0.0.1:9",
            UNAVAILABLE,
            "BROKER_UNREACHABLE",
            "127.0.0.1:9",
        ),
    ],
)
def test_mistakes_are_told(desk: Desk, line: str, exit_code: int, code: str, said: str) -> None:
    names = {"SOURCE": desk.name, "DEAD": desk.dead}
    for word, name in names.items():
        line, said = line.replace(word, name), said.replace(word, name)
    flags = ["--dead-letters-topic", desk.dead, *addresses(desk.services)]
    word, *given = line.split()
    with pytest.raises(GradstreamError) as caught:
        main([word, *flags, *given])
    assert (caught.value.exit_code, caught.value.code) == (exit_code, code)
    assert said in caught.value.message


@pytest.mark.parametrize("flags", [["--since", "yesterday"], ["--limit", "-1"]])
def test_a_flag_that_cannot_be_read_is_told_before_anything_is_asked(flags: list[str]) -> None:
    nowhere = Services("127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(GradstreamError) as caught:
        main(["list", *flags, *addresses(nowhere)])
    assert caught.value.code == "BAD_VALUE"


def test_a_place_is_read_as_it_is_written() -> None:
    place = Place("a.b-c", 3, 17)
    assert Place.read(str(place)) == place
