"""The table of weights fits the terminal, and says why a run ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.trainers.test_chain import RECORD
from trainers.weights import short_count, table

LONG = replace(
    RECORD,
    run="a-run-with-a-name-that-is-longer-than-any-column",
    step=1_234_567,
    epoch=10_000,
    epochs=10_000,
    loss=0.0123456789,
    tensors={"w": np.linspace(-1234.5678, 1234.5678, 31)},
    commits={("t", p): 10**9 + p for p in range(8)},
    elapsed_us=1_000_000,
    records_since=3_456_789,
    timings_us={"fetch": 400_000, "decode": 300_000, "compute": 200_000, "publish": 10_000},
    reason="tolerance: the loss did not fall by more than 1e-06 at 3 checks in a row, and more words",
)


@pytest.mark.parametrize("width", [80, 120])
def test_fits_the_width(width: int) -> None:
    lines = table([RECORD, LONG], width).plain.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    headings = "run step epoch loss rec/s stages offsets weights".split()
    if width == 80:
        headings.remove("offsets")
    assert lines[0].split() == headings
    assert "1,234,567" in lines[2]
    assert "3.46M" in lines[2]
    assert "fetch 40%" in lines[2]
    assert lines[3].startswith("  └ tolerance: the loss did not fall by more than 1e-06")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_number_is_cut_in_two(width: int) -> None:
    line = table([LONG], width).plain.splitlines()[1]
    shown = line[line.index("[") + 1 : line.index("]")].split()
    assert shown.pop() == "…"
    assert shown == [f"{x:.4g}" for x in LONG.tensors["w"][: len(shown)]]


def test_wide_terminals_get_more() -> None:
    wide = table([LONG], 120).plain
    assert "fetch 40% decode 30%" in wide
    assert "fetch 40% decode 30%" not in table([LONG], 80).plain


@pytest.mark.parametrize(
    ("number", "text"), [(12.3, "12"), (1234.0, "1.23k"), (3.2e6, "3.2M"), (0.0, "0")]
)
def test_short_count(number: float, text: str) -> None:
    assert short_count(number) == text
