"""Arrays that begin where a cache line begins.

XLA takes over NumPy's memory without a copy only on a 64-byte boundary, and NumPy starts its own large arrays beside one.
Rows that a compiled backend is to read are therefore made here.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

BOUNDARY = 64


def empty(*shape: int) -> Floats:
    """Uninitialised float64 of that shape in C order, its first number on a 64-byte boundary."""
    made: Floats = memory(math.prod(shape) * 8).view(np.float64).reshape(shape)
    return made


def memory(size: int) -> npt.NDArray[np.uint8]:
    """So many bytes, uninitialised, the first on a 64-byte boundary."""
    raw = np.empty(size + BOUNDARY, np.uint8)
    return raw[-raw.ctypes.data % BOUNDARY :][:size]


def ones(*shape: int) -> Floats:
    made = empty(*shape)
    made.fill(1)
    return made
