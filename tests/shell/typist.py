"""Somebody at a terminal: keys go in, and what has been written to the screen is waited for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

_CONTROL = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78])|\r|\x08")
_WHERE = b"\x1b[6n"  # the question where the cursor is
# Ctrl-C goes to those whose terminal it is.
_ON_ITS_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
PATIENCE = 40.0  # seconds


class Typist:
    """A command on a terminal of its own.

    Args:
        size: rows and columns.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], size: tuple[int, int]
    ) -> None:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        # A size in the environment would count for more than that of the terminal.
        inherited = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_ITS_TERMINAL, *words],
            env={**inherited, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._raw = b""
        self.seen = ""  # all that came since the newest keys, without what moves and colours

    def type(self, keys: str) -> None:
        """Presses keys; what was seen before does not count any more."""
        self._raw, self.seen = b"", ""
        os.write(self._terminal, keys.encode())

    def wait(self, pattern: str) -> str:
        """Returns what has been seen as soon as the pattern is in it; it fails where that never is."""
        __tracebackhide__ = True
        assert self.sees(pattern, PATIENCE), f"{pattern!r} is not in:\n{self.seen}"
        return self.seen

    def sees(self, pattern: str, seconds: float) -> bool:
        """Whether the pattern is seen within so many seconds."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                return False
        return True

    def _read(self, seconds: float) -> bool:
        """Reads what is there, waiting for it; False when nothing comes any more."""
        ready, _, _ = select.select([self._terminal], [], [], seconds)
        try:
            found = os.read(self._terminal, 65536) if ready else b""
        except OSError:  # the other end is closed
            return False
        for _ in range(found.count(_WHERE)):
            os.write(self._terminal, b"\x1b[1;1R")
        self._raw += found
        self.seen = _CONTROL.sub(b"", self._raw).decode(errors="replace")
        return bool(found)

    def end(self) -> int:
        """Waits for the end of the command; its exit code."""
        self.sees(r"(?!)", PATIENCE)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._terminal)


@contextlib.contextmanager
def typist(
    words: Sequence[str], environment: Mapping[str, str], size: tuple[int, int] = (40, 100)
) -> Iterator[Typist]:
    """A command on a terminal, killed at the end if it is still there."""
    made = Typist(words, environment, size)
    try:
        yield made
    finally:
        made.close()
