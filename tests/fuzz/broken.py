"""Targets with a bug each, to see that it is found."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from tests.fuzz.guarded import Numpy, Rooms


class _Broken:
    seeds = (b"good",)

    def __call__(self, data: bytes) -> Iterable[int]:
        if data != self.seeds[0]:
            self.fail(data)
        return [len(data)]

    def fail(self, data: bytes) -> None:
        raise NotImplementedError


class ReadsOn(_Broken):
    """One byte is read after the value's last."""

    def fail(self, data: bytes) -> None:
        _, ends = Rooms(3, 64).places([data[:64]] * 3)
        ctypes.string_at(int(ends[1]), 1)


class ReadsBefore(_Broken):
    """One byte is read before the value's first."""

    def fail(self, data: bytes) -> None:
        begins, _ = Rooms(3, 64).places([data[:64]] * 3, first=True)
        ctypes.string_at(int(begins[1]) - 1, 1)


class WritesOn(_Broken):
    """One byte is written after the last of a new array."""

    def fail(self, data: bytes) -> None:
        made = Numpy.empty((3, 5), "f4")
        ctypes.memset(made.ctypes.data + made.nbytes, 1, 1)


class Endless(_Broken):
    """An input that is never done with."""

    def fail(self, data: bytes) -> None:
        while True:
            pass


class Wrong(_Broken):
    """An assertion that does not hold."""

    def fail(self, data: bytes) -> None:
        assert data == b"good", "wrong answer"
