"""Figures: what is compared with what, and when a goal is reached."""

from __future__ import annotations

import math

import pytest

from benchmarks import effort, tables
from benchmarks.effort import Effort
from benchmarks.figure import Figure, in_turns, spread


def test_the_best_are_compared() -> None:
    figure = Figure("rate", (1.0, 3.0, 2.0), "limit", (6.0, 4.0, 5.0), goal=0.5)
    assert (figure.best, figure.best_reference, figure.ratio) == (3, 6, 0.5)
    assert figure.reached
    assert not Figure("rate", (2.9,), "limit", (6.0,), goal=0.5).reached


def test_of_times_and_memory_the_least_is_the_best_and_more_times_as_good_is_still_more() -> None:
    figure = Figure("time", (90.0, 50.0), "bare", (25.0, 30.0), unit="ms", limit=60, smaller=True)
    assert (figure.best, figure.best_reference, figure.ratio) == (50, 25, 0.5)
    assert figure.reached
    assert not Figure("time", (61.0, 70.0), limit=60, smaller=True).reached


def test_a_rate_must_reach_its_limit_and_one_without_reference_has_no_ratio() -> None:
    assert Figure("rate", (2e6,), limit=2e6).reached
    assert not Figure("rate", (1.9e6,), limit=2e6).reached
    assert math.isnan(Figure("rate", (2e6,)).ratio)
    assert not Figure("rate", (2e6,), goal=1).reached


def test_json_gives_back_the_same() -> None:
    figure = Figure("rate", (1.0, 2.0), "limit", (3.0,), 0.5, series="features", at=10)
    assert Figure.of(figure.record()) == figure


def test_spread_is_a_share_of_the_larger() -> None:
    assert [spread(rates) for rates in ((4.0, 3.0), (5.0,), (2.0, 2.0))] == ["25%", "–", "0%"]


def test_works_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(effort, "NOW", Effort(say=said.append))
    done: list[str] = []

    def work(name: str, seconds: float) -> float:
        done.append(name)
        return seconds

    rates = in_turns(100, {"a": lambda: work("a", 2.0), "b": lambda: work("b", 4.0)}, repeats=2)
    assert done == ["a", "b", "a", "b"]
    assert rates == {"a": (50.0, 50.0), "b": (25.0, 25.0)}
    assert said == ["a, 1 of 2", "b, 1 of 2", "a, 2 of 2", "b, 2 of 2"]


def test_a_call_without_seconds_is_timed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "NOW", Effort(quick=True, say=lambda text: None))
    (rate,) = in_turns(1000, {"sum": lambda: None}, repeats=9)["sum"]
    assert rate > 1000
    assert effort.rows(100) == 2


def test_figures_of_one_thing_share_a_row() -> None:
    rates = (2.0e6, 1.0e6)
    beside = [
        Figure("train", rates, "kcat", (3e6,), 0.65, limit=1.5e6),
        Figure("train", rates, "consume", (1e6,)),
        Figure("", (1.0,), series="features", at=2),
        Figure("train", (1.0e6,), "consume", (1e6,)),
    ]
    found = [(row.measured, row.below, row.goal, row.reached) for row in tables.rows(beside)]
    assert found == [
        ("train", False, "≥ 1.5 M/s", True),
        ("kcat", True, "≥ 0.65×", True),
        ("consume", True, "", None),
        ("train", False, "", None),
        ("consume", True, "", None),
    ]
