"""Each partition has a time of its own: rows of several partitions, through real bytes and no broker."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.engine.catalog import Format
from gradstream.engine.rows.partitioner import key_partitions, murmur2
from gradstream.engine.rows.pipeline import Output, Pipeline, unwindowed
from gradstream.engine.rows.processing_log import Logger
from gradstream.wire.records import Records
from tests.engine.planned import started
from tests.engine.restarted import Restarted

VIEWS = (
    "CREATE STREAM VIEWS (USER STRING KEY, PAGE STRING) WITH (KAFKA_TOPIC='views', FORMAT='JSON');"
)
CLICKS = "CREATE STREAM CLICKS (USER STRING KEY, PAGE STRING) WITH (KAFKA_TOPIC='clicks', FORMAT='JSON');"
Row = tuple[str, int, str, Any, int]
"""(topic, partition, key, value, milliseconds)"""


def records(rows: list[Row]) -> Records:
    topics = tuple(dict.fromkeys(row[0] for row in rows))
    return Records(
        topics,
        np.array([topics.index(row[0]) for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.arange(len(rows)),
        np.array([row[4] for row in rows], np.int64),
        pa.array([json.dumps(row[2]).encode() for row in rows], pa.binary()),
        pa.array([json.dumps(row[3]).encode() for row in rows], pa.binary()),
    )


def ran(kind: type[Pipeline], statements: str, rows: list[Row], partitions: int) -> Output:
    query = started(statements)
    assert query.sink is not None
    made = kind(query.query, query.sink, None, Logger("Q_1", include_rows=True))
    made.inputs.partitions = partitions
    made.inputs.start()
    if isinstance(made, Restarted):
        made.die()
    output = made.run(records(rows))
    assert not output.log, output.log
    return output


def shown(statements: str, rows: list[Row], partitions: int = 4) -> list[tuple[Any, ...]]:
    """(key, values…, time), with (start, end) of its window before the time where it has one; also where the query dies
    after each row.
    """
    window = started(statements).sink.window  # type: ignore[union-attr]
    found = []
    for kind in (Pipeline, Restarted):
        output = ran(kind, statements, rows, partitions)
        keys, windows = output.keys, [()] * len(output.keys)
        if window is not None:
            keys, windows = unwindowed(keys, window)  # type: ignore[assignment]
        found.append(
            [
                (
                    json.loads(key),
                    *json.loads(value or b'{"N": null}').values(),
                    *((span,) if span else ()),
                    at,
                )
                for key, value, span, at in zip(
                    keys.to_pylist(),
                    output.values.to_pylist(),
                    windows,
                    output.timestamps.tolist(),
                    strict=True,
                )
            ]
        )
    assert found[0] == found[1]
    return found[0]


def counted(window: str, by: str = "USER", more: str = "") -> str:
    return f"{VIEWS} CREATE TABLE OUT AS SELECT {by}, COUNT(*) AS N FROM VIEWS WINDOW {window} GROUP BY {by} {more};"


def view(partition: int, key: str, at: int, page: str = "p") -> Row:
    return "views", partition, key, {"PAGE": page}, at


def test_a_row_is_late_by_its_own_partition_only() -> None:
    rows = [view(0, "a", 100), view(1, "b", 1), view(0, "a", 1), view(1, "b", 2), view(2, "c", 3)]
    assert shown(counted("TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 0 SECONDS)"), rows) == [
        ("a", 1, (100, 110), 100),
        ("b", 1, (0, 10), 1),
        ("b", 2, (0, 10), 2),
        ("c", 1, (0, 10), 3),
    ]
    assert shown(counted("SESSION (5 MILLISECONDS, GRACE PERIOD 0 SECONDS)"), rows) == [
        ("a", 1, (100, 100), 100),
        ("b", 1, (1, 1), 1),
        ("b", None, (1, 1), 1),
        ("b", 2, (1, 2), 2),
        ("c", 1, (3, 3), 3),
    ]


@pytest.mark.parametrize(
    ("window", "of_b", "of_a"),
    [
        ("TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 0 SECONDS)", (0, 10), (100, 110)),
        ("SESSION (5 MILLISECONDS, GRACE PERIOD 0 SECONDS)", (1, 2), (100, 100)),
    ],
)
def test_a_window_is_final_when_the_time_of_its_partition_has_passed_it(
    window: str, of_b: tuple[int, int], of_a: tuple[int, int]
) -> None:
    rows = [view(1, "b", 1), view(0, "a", 100), view(1, "b", 2), view(1, "c", 10)]
    query = counted(window, more="EMIT FINAL")
    assert shown(query, rows) == [("b", 2, of_b, 2)]
    assert shown(query, [*rows, view(0, "d", 110)]) == [("b", 2, of_b, 2), ("a", 1, of_a, 100)]


def test_rows_of_one_group_meet_in_the_partition_of_the_group() -> None:
    """Of two, "x" goes to 1 and "y" to 0, whatever partitions the rows come from."""
    assert key_partitions(Format("JSON"), pa.record_batch({"PAGE": ["x", "y"]}), 2) == [1, 0]
    rows = [
        view(0, "a", 100, "x"),
        view(0, "a", 1, "y"),
        view(1, "b", 2, "y"),
        view(1, "b", 3, "x"),
    ]
    tumbling = counted("TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 0 SECONDS)", "PAGE")
    assert shown(tumbling, rows, 2) == [
        ("x", 1, (100, 110), 100),
        ("y", 1, (0, 10), 1),
        ("y", 2, (0, 10), 2),
    ]
    assert [row[0] for row in shown(tumbling, rows, 1)] == ["x"]


def joined(how: str, on: str, key: str = "V.USER") -> str:
    return (
        f"{VIEWS}{CLICKS} CREATE STREAM OUT AS SELECT {key}, V.PAGE AS P, C.PAGE AS Q FROM VIEWS V {how} JOIN CLICKS C "
        f"WITHIN 10 MILLISECONDS GRACE PERIOD 0 SECONDS ON {on};"
    )


def test_streams_join_by_the_time_of_their_partition() -> None:
    rows = [
        view(1, "b", 1, "v"),
        view(0, "a", 100, "v"),
        ("clicks", 1, "b", {"PAGE": "c"}, 5),
        view(0, "a", 2, "late"),
        ("clicks", 0, "a", {"PAGE": "c"}, 3),
        view(1, "b", 30, "w"),
        view(1, "b", 50, "x"),
    ]
    assert shown(joined("", "V.USER = C.USER"), rows) == [("b", "v", "c", 5)]
    assert shown(joined("LEFT", "V.USER = C.USER"), rows) == [
        ("b", "v", "c", 5),
        ("a", "late", None, 2),
        ("b", "w", None, 30),
    ]


def test_streams_that_are_joined_by_another_column_meet_in_its_partition() -> None:
    rows = [
        view(0, "a", 100, "x"),
        view(0, "a", 1, "y"),
        ("clicks", 1, "b", {"PAGE": "x"}, 1),
        ("clicks", 1, "b", {"PAGE": "y"}, 2),
    ]
    query = joined("", "V.PAGE = C.PAGE", "V.USER")
    assert shown(query, rows, 2) == [("y", "a", "y", 2)]
    assert shown(query, rows, 1) == []


def test_more_partitions_later_move_no_group() -> None:
    query = started(counted("TUMBLING (SIZE 1 SECOND)", "PAGE"))
    assert query.sink is not None
    made = Restarted(query.query, query.sink, None, Logger("Q_1", include_rows=True))
    made.inputs.partitions = 2
    made.die()
    pages = [f"p{n}" for n in range(20)]
    made.run(records([view(0, "a", 1, page) for page in pages]))
    made.inputs.partitions = 7
    made.die()
    output = made.run(records([view(6, "a", 1, page) for page in pages]))
    assert output.values.to_pylist() == [b'{"N":2}'] * 20


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(data: bytes, expected: int) -> None:
    assert struct.unpack("<i", struct.pack("<I", murmur2(data))) == (expected,)


@pytest.mark.parametrize(
    ("format_", "keys", "written"),
    [
        ("KAFKA", {"A": pa.array([7], pa.int32())}, b"\0\0\0\7"),
        ("NONE", {"A": pa.array([7], pa.int64())}, b"\0\0\0\0\0\0\0\7"),
        ("KAFKA", {"A": pa.array([True])}, b"true"),
        ("KAFKA", {"A": pa.array([7]), "B": pa.array(["b"])}, b'{"A":7,"B":"b"}'),
        ("JSON", {"A": pa.array(["b"])}, b'"b"'),
        ("AVRO", {"A": pa.array(["b"])}, b'"b"'),
        ("DELIMITED", {"A": pa.array([7]), "B": pa.array(["b"])}, b"7,b"),
        ("DELIMITED", {"A": pa.array([[7]])}, b"[7]"),
    ],
)
def test_keys_go_where_kafkas_partitioner_puts_their_bytes(
    format_: str, keys: dict[str, pa.Array], written: bytes
) -> None:
    expected = (murmur2(written) & 0x7FFFFFFF) % 1000
    assert key_partitions(Format(format_), pa.record_batch(keys), 1000) == [expected]
