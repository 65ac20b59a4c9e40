"""Ctrl-C anywhere: gone within two seconds, and nothing half-written."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import end_offsets, ensure_topics
from tests.acceptance.command_line import Ended, Running, User
from tests.acceptance.test_bad_input import (
    published,
    published_so_far,
    train_words,
    trained,
    values,
    wait_for,
)
from tests.crowd import in_time
from tests.trainers.feed import Topic, data

Unique = Callable[[str], str]
INTERRUPTED = 130


def check_gone(ended: Ended) -> None:
    """At once, by the code of an interrupt, without a traceback."""
    __tracebackhide__ = True
    assert ended.code == INTERRUPTED, ended
    assert in_time(ended.seconds, 2), ended
    assert "Traceback" not in ended.err, ended
    assert "BUG" not in ended.err, ended


def records_in(user: User, topic: str) -> int:
    return sum(end_offsets(user.services, topic).values())


@pytest.mark.integration
@pytest.mark.parametrize("pace", [(), ("--rate", "500")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_producer_says_what_it_sent(
    user: User, unique: Unique, pace: tuple[str, ...], number: int
) -> None:
    topic = unique("interrupted")
    ensure_topics(user.services, {topic: 1})
    with user.running("produce", "regression", "--data", "gaussian", "--rows", "endless", "--topic", topic, *pace) as running:  # fmt: skip
        wait_for(lambda: records_in(user, topic) > 0)
        ended = running.interrupt(number)
    check_gone(ended)
    said = re.search(r"stopped: sent ([\d,]+) records", ended.err)
    assert said, ended
    found = values(user.services, topic)
    assert len(found) == int(said[1].replace(",", ""))
    assert {len(line.split(b",")) for line in found.to_pylist()} == {4}  # whole rows only


@pytest.mark.integration
@pytest.mark.parametrize(
    "how", [("--mode", "live"), ("--batch-size", "full", "--epochs", "1000000", "--learning-rate", "0.001")]
)  # fmt: skip
def test_a_trainer_leaves_weights_and_offsets_that_agree(
    user: User, unique: Unique, how: tuple[str, ...]
) -> None:
    topic = Topic(user.services, unique, 2)
    topic.send(*data(5000, 2))
    words = train_words(topic, "--publish-every", "100ms", *how)
    with user.running(*words) as running:
        wait_for(lambda: published_so_far(topic))
        ended = running.interrupt()
    check_gone(ended)
    assert "go on with: gradstream train" in ended.err
    before = published(topic)
    assert f"step {before[-1].step:,}:" in ended.err  # what it says is what is committed
    assert f"sha256 {before[-1].sha256[:12]}" in ended.err

    # The next one finds weights and offsets that agree, or would refuse to start (TORN_TRANSACTION).
    steps = ("--max-steps", str(before[-1].step + 10))
    topic.send(*data(5000, 2, seed=3))
    again = user.run(*words, *steps)
    assert again.code == 0, again
    after = published(topic)
    assert [r.sha256 for r in after[: len(before)]] == [r.sha256 for r in before]
    assert len(after) > len(before)


@pytest.mark.integration
@pytest.mark.parametrize("after", [0.0, 0.3, 0.6, 1.0])
def test_a_trainer_that_is_still_starting(user: User, unique: Unique, after: float) -> None:
    topic = Topic(user.services, unique, 2)
    topic.send(*data(100, 2))
    with user.running(*train_words(topic, "--mode", "live")) as running:
        running_python(running)
        time.sleep(after)
        ended = running.interrupt()
    check_gone(ended)


def running_python(running: Running) -> None:
    """Return when our code is in charge: before that, a signal meets Python's own start-up."""
    process = psutil.Process(running.process.pid)

    def loaded() -> bool:
        return any("_datetime" in found.path or "rich" in found.path or "confluent" in found.path for found in process.memory_maps())  # fmt: skip

    wait_for(loaded, 20)


@pytest.mark.integration
def test_weights_that_are_followed(user: User, unique: Unique) -> None:
    topic = trained(user, unique)
    words = ("weights", "--follow", "--weights-topic", topic.weights)
    with user.running(*words) as running:
        assert running.process.stdout is not None
        assert running.process.stdout.readline().startswith("run")
        time.sleep(0.5)
        check_gone(running.interrupt())


@pytest.mark.integration
def test_rows_that_have_no_end(sql_user: User, unique: Unique) -> None:
    name = unique("S").upper()
    assert sql_user.run("sql", "-e", f"CREATE STREAM {name} (A INTEGER) WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);").code == 0  # fmt: skip
    with (
        KsqlClient(sql_user.services.ksql_url) as client,
        sql_user.running("sql", "--json", "-e", f"SELECT A FROM {name} EMIT CHANGES;") as running,
    ):
        assert running.process.stdout is not None
        wait_for(lambda: name in json.dumps(client.execute("SHOW QUERIES;")))
        sql_user.run("sql", "-e", f"INSERT INTO {name} (A) VALUES (7);")
        assert json.loads(running.process.stdout.readline()) == {"A": 7}
        check_gone(running.interrupt())
    # Its query is gone too: nothing holds the stream.
    dropped = sql_user.run("sql", "-e", f"DROP STREAM {name};")
    assert dropped.code == 0, dropped


@pytest.mark.parametrize("after", [0.0, 1.0, 2.5])
def test_a_stack_that_is_not_ready(nowhere: User, tmp_path: Path, after: float) -> None:
    home = tmp_path / "home"
    with nowhere.running("up", GRADSTREAM_HOME=str(home)) as running:
        wait_for(home.exists, 20)
        time.sleep(after)
        ended = running.interrupt()
    check_gone(ended)
    assert not list_of_children(home), "a service outlived its stack"
    assert not (home / "stack.json").exists()


def list_of_children(home: Path) -> list[str]:
    """Command lines of processes that work in a home."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(home) in line and process.info["pid"] != os.getpid():
            found.append(line)
    return found
