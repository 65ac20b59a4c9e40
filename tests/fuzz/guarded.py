"""Memory that ends at a page which may be neither read nor written: one byte too far ends the process.

Two doors: Arrow arrays whose every value touches such a page, for what the codecs read, and a NumPy for their modules
whose new arrays end at one, for what they write.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.fuzz.modules import all_modules, compiled_modules

AVAILABLE = os.name == "posix"
PAGE = mmap.PAGESIZE
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


if AVAILABLE:
    _protect = ctypes.CDLL(None, use_errno=True).mprotect
    _protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def fenced(sizes: Sequence[int]) -> list[Bytes]:
    """Whole pages for each size, with a forbidden page before, between and after."""
    pages = [max(1, -(-size // PAGE)) for size in sizes]
    memory = mmap.mmap(
        -1, PAGE * (sum(pages) + len(pages) + 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )
    whole = np.frombuffer(memory, np.uint8)
    _forbid(whole, 0)
    found, at = [], PAGE
    for count in pages:
        found.append(whole[at : at + count * PAGE])
        at += count * PAGE
        _forbid(whole, at)
        at += PAGE
    return found


def _forbid(memory: Bytes, at: int) -> None:
    if _protect(memory.ctypes.data + at, PAGE, 0):
        raise OSError(ctypes.get_errno(), "a page cannot be forbidden")


class Rooms:
    """Arrow arrays of values in fenced memory, which is used again by the next array.

    Args:
        count: how many values at most.
        size: bytes of each at most.
    """

    def __init__(self, count: int, size: int) -> None:
        self.rooms = fenced([size] * count)
        self.room = len(self.rooms[0])
        self.base = self.rooms[0].ctypes.data
        self.step = self.room + PAGE
        span = self.step * (count - 1) + self.room
        self.buffer = pa.foreign_buffer(self.base, span, base=self.rooms)

    def places(self, given: Sequence[bytes], *, first: bool = False) -> tuple[Places, Places]:
        """The addresses of each value's first byte and of the one after its last, as ``matrix_at`` takes them."""
        begins, ends = np.zeros(len(given), np.int64), np.zeros(len(given), np.int64)
        for i, value in enumerate(given):
            start = 0 if first else self.room - len(value)
            self.rooms[i][start : start + len(value)] = np.frombuffer(value, np.uint8)
            begins[i] = self.base + i * self.step + start
            ends[i] = begins[i] + len(value)
        return begins, ends

    def values(self, given: Sequence[bytes], *, first: bool = False) -> pa.BinaryArray:
        """Each value at the end of its room, or at the start; between two of them a null row over the fence.

        The value i is row 2 * i; a null row is none of it, and none of its bytes can be read.
        """
        addresses = np.stack(self.places(given, first=first), axis=1).ravel()
        offsets = (addresses - self.base).astype(np.int32)
        valid = np.packbits(np.arange(len(offsets)) % 2 == 0, bitorder="little")
        buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), self.buffer]
        return pa.Array.from_buffers(pa.binary(), max(0, len(offsets) - 1), buffers)

    def together(self, given: Sequence[bytes | None]) -> pa.BinaryArray:
        """The values one after the other, the last of them at the end of a room."""
        data = b"".join(value or b"" for value in given)
        start = self.room - len(data)
        self.rooms[0][start:] = np.frombuffer(data, np.uint8)
        offsets = start + np.cumsum([0, *(len(value or b"") for value in given)])
        valid = np.packbits([value is not None for value in given], bitorder="little")
        buffers = [pa.py_buffer(valid), pa.py_buffer(offsets.astype(np.int32)), self.buffer]
        return pa.Array.from_buffers(pa.binary(), len(given), buffers)


class Numpy:
    """NumPy for one module: arrays made empty or of zeros end at a forbidden page."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: Any, dtype: Any = float) -> npt.NDArray[Any]:
        kind = np.dtype(dtype)
        size = math.prod(np.atleast_1d(shape).tolist()) * kind.itemsize
        (pages,) = fenced([size])
        found: npt.NDArray[Any] = pages[len(pages) - size :].view(kind).reshape(shape)
        return found

    zeros = empty  # fresh pages are zeros


def fence_new_arrays() -> None:
    """Have the codecs' modules, but for those that are compiled, make their arrays in fenced memory."""
    for name in set(all_modules()) - set(compiled_modules()):
        if name.rpartition(".")[2].startswith(("avro_", "codec_", "delimited_")):
            module = importlib.import_module(name)
            if getattr(module, "np", None) is np:
                module.np = Numpy()  # type: ignore[attr-defined]
