"""What the two backends on XLA do alike: programs are compiled for shapes, so batches are put into arrays of few shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainers.aligned import BOUNDARY, memory

ROOMS = (1, 4, 16, 64, 256)  # counts that programs are compiled for; above, multiples of the last
PREDICTED = 8192  # rows that are predicted at a time
# Columns up to which, and rows from which, columns are worked on one by one: products of so few leave XLA's loops slow.
NARROW, TALL = 16, 1024


def room(count: int) -> int:
    """How many a program is compiled for that is to take ``count``."""
    return next((size for size in ROOMS if count <= size), -(-count // ROOMS[-1]) * ROOMS[-1])


class Staging:
    """Memory of a backend in which batches lie as its programs take them, used again by each call."""

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[np.uint8]] = {}

    def staged(
        self, name: str, array: npt.NDArray[Any], shape: tuple[int, ...], kind: np.dtype[Any]
    ) -> npt.NDArray[Any]:
        """The array (count, rows, …) in this shape and precision, aligned: itself where it is so, or else a copy under
        the name. What is beyond the count is left as it is; rows beyond those of a batch are 0.
        """
        if (
            array.shape == shape
            and array.dtype == kind
            and array.flags.carray
            and array.ctypes.data % BOUNDARY == 0  # else XLA would copy it all the same
        ):
            return array
        staged = self._buffer(name, shape, kind)
        count, rows = array.shape[:2]
        with np.errstate(over="ignore", invalid="ignore"):
            staged[:count, :rows] = array
        staged[:count, rows:] = 0
        return staged

    def _buffer(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> npt.NDArray[Any]:
        size = int(np.prod(shape)) * kind.itemsize
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = memory(size)
        return self._buffers[name][:size].view(kind).reshape(shape)
