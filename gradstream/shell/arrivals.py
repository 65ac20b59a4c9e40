"""What a blocking iterator gives, read by a thread, so that one need not wait for it for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 16  # items read ahead; the source waits when nobody takes them


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


class Arrivals(Generic[T]):
    """Items of ``source`` as they come.

    Args:
        source: read in a thread of its own.
        stop: makes a read that blocks return or fail; called by close().
    """

    def __init__(self, source: Iterator[T], stop: Callable[[], None]) -> None:
        self._source = source
        self._stop = stop
        self._found: queue.Queue[T | _End] = queue.Queue(DEPTH)
        self._thread = threading.Thread(target=self._read, name="arrivals", daemon=True)
        self._thread.start()

    def each(self, pause: float) -> Iterator[T | None]:
        """Every item, and None whenever none came for so many seconds; raises what the source raises."""
        while True:
            try:
                found = self._found.get(timeout=pause)
            except queue.Empty:
                yield None
                continue
            if isinstance(found, _End):
                if found.error:
                    raise found.error
                return
            yield found

    def close(self) -> None:
        """Ends the thread, whatever it waits for."""
        if (
            self._thread.is_alive()
        ):  # else the source is through, and what it read from may go on in use
            self._stop()
        while self._thread.is_alive():
            with suppress(queue.Empty):  # it may wait for room
                self._found.get(timeout=0.02)

    def _read(self) -> None:
        end = _End()
        try:
            for item in self._source:
                self._found.put(item)
        except BaseException as error:  # noqa: BLE001  raised again where the items are taken
            end = _End(error)
        self._found.put(end)
