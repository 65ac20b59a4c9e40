"""Who has which message of librdkafka: every one that it gives and takes back, written down by address."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradstream.wire import librdkafka
from gradstream.wire.librdkafka_reader import LibrdkafkaReader

_CONSUME = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
)
_DESTROY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Ledger:
    """Stands between a reader and the two functions by which messages come and go.

    Attributes:
        out: addresses of the messages that the reader has now.
        got: how many it has been given.
        wrong: what must not happen: a message given back that was not out.
    """

    def __init__(self, reader: Any) -> None:
        assert isinstance(reader, LibrdkafkaReader)
        self.reader = reader
        self.out: set[int] = set()
        self.got = 0
        self.wrong: list[str] = []
        self._lib = librdkafka.load()
        self._functions = _CONSUME(self._consume), _DESTROY(self._destroy)
        held = reader._held
        assert held.got == held.given_back, "begin before the first fetch"
        self._before = held.got
        held._consume, held._destroy = (librdkafka.address(each) for each in self._functions)

    def _consume(self, queue: int, timeout: int, into: int, most: int) -> int:
        got = int(self._lib.consume_batch_queue(queue, timeout, into, most))
        for address in (ctypes.c_int64 * max(0, got)).from_address(into):
            self.got += 1
            if address in self.out:
                self.wrong.append(f"{address:#x} was given twice")
            self.out.add(address)
        return got

    def _destroy(self, address: int) -> None:
        if address not in self.out:
            self.wrong.append(f"{address:#x} was given back, but is not out")
            return
        self.out.remove(address)
        self._lib.message_destroy(address)

    def check(self) -> None:
        """What the reader counts is what was seen here, and it knows every message that it has."""
        held = self.reader._held
        assert self.wrong == []
        assert held.got - self._before == self.got
        assert held.got - held.given_back == len(self.out)
        assert {*held.lent(), *held.all(), *held.errors()} == self.out


@contextmanager
def ledger_of(reader: Any) -> Iterator[Ledger]:
    """A ledger for a reader that is closed in the end, when nothing may be out."""
    ledger = Ledger(reader)
    try:
        yield ledger
    finally:
        reader.close()
        ledger.check()
        assert not ledger.out
