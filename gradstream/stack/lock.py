"""One at a time: a lock file that the system frees when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradstream.console import notes
from gradstream.errors import RetryError


@contextmanager
def locked(file: Path, timeout: float, holder: str) -> Iterator[None]:
    """Hold ``file`` exclusively; wait up to ``timeout`` seconds, saying once who is waited for.

    Raises:
        RetryError: ``BUSY``, still held after the timeout.
    """
    deadline = time.monotonic() + timeout
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600)) as opened:
        told = False
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RetryError(
                        "BUSY", f"{holder} and holds {file}; try again when it has finished"
                    ) from None
                if not told:
                    notes.print(f"Waiting: {holder} ...")
                    told = True
                time.sleep(0.05)
        yield  # closing the file frees the lock
