"""What a push query may keep."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gradstream.engine.language.state import Store
from gradstream.engine.server.weighing import Scales, weight
from gradstream.errors import DataError


class Keeping:
    def __init__(self) -> None:
        self.rows: Store[Any, Any] = Store("rows")

    def stores(self) -> tuple[Store[Any, Any], ...]:
        return (self.rows,)

    def restored(self) -> None: ...


def test_what_is_in_a_value_counts() -> None:
    assert weight((["x" * 1000],)) > 1000
    assert weight({"a": b"x" * 1000}) > 1000
    assert weight(frozenset({"x" * 1000})) > 1000
    assert weight(1) < 100


def test_what_has_gone_weighs_nothing_and_what_changes_weighs_once() -> None:
    keeping = Keeping()
    scales = Scales([keeping], 1 << 30)
    for turn in range(3):
        for key in range(10):
            keeping.rows[key] = (turn, "text")
        scales.check()
    ten = scales.total
    assert 10 * 400 < ten < 10 * 1000
    for key in range(5):
        del keeping.rows[key]
    scales.check()
    assert scales.total == ten // 2
    keeping.rows[9] = ("x" * 100_000,)
    scales.check()
    assert scales.total > 100_000
    keeping.rows.clear()
    scales.check()
    assert scales.total == 0
    assert keeping.rows.take_changes() == [], "nobody else takes them, and they are not to gather"


def test_too_much_is_told_with_a_remedy() -> None:
    keeping = Keeping()
    scales = Scales([keeping], 5000)
    for key in range(5):
        keeping.rows[key] = key
    scales.check()
    for key in range(100):
        keeping.rows[key] = key
    with pytest.raises(DataError) as caught:
        scales.check()
    assert caught.value.code == "STATE_TOO_LARGE"
    assert re.search(r"keeps 100 rows or groups .* --limit kept=BYTES", str(caught.value))
