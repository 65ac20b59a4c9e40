"""Early stopping decides at fixed step counts and survives a restart; the spill keeps what it is given."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.models import Floats
from trainers.spill import Spill, epoch_order
from trainers.stopping import Stopping

W = {"w": np.zeros(1)}


def checks(stopping: Stopping, losses: list[float]) -> int | None:
    """Feeds windows of two equal losses; the number of the one that stops."""
    for number, loss in enumerate(losses):
        assert stopping.room() == 2
        assert not stopping.watch(np.array([loss]), W)
        if stopping.watch(np.array([loss]), W):
            return number
    return None


def test_stops_when_the_loss_falls_no_further() -> None:
    falling = [5.0, 4.0, 3.0, 2.95, 2.94]
    assert checks(Stopping(0.1, window=2), falling) == 3
    assert checks(Stopping(0.1, patience=2, window=2), falling) == 4
    assert checks(Stopping(0.0, window=2), falling) is None
    assert checks(Stopping(0.1, patience=2, window=2), [5, 5, 4, 4, 3, 3]) is None
    assert Stopping(None).room() is None


def test_stops_when_no_weight_moves() -> None:
    stopping = Stopping(0.5, on="weights", window=1)
    moves: list[Floats] = [np.array([0.0, 0]), np.array([1.0, 0]), np.array([1.2, 0.4])]
    assert [stopping.watch(np.ones(1), {"w": w}) for w in moves] == [False, False, True]
    assert stopping.reason() == "tolerance: no weight changed by more than 0.5 at 1 checks in a row"


@pytest.mark.parametrize("on", ["loss", "weights"])
@pytest.mark.parametrize("cut", range(12))
def test_a_restart_anywhere_changes_nothing(on: str, cut: int) -> None:
    losses = np.array([9, 8, 7, 6, 6, 6, 5.9, 5.9, 5.9, 5.9, 5.9, 5.9])

    def steps_until_stop(restart: int | None) -> int:
        stopping = Stopping(0.2, 2, on, window=3)  # type: ignore[arg-type]
        for step, loss in enumerate(losses):
            if step == restart:
                saved = stopping.export()
                assert all(np.isfinite(t).all() for t in saved.values())
                stopping = Stopping(0.2, 2, on, window=3)  # type: ignore[arg-type]
                stopping.load(saved)
            if stopping.watch(np.array([loss]), {"w": np.array([loss])}):
                return step
        return -1

    assert steps_until_stop(cut) == steps_until_stop(None) > 0


def test_spill_and_epoch_order() -> None:
    spill = Spill(10, 2)
    X = np.arange(12.0).reshape(6, 2)
    spill.append(X[:4], X[:4, 0])
    spill.append(X[4:], X[4:, 0])
    assert np.array_equal(spill.X, X)
    assert np.array_equal(spill.y, X[:, 0])
    assert len(spill) == 6
    spill.close()
    first = epoch_order(1000, 5, 0)
    assert np.array_equal(np.sort(first), np.arange(1000))
    assert np.array_equal(first, epoch_order(1000, 5, 0))
    assert not np.array_equal(first, epoch_order(1000, 5, 1))
    assert not np.array_equal(first, epoch_order(1000, 6, 0))


def test_how_losses_are_grouped_changes_no_bit() -> None:
    losses = np.random.default_rng(0).random(99)
    whole, parts = Stopping(0.0), Stopping(0.0)
    whole.watch(losses, {})
    for first, last in [(0, 37), (37, 41), (41, 99)]:
        parts.watch(losses[first:last], {})
    assert whole.export()["stopping/state"].tobytes() == parts.export()["stopping/state"].tobytes()
