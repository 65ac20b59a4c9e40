"""Work in a thread of its own, such as a commit, which is almost all waiting for a broker."""

from __future__ import annotations

import _thread
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

from gradstream.errors import UnavailableError

SLICE = 0.5  # seconds of waiting after which a thread that has died is missed


class Beside:
    """Begins at once; whoever has begun it hears from ``check`` how it ended.

    Ends with the process: a broker that hangs must not hold up its end. Not a threading.Thread, since there ``start``
    waits for ever for a thread that has found no memory for its first frame.

    Args:
        name: what it does, for an error.

    Attributes:
        took: seconds, once it has ended.

    Raises:
        UnavailableError: NO_MEMORY, here or in ``check``.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self.took = 0.0
        self._name, self._work = name, work
        self._over = threading.Lock()
        self._over.acquire()
        self._error: Exception | None = self._no_memory()  # until it ends otherwise
        body = partial(self._run)
        self._body = weakref.ref(body)  # which the thread alone holds, as long as it lives
        try:
            _thread.start_new_thread(body, ())
        except RuntimeError as error:
            raise self._no_memory() from error

    def is_alive(self) -> bool:
        """Whether the work is still done."""
        return self._over.locked() and self._body() is not None

    def join(self, timeout: float | None = None) -> None:
        """Returns when it has ended, or after so many seconds."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (left := deadline - time.monotonic()) > 0:
            if self._over.acquire(timeout=min(left, SLICE)):
                self._over.release()

    def check(self) -> None:
        """After it has ended: raises what the work has raised."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self._work()
            self._error = None
        except Exception as error:  # noqa: BLE001  check() raises it in the other thread
            self._error = error
        self.took = time.monotonic() - started
        self._over.release()

    def _no_memory(self) -> UnavailableError:
        return UnavailableError(
            "NO_MEMORY",
            f"there is no memory for a thread ({self._name}); nothing since the last commit counts; free some or "
            "raise the limit, then start again",
        )
