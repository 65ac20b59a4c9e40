"""ksqlDB's query translation tests, against the list of those that are known to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradstream.engine import qtt

CASES = sorted((Path(__file__).parents[3] / "shared" / "qtt").glob("tier*.jsonl"))
KNOWN = Path(__file__).with_name("qtt_known_failures.txt")


def known_failures() -> dict[str, str]:
    """id: reason, from lines of ``id<TAB>reason``."""
    lines = KNOWN.read_text().splitlines()
    pairs = (line.split("\t", 1) for line in lines if line and not line.startswith("#"))
    return dict(map(tuple, pairs))


@pytest.mark.skipif(not CASES, reason="shared/qtt is not beside the checkout")
def test_tiers_fail_only_where_it_is_known_to() -> None:
    known = known_failures()
    failed = {}
    for path in CASES:
        for case in qtt.cases(path):
            if (reason := qtt.judge(case)) is not None:
                failed[case["id"]] = reason
    new = {name: reason for name, reason in failed.items() if name not in known}
    assert not new, "\n".join(f"{name}: {reason}" for name, reason in new.items())
    mended = sorted(set(known) - set(failed))
    assert not mended, f"these pass now, take them off {KNOWN.name}: {mended}"


def test_every_known_failure_has_a_reason() -> None:
    assert all(reason.strip() for reason in known_failures().values())


SOURCE = "CREATE STREAM S (ID BIGINT, NAME STRING) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON');"
COPY = "CREATE STREAM C WITH (VALUE_FORMAT='DELIMITED') AS SELECT ID + 1 AS N, NAME FROM S;"


def case(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {
        "id": "own/case",
        "kind": "outputs",
        "statements": [SOURCE, COPY],
        "inputs": [{"topic": "s", "value": {"id": 1, "name": "a"}, "timestamp": 5}],
        "outputs": [{"topic": "C", "value": "2,a", "timestamp": 5}],
    }
    return {**made, **changes}


def test_the_judge_passes_what_is_right() -> None:
    assert qtt.judge(case()) is None


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [{"topic": "C", "value": "2,a"}, {"topic": "C", "value": "2,a"}],
        [{"topic": "C", "value": "3,a"}],
        [{"topic": "C", "value": "2,a", "timestamp": 6}],
        [{"topic": "C", "value": "2,a", "key": "k"}],
        [{"topic": "C", "value": "2,a", "headers": [{"KEY": "h", "VALUE": None}]}],
        [{"topic": "D", "value": "2,a"}],
    ],
)
def test_the_judge_fails_what_is_wrong(outputs: list[object]) -> None:
    reason = qtt.judge(case(outputs=outputs))
    assert (reason is None) == (outputs == [])


def test_an_expected_error_must_come_and_say_what_is_expected() -> None:
    wrong = [SOURCE, "CREATE STREAM C AS SELECT NONE FROM S;"]
    right = {"message": "cannot be resolved"}
    assert qtt.judge(case(statements=wrong, expectedException=right)) is None
    assert qtt.judge(case(statements=wrong, expectedException={"message": "another"}))
    assert qtt.judge(case(expectedException=right))


def posted(**wanted: object) -> str | None:
    """What the judge says of the topic of an Avro copy, or of the stream over it."""
    copy = "CREATE STREAM C WITH (FORMAT='AVRO') AS SELECT NAME, ID FROM S PARTITION BY NAME;"
    return qtt.judge(case(statements=[SOURCE, copy], outputs=[], post=wanted))


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"partitions": 4}, True),
        ({"partitions": 3}, False),
        ({"keyFormat": {"format": "AVRO"}}, False),
        ({"keyFormat": {"format": "KAFKA"}}, False),
        ({"valueFormat": {"format": "AVRO", "features": ["WRAP_SINGLES"]}}, False),
        ({"valueSchemaId": 1}, False),
        ({"keyFormat": {"format": "AVRO", "features": ["UNWRAP_SINGLES"], "windowInfo": {"type": "SESSION"}}}, False),
        ({"name": "D"}, False),
    ],
)  # fmt: skip
def test_topics_are_checked_afterwards(changes: dict[str, object], right: bool) -> None:
    key = {"format": "AVRO", "features": ["UNWRAP_SINGLES"]}
    topic = {"name": "C", "keyFormat": key, "valueFormat": {"format": "AVRO"}, **changes}
    assert (posted(topics={"topics": [topic]}) is None) == right


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"keyFeatures": ["UNWRAP_SINGLES"], "valueFeatures": [], "isSource": False}, True),
        ({"keyFeatures": []}, False),
        ({"isSource": True}, False),
        ({"keyFormat": {"format": "AVRO", "windowType": "TUMBLING", "windowSize": 5}}, False),
        ({"type": "table"}, False),
    ],
)
def test_sources_are_checked_afterwards(changes: dict[str, object], right: bool) -> None:
    assert (posted(sources=[{"name": "C", "type": "stream", **changes}]) is None) == right
