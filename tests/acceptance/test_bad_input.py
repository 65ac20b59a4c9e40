"""What people get wrong, and what goes wrong around them: one line that says what, where and what to do."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import end_offsets, ensure_topics
from gradstream.wire.reader import EARLIEST, open_log_reader
from gradstream.wire.registry import Registry
from tests.acceptance.command_line import (
    CONFIG,
    DATA,
    RETRY,
    UNAVAILABLE,
    USAGE,
    Ended,
    User,
    check,
    check_line,
)
from tests.trainers.feed import Topic, data, values_of
from trainers.chain import WeightsRecord
from trainers.checkpoint import read_weights

TRAIN = "train --source s --target Y"
CLOSED = "127.0.0.1:9"  # a port of this machine where nobody listens
SILENT = "10.255.255.1:9092"  # an address from which nothing ever comes back
Unique = Callable[[str], str]
Runs = Callable[[str], Ended]


# Services that are not there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    ["produce regression --rows 10 --topic t", TRAIN, "weights", "weights --follow"],
)
def test_a_broker_that_is_not_there(nowhere: User, words: str) -> None:
    ended = nowhere.run(*words.split())
    check(ended, UNAVAILABLE, "BROKER_UNREACHABLE", CLOSED, "gradstream up", "--bootstrap-servers", within=10)  # fmt: skip


def test_a_broker_that_never_answers(nowhere: User) -> None:
    ended = nowhere.run(*TRAIN.split(), "--bootstrap-servers", SILENT)
    check(ended, UNAVAILABLE, "BROKER_UNREACHABLE", SILENT, "gradstream up", within=10)


def test_a_listener_that_is_no_broker(nowhere: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        ended = nowhere.run("weights", "--bootstrap-servers", address)
    check(ended, UNAVAILABLE, "BROKER_UNREACHABLE", address, "gradstream up", within=10)


def test_a_host_that_does_not_exist(nowhere: User) -> None:
    ended = nowhere.run("weights", "--bootstrap-servers", "kafka.invalid:9092")
    check(ended, UNAVAILABLE, "BROKER_UNREACHABLE", "kafka.invalid:9092", within=10)


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    ["produce regression --rows 10 --format avro --topic {}", "train --source {} --target Y"],
)
def test_a_registry_that_is_not_there(user: User, unique: Unique, words: str) -> None:
    topic = unique("bad")
    ensure_topics(user.services, {topic: 1})
    address = f"http://{CLOSED}"
    ended = user.run(*words.format(topic).split(), "--schema-registry-url", address)
    check(ended, UNAVAILABLE, "REGISTRY_UNREACHABLE", address, "gradstream up", within=10)
    assert set(end_offsets(user.services, topic).values()) == {0}


@pytest.mark.integration
def test_a_registry_that_is_not_there_when_weights_are_shown(user: User, unique: Unique) -> None:
    topic = trained(user, unique)
    ended = user.run("weights", "--weights-topic", topic.weights, "--schema-registry-url", f"http://{CLOSED}")  # fmt: skip
    check(ended, UNAVAILABLE, "REGISTRY_UNREACHABLE", CLOSED, "gradstream up", within=10)


def test_an_engine_that_is_not_there(nowhere: User, tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("SHOW STREAMS;")
    for words in (("-e", "SHOW STREAMS;"), (str(tmp_path / "a.sql"),)):
        ended = nowhere.run("sql", *words)
        check(ended, UNAVAILABLE, "KSQL_UNREACHABLE", f"http://{CLOSED}", "gradstream up", "--ksql-url", within=10)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GRADSTREAM_BOOTSTRAP_SERVERS", TRAIN),
        ("GRADSTREAM_SCHEMA_REGISTRY_URL", TRAIN),
        ("GRADSTREAM_KSQL_URL", "sql -e SHOW"),
    ],
)
def test_an_empty_address(nowhere: User, name: str, words: str) -> None:
    check(nowhere.run(*words.split(), **{name: ""}), CONFIG, "EMPTY_ADDRESS", name, "127.0.0.1:")


def test_an_empty_address_in_a_flag(nowhere: User) -> None:
    ended = nowhere.run(*TRAIN.split(), "--bootstrap-servers", " ")
    check(ended, CONFIG, "EMPTY_ADDRESS", "--bootstrap-servers", "127.0.0.1:9092")


# Flags and words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("trian", "USAGE", ["no command 'trian'", "did you mean 'train'?"]),
        ("xyzzy", "USAGE", ["no command 'xyzzy'", "gradstream --help"]),
        (f"{TRAIN} --learningrate 1", "USAGE", ["--learningrate", "did you mean --learning-rate?"]),
        (f"{TRAIN} --batch 1", "USAGE", ["--batch", "did you mean --batch-size?"]),
        (f"{TRAIN} --xyzzy", "USAGE", ["--xyzzy", "gradstream train --help"]),
        ("produce regression --row 3", "USAGE", ["--row", "did you mean --rows?"]),
        ("produce regresion", "USAGE", ["'regresion'", "did you mean 'regression'?"]),
        ("produce", "USAGE", ["regression", "fraud", "csv"]),
        ("up --kafkaport 1", "USAGE", ["--kafkaport", "did you mean --kafka-port?"]),
        ("weights --folow", "USAGE", ["--folow", "did you mean --follow?"]),
        ("sql --qiet -e x", "USAGE", ["--qiet", "did you mean --quiet?"]),
        ("sql", "USAGE", ["no statements", "-e STATEMENT"]),
        ("train --target Y", "USAGE", ["--source", "gradstream train --help"]),
        (f"{TRAIN} --mode lives", "USAGE", ["--mode", "'lives'", "did you mean 'live'?"]),
        (f"{TRAIN} --batch-size 0", "BAD_VALUE", ["--batch-size 0:", "whole number from 1"]),
        (f"{TRAIN} --batch-size -1", "BAD_VALUE", ["--batch-size -1:", "whole number from 1"]),
        (f"{TRAIN} --batch-size 1.5", "BAD_VALUE", ["--batch-size 1.5:", "whole number from 1"]),
        (f"{TRAIN} --learning-rate NaN", "BAD_VALUE", ["--learning-rate NaN:", "above 0"]),
        (f"{TRAIN} --learning-rate 0", "BAD_VALUE", ["--learning-rate 0:", "above 0"]),
        (f"{TRAIN} --learning-rate -1", "BAD_VALUE", ["--learning-rate -1:", "above 0"]),
        (f"{TRAIN} --learning-rate inf", "BAD_VALUE", ["--learning-rate inf:", "above 0"]),
        (f"{TRAIN} --learning-rate fast", "BAD_VALUE", ["--learning-rate fast:", "a number"]),
        (f"{TRAIN} --epochs 0", "BAD_VALUE", ["--epochs 0:", "from 1"]),
        (f"{TRAIN} --publish-every soon", "BAD_VALUE", ["--publish-every soon:", "250ms"]),
        (f"{TRAIN} --backend numpi", "UNKNOWN_BACKEND", ["'numpi'", "did you mean 'numpy'?"]),
        (
            f"{TRAIN} --backend caffe",
            "UNKNOWN_BACKEND",
            ["'caffe'", "available here: python, numpy"],
        ),
        (f"{TRAIN} --model forest", "UNKNOWN_MODEL", ["'forest'", "linear"]),
        ("produce regression --rows many", "BAD_ROWS", ["--rows", "'many'", "endless"]),
        ("produce regression --data gaussian --weights 1,b", "BAD_WEIGHTS", ["--weights", "'1,b'"]),
        ("produce regression --rows 0", "BAD_ROWS", ["0", "1 or more"]),
        ("produce regression --rate 0", "BAD_RATE", ["--rate 0", "above 0"]),
        ("produce regression --rate nan", "BAD_RATE", ["--rate nan", "above 0"]),
        ("up --kafka-port 70000", "BAD_PORT", ["--kafka-port 70000", "1 to 65535"]),
        ("weights --limit many", "BAD_VALUE", ["--limit many", "whole number"]),
    ],
)
def test_wrong_words(side_by_side: Runs, words: str, code: str, said: list[str]) -> None:
    check(side_by_side(words), USAGE, code, *said)


@pytest.fixture(scope="module")
def side_by_side(nowhere: User, request: pytest.FixtureRequest) -> Iterator[Runs]:
    """How each command of the tests above ended. They begin together: most of their time is that of one core."""
    asked = [
        item.callspec.params["words"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_wrong_words.__name__
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ended = {words: pool.submit(nowhere.run, *words.split()) for words in asked}
        yield lambda words: ended[words].result()
        pool.shutdown(cancel_futures=True)


def test_a_backend_whose_package_is_missing_says_what_to_install(
    nowhere: User, tmp_path: Path
) -> None:
    # The package is hidden from the search for it, as on a machine where it was never installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'numpy' else found(name, package)\n"
    )
    ended = nowhere.run(*TRAIN.split(), "--backend", "numpy", PYTHONPATH=str(tmp_path))
    check(ended, UNAVAILABLE, "BACKEND_MISSING", "'numpy'", "pip install", "Available here: python")


@pytest.mark.integration
def test_a_port_that_is_used(user: User, services: Services, tmp_path: Path) -> None:
    port = services.bootstrap_servers.rpartition(":")[2]
    ended = user.run("up", "--kafka-port", port, GRADSTREAM_HOME=str(tmp_path / "home"))
    check(ended, RETRY, "PORT_IN_USE", f"127.0.0.1:{port}", "--kafka-port", "another port")


def test_a_home_that_cannot_be_written(nowhere: User, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    ended = nowhere.run("up", GRADSTREAM_HOME=str(tmp_path / "file"))
    check(ended, CONFIG, "FOLDER_REFUSED", str(tmp_path / "file"), "GRADSTREAM_HOME")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_is_read_only(nowhere: User, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ended = nowhere.run("up", GRADSTREAM_HOME=str(tmp_path / "home"))
    tmp_path.chmod(0o700)
    check(ended, CONFIG, "FOLDER_REFUSED", str(tmp_path), "GRADSTREAM_HOME")


# Data on its way to a topic -------------------------------------------------------------------------------


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a file; its name."""

    def write(content: str | bytes) -> str:
        file = tmp_path / "data.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("A,B,Y\n1,2,3\n4,5\n6,7,8\n", "RAGGED_ROW", ["line 3", "2", "3"]),
        ("A,B,Y\n1,2,3\n4,5,6,7\n", "RAGGED_ROW", ["line 3", "4", "3"]),
        ("", "EMPTY_FILE", ["data.csv"]),
        ("A,B,Y\n", "EMPTY_FILE", ["data.csv", "no rows"]),
        ("A,B,A\n1,2,3\n", "DUPLICATE_COLUMN", ["'A'"]),
        ("A,Y\n1,2\n".encode("utf-16"), "BAD_ENCODING", ["UTF-16", "UTF-8", "iconv"]),
        (gzip.compress(b"A,Y\n1,2\n" * 50, mtime=0)[:-12], "TRUNCATED", ["data.csv", "gzip"]),
    ],
)
def test_a_file_that_cannot_be_sent(
    nowhere: User,
    csv: Callable[[str | bytes], str],
    content: str | bytes,
    code: str,
    said: list[str],
) -> None:
    # No broker is there either: the whole file is checked before the first record is sent.
    check(nowhere.run("produce", "csv", csv(content), "--topic", "t"), DATA, code, *said)


