"""Pacing on a clock of our own: when slices go out, and what happens after a stall."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from gradstream.errors import UsageError
from producers.pace import BURST, TICK, Pace, at_own_clock, at_rate


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def batch(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(rows))], ["ID"])


def sent(clock: Clock, rate: float, sizes: list[int]) -> Iterator[tuple[float, int]]:
    """(seconds since the start, rows) of each slice of batches of these sizes."""
    pace = Pace(clock.read, clock.sleep)
    schedule = at_rate(rate)
    first = 0
    for size in sizes:
        for start, end in pace.slices(schedule(batch(size), first)):
            yield clock.now - 1000.0, end - start
        first += size


@pytest.mark.parametrize("rate", [0.5, 7.0, 1000.0, 123_456.0])
def test_records_go_out_evenly_and_never_early(rate: float) -> None:
    total = int(max(10, rate))
    slices = list(sent(Clock(), rate, [total // 2, total - total // 2]))
    count = 0
    for when, rows in slices:
        assert count == 0 or rows <= max(1, rate * 2 * TICK + 1)
        count += rows
        due_last = (count - 1) / rate
        assert due_last <= when + 1e-9 <= due_last + max(TICK, 1 / rate) + 1e-6
    assert count == total


def test_a_stall_moves_the_schedule_instead_of_making_a_burst() -> None:
    clock = Clock()
    rate = 1000.0
    largest, stalled = 0, False
    for when, rows in sent(clock, rate, [4000]):
        largest = max(largest, rows)
        if when > 1 and not stalled:
            clock.now += 2.0  # the broker did not answer for two seconds
            stalled = True
    assert largest <= rate * BURST + 1
    assert clock.now - 1000.0 == pytest.approx(4.0 + 2.0 - BURST, abs=0.1)


def test_a_fast_rate_goes_out_in_slices_worth_a_call_though_sending_takes_its_time() -> None:
    clock = Clock()
    slices = 0
    for _ in sent(clock, 10_000.0, [20_000]):
        clock.now += 0.0003  # the call, in which three more records fall due
        slices += 1
    assert slices <= 2.0 / TICK + 2


def test_slices_cover_all_rows_once_and_in_order() -> None:
    clock = Clock()
    pace = Pace(clock.read, clock.sleep)
    due = np.sort(np.random.default_rng(1).uniform(0, 3, 500))
    covered = [row for start, end in pace.slices(due) for row in range(start, end)]
    assert covered == list(range(500))


def test_own_clock_is_followed_at_a_speed_across_batches() -> None:
    schedule = at_own_clock("TIME", 10.0)
    first = pa.RecordBatch.from_arrays([pa.array([100, 100, 110])], ["TIME"])
    second = pa.RecordBatch.from_arrays([pa.array([105, 130])], ["TIME"])
    assert schedule(first, 0).tolist() == [0.0, 0.0, 1.0]
    assert schedule(second, 3).tolist() == [1.0, 3.0]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_must_be_above_zero(rate: float) -> None:
    with pytest.raises(UsageError, match="BAD_RATE"):
        at_rate(rate)
    with pytest.raises(UsageError, match="BAD_RATE"):
        at_own_clock("TIME", rate)
