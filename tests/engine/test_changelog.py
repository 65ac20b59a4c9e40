"""What a query keeps, as records and back; and in which order records come to it."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.engine.language.state import Store
from gradstream.engine.rows.changelog import Changelog, all_written, read, written
from gradstream.engine.rows.merging import Merging
from gradstream.errors import DataError
from gradstream.wire.records import Records

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.text() | st.integers())
    ),
    max_leaves=8,
)


def exactly(value: Any) -> Any:
    """A text of all that makes a value what it is: kinds, digits, signs of zeros, order."""
    if isinstance(value, frozenset):
        return "frozenset", sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return type(value).__name__, [exactly(of) for of in value]
    if isinstance(value, dict):
        return "dict", [(key, exactly(of)) for key, of in value.items()]
    return type(value).__name__, repr(value)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert exactly(read(written(value))) == exactly(value)
    assert written(read(written(value))) == written(value)


ALIKE = (
    st.lists(VALUES, min_size=32, max_size=32)
    | st.lists(st.tuples(st.text(), st.integers()), min_size=32, max_size=32)
    | st.lists(st.text('abc "\\\x7f\n', max_size=2), min_size=32, max_size=32)
    | st.lists(
        st.tuples(st.tuples(st.integers(0, 2**63)), st.none() | st.floats(), st.booleans()),
        min_size=32,
        max_size=32,
    )
)


@settings(max_examples=100, deadline=None)
@given(ALIKE)
def test_many_values_are_written_as_each_is(values: list[Any]) -> None:
    assert all_written(values).to_pylist() == [written(value) for value in values]


def test_many_changes_are_taken_in_their_order() -> None:
    kept = Kept()
    changelog = Changelog("q", [kept])
    for n in range(100):
        kept.rows[n, "x"] = (n, None)
        kept.marks["clock"] = n
    del kept.rows[7, "x"]
    taken = {change.topic: change for change in changelog.take_changes()}
    rows = taken["q-Rows-changelog"]
    names = [read(key)[0] for key in rows.keys.to_pylist()]
    assert names == ["Rows"] * 100 + ["Rows/marks"]
    values = rows.values.to_pylist()
    assert [value is None for value in values] == [False] * 99 + [True, False]
    assert read(rows.keys[99].as_py()) == ("Rows", (7, "x"))
    assert read(values[42]) == (43, None)
    assert changelog.take_changes() == []


def test_what_is_awkward_comes_back() -> None:
    awkward = (
        -0.0,
        5e-324,
        math.inf,
        2**80,
        decimal.Decimal("1.50"),
        decimal.Decimal("0E-10"),
        "\ud800",
        b"\x00\xff",
        {"list": [1]},
        frozenset({"a", "b"}),
    )
    assert exactly(read(written(awkward))) == exactly(awkward)
    assert read(written(math.nan)) is math.nan, "or a dictionary would not find it"
    with pytest.raises(TypeError, match="complex"):
        written(1j)


class Kept:
    def __init__(self) -> None:
        self.rows: Store[Any, Any] = Store("Rows")
        self.marks: Store[str, int] = Store("Rows/marks")
        self.other: Store[Any, Any] = Store("Other")

    def stores(self) -> tuple[Store[Any, Any], ...]:
        return self.rows, self.marks, self.other

    def restored(self) -> None:
        self.seen = len(self.rows)


def test_only_what_has_changed_is_logged_and_what_is_gone_is_a_tombstone() -> None:
    kept = Kept()
    log = Changelog("q", [kept])
    assert log.topics == ["q-Rows-changelog", "q-Other-changelog"]
    assert log.take_changes() == []
    kept.rows[1, "a"] = 1.5
    kept.rows[2, "b"] = 2.5
    kept.marks["clock"] = 7
    kept.rows[1, "a"] = 3.5
    del kept.rows[2, "b"]
    (change,) = log.take_changes()
    assert change.topic == "q-Rows-changelog"
    assert dict(zip(map(read, change.keys.to_pylist()), change.values.to_pylist(), strict=True)) == {
        ("Rows", (1, "a")): b"3.5",
        ("Rows", (2, "b")): None,
        ("Rows/marks", "clock"): b"7",
    }  # fmt: skip
    assert log.take_changes() == []
    again = Kept()
    back = Changelog("q", [again])
    back.put_back(change.keys.to_pylist(), change.values.to_pylist())
    back.finish()
    assert dict(again.rows) == {(1, "a"): 3.5}
    assert again.marks["clock"] == 7
    assert again.seen == 1
    assert back.take_changes() == [], "what came back is no change"


@pytest.mark.parametrize("key", [None, b"", b"{", b'["Nobody",1]', b'["Rows",{"odd":1}]', b"7"])
def test_a_record_of_somebody_else_is_told(key: bytes | None) -> None:
    with pytest.raises(DataError, match="BAD_CHANGELOG"):
        Changelog("q", [Kept()]).put_back([key], [b"1"])


# Order


def records(*rows: tuple[str, int, int, int]) -> Records:
    """(topic, partition, offset, timestamp) each."""
    topics = ("s", "t")
    columns = [np.array(column) for column in zip(*rows, strict=True)][1:]
    texts = pa.array([f"{row}".encode() for row in rows], pa.binary())
    return Records(
        topics,
        np.array([topics.index(row[0]) for row in rows], np.int32),
        columns[0].astype(np.int32),
        columns[1].astype(np.int64),
        columns[2].astype(np.int64),
        texts,
        texts,
        lambda row: [("at", texts[row].as_py())],
    )


def order(found: Records | None) -> list[tuple[str, int, int]]:
    assert found is not None
    rows = range(len(found))
    assert [found.headers(row)[0][1] for row in rows] == found.value.to_pylist()
    return [
        (found.topics[found.topic[row]], int(found.partition[row]), int(found.offset[row]))
        for row in rows
    ]


def test_the_oldest_first_record_comes_next() -> None:
    merging = Merging({"s": 1, "t": 0})
    merging.add(records(("s", 0, 0, 5), ("s", 0, 1, 1), ("s", 0, 2, 9), ("t", 0, 0, 5)))
    merging.add(records(("s", 1, 4, 6), ("s", 1, 5, 9)))
    assert order(merging.take(set())) == [
        ("t", 0, 0),  # a table's row before a stream's of its time
        ("s", 0, 0),
        ("s", 0, 1),  # older, but not before the one that it stands behind
        ("s", 1, 4),
        ("s", 0, 2),
        ("s", 1, 5),
    ]
    assert merging.take(set()) is None
    assert len(merging) == 0


def test_a_partition_that_has_more_is_waited_for() -> None:
    merging = Merging({"s": 1, "t": 0})
    merging.add(records(("s", 0, 0, 5), ("s", 0, 1, 8), ("t", 0, 3, 6)))
    assert merging.take({("s", 1)}) is None
    assert merging.first() == {("s", 0): 0, ("t", 0): 3}
    assert order(merging.take({("t", 0)})) == [("s", 0, 0), ("t", 0, 3)]
    assert merging.first() == {("s", 0): 1}
    merging.add(records(("t", 0, 4, 7)))
    assert order(merging.take(())) == [("t", 0, 4), ("s", 0, 1)]