def test_a_target_that_the_file_has_not(nowhere: User, csv: Callable[[str | bytes], str]) -> None:
    file = csv("Age,Price\n1,2\n")
    ended = nowhere.run("produce", "csv", file, "--topic", "t", "--target", "Prise")
    check(ended, DATA, "MISSING_COLUMN", "'Prise'", "did you mean 'Price'?")


def test_a_replay_whose_column_is_missing(nowhere: User, csv: Callable[[str | bytes], str]) -> None:
    names = ["Time", *(f"V{i}" for i in range(1, 29) if i != 7), "Amount", "Class"]
    file = csv(",".join(names) + "\n" + ",".join(["0"] * len(names)) + "\n")
    check(
        nowhere.run("produce", "fraud", "--from", file),
        DATA,
        "MISSING_COLUMN",
        "lacks V7",
        "Kaggle",
    )


@pytest.mark.parametrize("words", ["produce csv {} --topic t", "produce fraud --from {}", "sql {}"])
def test_a_file_that_is_not_there(nowhere: User, tmp_path: Path, words: str) -> None:
    missing = str(tmp_path / "none.csv")
    check(nowhere.run(*words.format(missing).split()), DATA, "NO_FILE", missing, "check the path")


# Statements -----------------------------------------------------------------------------------------------


