"""The rows that epochs go over, on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainers.spill import Spill

ROOT = Path(__file__).parents[2]
FILL = """
import numpy as np
from gradstream.errors import UnavailableError
from trainers.spill import Spill
spill = Spill(1_000_000, 10)
try:
    for _ in range(100):
        spill.append(np.ones((8192, 10)), np.ones(8192))
except UnavailableError as error:
    print(error)
"""


def test_rows_come_back_as_they_were_and_can_be_changed_in_place() -> None:
    spill = Spill(100, 2)
    spill.append(np.ones((3, 2)), np.arange(3.0))
    spill.append(np.full((2, 2), 5.0), np.arange(2.0))
    assert len(spill) == 5

    def halve(X: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.multiply(X, 0.5, out=out)

    spill.change(halve)
    assert spill.X.tolist() == [[0.5, 0.5]] * 3 + [[2.5, 2.5]] * 2
    assert spill.y.tolist() == [0, 1, 2, 0, 1]
    spill.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_an_error_in_one_line(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=2m none {tmp_path} && TMPDIR={tmp_path} exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, sys.executable, FILL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.stdout.startswith(f"NO_SPACE: the log does not fit into {tmp_path}"), done
    assert "TMPDIR" in done.stdout
