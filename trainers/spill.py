"""A bounded log on local disk as columns, read once and trained on for many epochs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from gradstream.errors import UnavailableError
from trainers.models import Floats, Ints

ROWS_A_CALL = 65_536


class Spill:
    """Rows in the order of the log, in an unnamed file that goes when its process goes.

    The operating system keeps in memory as much of it as it can, so a log may exceed memory.

    Args:
        capacity: most rows that can come; the file is sparse, so a generous number costs nothing.
        inputs: columns of the design matrix.
    """

    def __init__(self, capacity: int, inputs: int) -> None:
        self._files: list[IO[bytes]] = []
        self._X = self._mapped((max(capacity, 1), inputs))
        self._y = self._mapped((max(capacity, 1),))
        self._rows = 0

    def _mapped(self, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float64]]:
        try:
            file = tempfile.TemporaryFile(prefix="gradstream-")  # noqa: SIM115  lives as long as the map
            self._files.append(file)
            return np.memmap(file, np.float64, "w+", shape=shape)
        except OSError as error:
            raise _no_space(error) from error

    def _reserve(self, end: int) -> None:
        """Takes the disk's room for rows before they are written: where a map finds none, the process dies unheard."""
        if not hasattr(os, "posix_fallocate"):
            return
        for file, array in zip(self._files, (self._X, self._y), strict=True):
            row = array.itemsize * (array.shape[1] if array.ndim == 2 else 1)
            try:
                os.posix_fallocate(file.fileno(), self._rows * row, (end - self._rows) * row)
            except OSError as error:
                raise _no_space(error) from error

    def __len__(self) -> int:
        return self._rows

    def append(self, X: Floats, y: Floats) -> None:
        if not len(y):
            return
        rows = slice(self._rows, self._rows + len(y))
        self._reserve(rows.stop)
        self._X[rows], self._y[rows] = X, y
        self._rows = rows.stop

    @property
    def X(self) -> Floats:  # noqa: N802
        """Design matrix, shape (n, inputs)."""
        return np.asarray(self._X[: self._rows])

    @property
    def y(self) -> Floats:
        """Target, shape (n,)."""
        return np.asarray(self._y[: self._rows])

    def change(self, change: Callable[[Floats, Floats], Floats]) -> None:
        """Lets ``change(X, out)`` write over the design matrix, some rows at a time."""
        for first in range(0, self._rows, ROWS_A_CALL):
            X = self.X[first : first + ROWS_A_CALL]
            change(X, X)

    def close(self) -> None:
        for file in self._files:
            file.close()


def _no_space(error: OSError) -> UnavailableError:
    return UnavailableError(
        "NO_SPACE",
        f"the log does not fit into {tempfile.gettempdir()} ({error.strerror}), where epochs keep their rows; "
        "name a folder with more room by the environment variable TMPDIR",
    )


def epoch_order(rows: int, seed: int, epoch: int) -> Ints:
    """The order of rows in one epoch: a function of seed and epoch, so that a resumed epoch goes on in the same."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(rows).astype(np.int64, copy=False)