def check_sql(ended: Ended, code: str, place: str, token: str, *said: str) -> None:
    """One line, then the statement's line with the token underlined."""
    __tracebackhide__ = True
    assert ended.code == DATA, ended
    lines = ended.err.splitlines()
    assert len(lines) == 3, ended
    check_line(ended, lines[0], code, (place, *said))
    first, last = lines[2].index("^"), lines[2].rindex("^") + 1
    assert lines[2] == " " * first + "^" * (last - first), ended
    assert lines[1][first:last] == token, ended


@pytest.fixture(scope="module")
def stream(sql_user: User) -> str:
    """A stream over a topic of its own, with text, numbers and a class that is text."""
    name = f"S{time.time_ns()}"
    ended = sql_user.run(
        "sql", "-e", f"CREATE STREAM {name} (USER_NAME STRING, AMOUNT DOUBLE, COUNT_OF INTEGER, CLASS STRING) "
        f"WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);",
    )  # fmt: skip
    assert ended.code == 0, ended
    return name


@pytest.mark.integration
@pytest.mark.parametrize(
    ("statement", "code", "place", "token", "said"),
    [
        ("SELECT AMOUNT\nFRM {} EMIT CHANGES;", "SYNTAX_ERROR", "line 2:5", "{}", []),
        ("SELECT AMOUNT FROM {} WHERE EMIT CHANGES;", "SYNTAX_ERROR", "line 1:", "CHANGES", []),
        ("CREAT STREAM X AS SELECT * FROM {};", "SYNTAX_ERROR", "line 1:1", "CREAT", ["Unknown statement"]),
        ("SELECT 'open FROM {};", "OPEN_QUOTE", "line 1:8", "'", ["end it with '"]),
        ("SELECT AMOUNT FROM {}X EMIT CHANGES;", "UNKNOWN_STREAM", "line 1:20", "{}X", ["Did you mean {}?"]),
        ("SELECT\n  AMUONT FROM {} EMIT CHANGES;", "UNKNOWN_COLUMN", "line 2:3", "AMUONT", ["Did you mean AMOUNT?"]),
        ("SELECT AMOUNT FROM {} WHERE AMUONT > 1 EMIT CHANGES;", "UNKNOWN_COLUMN", "line 1:47", "AMUONT", ["Did you mean AMOUNT?"]),
        ("SELECT MASQ(USER_NAME) FROM {} EMIT CHANGES;", "UNKNOWN_FUNCTION", "line 1:8", "MASQ", ["MASK"]),
        ("SELECT USER_NAME * 2 FROM {} EMIT CHANGES;", "TYPE_MISMATCH", "line 1:8", "USER_NAME", ["STRING", "INTEGER"]),
        ("SELECT AMOUNT FROM {} WHERE USER_NAME > 3 EMIT CHANGES;", "TYPE_MISMATCH", "line 1:", "USER_NAME", ["STRING", "INTEGER"]),
        ("SELECT IFNULL(CLASS, -1) FROM {} EMIT CHANGES;", "TYPE_MISMATCH", "line 1:8", "IFNULL", ["STRING", "INTEGER"]),
        ("SELECT MASK(AMOUNT) FROM {} EMIT CHANGES;", "TYPE_MISMATCH", "line 1:8", "MASK", ["'mask'", "DOUBLE", "STRING"]),
    ],
)  # fmt: skip
def test_statements_that_are_refused(
    sql_user: User, stream: str, statement: str, code: str, place: str, token: str, said: list[str]
) -> None:
    ended = sql_user.run("sql", "--quiet", "-e", statement.replace("{}", stream))
    check_sql(ended, code, place, token.replace("{}", stream), *(s.replace("{}", stream) for s in said))  # fmt: skip


