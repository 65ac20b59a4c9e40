"""Ctrl-C and SIGTERM as a question that the loop asks, so that a transaction is never cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Broken(KeyboardInterrupt):
    """The first signal came in work whose result may be dropped."""


class Interrupts:
    """While open, a first signal is noted and a second one raises KeyboardInterrupt wherever the program is.

    Outside the main thread, where no handler can be set, nothing is ever noted.
    """

    def __init__(self) -> None:
        self.noted = False
        self._breakable = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        again, self.noted = self.noted, True
        if self._breakable:
            raise Broken
        if again:
            raise KeyboardInterrupt

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """In here the first signal raises too: for work whose result may be dropped, however long it takes."""
        self._breakable = True
        try:
            yield
        finally:
            self._breakable = False
