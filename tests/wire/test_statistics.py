"""What a reader's client tells about itself, on both clients."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.wire.reader import open_reader
from gradstream.wire.statistics import Statistics
from gradstream.wire.writer import Writer


def test_a_document_with_unknown_lag_and_brokers_that_were_never_asked() -> None:
    partitions = {
        "0": {"ls_offset": 10, "app_offset": 3},
        "1": {"ls_offset": -1001, "app_offset": 3},
        "2": {"ls_offset": 10, "app_offset": -1001},
        "-1": {"ls_offset": 0, "app_offset": 0},
    }
    document = (
        '{"rxmsgs": 3, "rxmsg_bytes": 40, "replyq": 2, "topics": {"t": {"partitions": '
        + str(partitions).replace("'", '"')
        + '}}, "brokers": {"a": {"rtt": {"avg": 1500}}, "b": {}}}'
    )
    assert Statistics.from_json(document) == Statistics(3, 40, 2, {("t", 0): 7}, 0.0015)


@pytest.mark.integration
def test_statistics_are_told_where_they_are_wanted(
    services: Services, topic: str, client: Any, unique: Callable[[str], str], drain: Any
) -> None:
    with Writer(services) as writer:
        writer.send(topic, pa.array([b"12345"] * 100, pa.binary()))
    with open_reader(services, [topic], unique("g"), client=client, statistics=0.05) as reader:
        drain(reader, 100, chunk=60)
        deadline = time.monotonic() + 20
        slowest = 0.0  # 0 where no answer came since the last time
        while not (told := reader.statistics) or told.lag != {(topic, 0): 0} or not slowest:
            slowest = max(slowest, told.round_trip if told else 0.0)
            assert time.monotonic() < deadline, told
            reader.fetch(10, 0.1)
    assert told.received == 100
    assert told.received_bytes >= 500
    assert told.waiting == 0
    assert slowest < 20


@pytest.mark.integration
def test_nothing_is_told_unasked(
    services: Services, topic: str, client: Any, unique: Callable[[str], str]
) -> None:
    with open_reader(services, [topic], unique("g"), client=client) as reader:
        while not reader.assignment():
            reader.fetch(10, 0.1)
        assert reader.statistics is None