@pytest.mark.integration
def test_a_file_tells_its_name_and_its_own_line(
    sql_user: User, stream: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.sql"
    file.write_text(f"-- a comment\nSHOW STREAMS;\n\nCREATE STREAM {stream}Y AS\n  SELECT AMUONT\n  FROM {stream};\n")  # fmt: skip
    ended = sql_user.run("sql", "--quiet", str(file))
    check_sql(ended, "UNKNOWN_COLUMN", "line 5:10", "AMUONT", str(file), "Did you mean AMOUNT?")


# Topics that cannot be trained on -------------------------------------------------------------------------


def train_words(topic: Topic, *more: str) -> list[str]:
    return ["train", "--source", topic.name, "--target", "Y", "--run", topic.run, "--weights-topic", topic.weights, "--dead-letters-topic", topic.dead, *more]  # fmt: skip


def values(services: Services, topic: str) -> pa.BinaryArray:
    """Every committed value of a topic with one partition."""
    at = (topic, 0)
    with contextlib.suppress(KeyError):
        end = end_offsets(services, topic)[at]
        found, deadline = [pa.array([], pa.binary())], time.monotonic() + 20
        with open_log_reader(services, {at: EARLIEST}) as reader:
            while end and reader.position().get(at, 0) < end:
                found.append(reader.fetch(10_000, 0.2).value)
                assert time.monotonic() < deadline
        return pa.chunked_array(found, pa.binary()).combine_chunks()
    raise AssertionError(f"{topic} has no partition 0")


def published(topic: Topic) -> list[WeightsRecord]:
    """The weights topic, after a check that it is one chain of finite weights."""
    with contextlib.closing(Registry(topic.services.schema_registry_url)) as registry:
        records = read_weights(AvroDecoder(registry), values(topic.services, topic.weights))
    parent = ""
    for record in records:
        assert record.parent == parent
        assert all(np.isfinite(tensor).all() for tensor in record.tensors.values())
        parent = record.sha256
    return records


def trained(user: User, unique: Unique) -> Topic:
    topic = Topic(user.services, unique, 2)
    topic.send(*data(1000, 2))
    ended = user.run(*train_words(topic))
    assert ended.code == 0, ended
    return topic


@pytest.mark.integration
def test_poison_becomes_dead_letters_while_training_goes_on(user: User, unique: Unique) -> None:
    topic = Topic(user.services, unique, 2)
    X, y = data(1000, 2)
    good = values_of(X[:1], y[:1], topic.schema_id)[0].as_py()
    X[700, 0] = np.nan
    X[701, 1] = np.inf
    # A union's branch 0 is null: the text, the flag, then the first feature without a value.
    text_and_flag = good[5 : 5 + 1 + 1 + len(b"Xxnn") + 1]
    empty_feature = good[:5] + text_and_flag + b"\0" + good[5 + len(text_and_flag) + 9 :]
    poison = {
        100: b"not Avro at all",
        200: b"\0\x7f\xff\xff\xf0" + good[5:],
        300: good[:-3],
        400: empty_feature,
        500: None,
    }
    topic.send(X, y, poison=poison)
    ended = user.run(*train_words(topic))
    assert ended.code == 0, ended
    assert "Traceback" not in ended.err

    with contextlib.closing(Registry(user.services.schema_registry_url)) as registry:
        decoded = AvroDecoder(registry).columns(values(user.services, topic.dead))
    letters = decoded.batch.to_pylist()
    told = {(d["topic"], d["partition"], d["offset"]): d["code"] for d in letters}
    assert told == {
        (topic.name, 0, 100): "BAD_MAGIC",
        (topic.name, 0, 201): "UNKNOWN_SCHEMA_ID",
        (topic.name, 0, 302): "TRUNCATED",
        (topic.name, 0, 403): "NULL_FIELD",
        (topic.name, 0, 504): "TOMBSTONE",
        (topic.name, 0, 705): "NON_FINITE",
        (topic.name, 0, 706): "NON_FINITE",
    }
    assert all(d["reason"] for d in letters)
    assert "X1" in next(d["reason"] for d in letters if d["code"] == "NULL_FIELD")
    last = published(topic)[-1]
    assert last.records_trained + len(letters) == 1000 + len(poison)
    assert last.records_rejected == len(letters)
    assert f"{len(letters)} records could not be used; see why: gradstream dlq list" in ended.err
    assert f"--dead-letters-topic {topic.dead}" in ended.err


@pytest.mark.integration
def test_columns_and_topics_that_are_not_there(user: User, unique: Unique) -> None:
    topic = Topic(user.services, unique, 2)
    words = train_words(topic)
    check(user.run(*words, "--target", "y"), DATA, "UNKNOWN_COLUMN", "--target y", "did you mean 'Y'?")  # fmt: skip
    check(user.run(*words, "--features", "X1,X3"), DATA, "UNKNOWN_COLUMN", "--features X3", "did you mean 'X")  # fmt: skip
    check(user.run(*words, "--source", topic.name[:-1]), DATA, "UNKNOWN_TOPIC", repr(topic.name[:-1]), f"did you mean {topic.name}?")  # fmt: skip
    none = unique("none")
    check(user.run("weights", "--weights-topic", none), DATA, "UNKNOWN_TOPIC", repr(none))
    ensure_topics(user.services, {none: 1})
    check(user.run(*words, "--source", none), DATA, "NO_SCHEMA", repr(none), "AVRO")


@pytest.mark.integration
def test_a_loss_that_explodes_publishes_nothing_that_is_not_finite(
    user: User, unique: Unique
) -> None:
    topic = Topic(user.services, unique, 2)
    topic.send(*data(5000, 2))
    ended = user.run(*train_words(topic, "--learning-rate", "50", "--publish-every", "1"))
    check(ended, CONFIG, "DIVERGED", "at step ", "learning rate 50", "try --learning-rate 0.")
    assert published(topic)  # which checks that every number is finite
    rate = re.search(r"try --learning-rate ([\d.e-]+)", ended.err)
    assert rate
    again = user.run(*train_words(topic, "--run", topic.run + "b", "--learning-rate", rate[1]))
    assert again.code == 0, again


@pytest.mark.integration
def test_resuming_with_other_features(user: User, unique: Unique) -> None:
    topic = trained(user, unique)
    before = len(published(topic))
    ended = user.run(*train_words(topic, "--features", "X1"))
    check(ended, CONFIG, "RESUME_MISMATCH", f"run {topic.run!r}", "X1,X2", "--run")
    assert len(published(topic)) == before


@pytest.mark.integration
def test_two_trainers_of_one_run_leave_one_chain(user: User, unique: Unique) -> None:
    topic = Topic(user.services, unique, 2)
    topic.send(*data(2000, 2))
    words = train_words(topic, "--mode", "live", "--publish-every", "100ms")
    with user.running(*words) as older:
        wait_for(lambda: bool(published_so_far(topic)))
        with user.running(*words) as newer:
            # Records go on coming, so that both would publish.
            for seed in range(100):
                topic.send(*data(300, 2, seed=seed))
                if older.process.poll() is not None:
                    break
                time.sleep(0.1)
            fenced = older.end(10)
            assert fenced.code == RETRY, fenced
            *_, last_line = fenced.err.splitlines()  # before it, a line of progress now and then
            check_line(fenced, last_line, "FENCED", (topic.run, "taken over", "--run"))
            total = 2000 + 300 * (seed + 1)
            wait_for(lambda: published(topic)[-1].records_trained == total)
            ended = newer.interrupt()
    assert ended.code == 130, ended
    last = published(topic)[-1]
    assert (last.records_trained, last.records_rejected) == (total, 0)
    assert last.commits == end_offsets(user.services, topic.name)
    shown = user.run("weights", "--run", topic.run, "--weights-topic", topic.weights, "--json")
    assert json.loads(shown.out.splitlines()[-1])["records_trained"] == total


def published_so_far(topic: Topic) -> bool:
    try:
        return any(end_offsets(topic.services, topic.weights).values())
    except Exception as error:  # the trainer has not made the topic yet
        if "UNKNOWN_TOPIC" in str(error):
            return False
        raise


def wait_for(done: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
