"""Inputs made from inputs: what the plain driver does where atheris is not installed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

LONGEST = 4096
INTERESTING = [
    b"\0", b"\x01", b"\x02", b"\x04", b"\x7f", b"\x80", b"\xff", b"\x80\x00", b"\xff" * 11, b"\xfe\xff\xff\xff\x0f",
    b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", struct.pack("<d", float("nan")), struct.pack("<d", 1e300), b"\xed\xa0\x80",
    b'"', b'""', b",", b"\r\n", b"1e999", b"nan", b"0x1p3", b"[", b"]", b"{", b"}", b"null", b"\\ud800", b"-", b".", b"E+",
]  # fmt: skip


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """The input after one to five changes, at most LONGEST bytes."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        data = chance.choice(CHANGES)(data, others, chance)
    return data[:LONGEST]


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _put(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.randbytes(1) + data[at + 1 :]


def _insert(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice(INTERESTING) + data[at:]


def _overwrite(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at, new = _place(data, chance), chance.choice(INTERESTING)
    return data[:at] + new + data[at + len(new) :]


def _lose(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.randint(1, 8) :]


def _cut(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _repeat(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    at = _place(data, chance)
    piece = data[at : at + chance.randint(1, 16)]
    return data[:at] + piece * chance.choice((1, 2, 8, 64)) + data[at:]


def _splice(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: _place(data, chance)] + other[_place(other, chance) :]


Change = Callable[[bytes, list[bytes], random.Random], bytes]
CHANGES: list[Change] = [_flip, _flip, _put, _insert, _overwrite, _lose, _cut, _repeat, _splice]
