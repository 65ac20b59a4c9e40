"""Work in a thread of its own, such as a commit, which is almost all waiting for a broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Beside(threading.Thread):
    """Begins at once; whoever has begun it hears from ``check`` how it ended.

    Attributes:
        took: seconds, once it has ended.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        # A daemon: a broker that hangs must not hold up the end of the process.
        super().__init__(name=name, daemon=True)
        self.took = 0.0
        self._work = work
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        started = time.monotonic()
        try:
            self._work()
        except Exception as error:  # noqa: BLE001  check() raises it in the other thread
            self._error = error
        self.took = time.monotonic() - started

    def check(self) -> None:
        """After it has ended: raises what the work has raised."""
        if self._error is not None:
            raise self._error
