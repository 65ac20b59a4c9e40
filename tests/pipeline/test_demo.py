"""What the demo shows: tables that fit a terminal, a picture that is written somewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from demo.__main__ import picture, stages_table, weights_table
from demo.story import Fraud, Regression, Story

TWO = np.array([2.95985985, 2.03296496])
STORY = Story(
    Regression(np.arange(2.0), np.ones(2), np.arange(3.0), np.arange(3.0), TWO, TWO, TWO),
    Fraud(np.array([0.5, 0.7, 9.0]), np.array([False, False, True]), 0.9, 0.5, TWO, TWO),
    [["ID", "Y"], ["1", "2"]],
    [["Y"], ["2"]],
    {"produce regression": 0.36, "train regression": 108.87},
    {"produce regression": 29_465.0, "train regression": 111_274_122.0},
)


def shown(width: int) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(stages_table(STORY, {}))
        console.print(weights_table(STORY))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_is_cut(width: int) -> None:
    text = shown(width)
    assert "111,274,122" in text
    assert "108.87" in text
    assert "2.95985985 ✓" in text
    assert "…" not in text


def test_a_picture_goes_home_where_its_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSTREAM_HOME", str(tmp_path / "home"))
    (tmp_path / "out").write_text("a file where the folder would be")
    where = picture(STORY, tmp_path / "out" / "demo.png")
    assert where == tmp_path / "home" / "demo.png"
    assert where.read_bytes().startswith(b"\x89PNG")
