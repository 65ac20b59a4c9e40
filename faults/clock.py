"""A wall clock that jumps when it is told to, for processes that are started with it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def possible() -> str:
    """Why there can be no such clock here; empty where there can."""
    if sys.platform != "linux":
        return "only Linux loads a clock of ours into a process (LD_PRELOAD)"
    return "" if shutil.which("cc") else "there is no C compiler (cc) to make the clock with"


class Clock:
    """Of all processes that have its environment.

    Args:
        folder: for the library and the file that tells it the time.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        library, self._told = folder / "clock.so", folder / "seconds"
        self.jump(0)
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._told)}

    def jump(self, seconds: int) -> None:
        """From now on the clock is off by that much; processes that run see it at once."""
        with self._told.open("r+b" if self._told.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    @contextmanager
    def worn(self) -> Iterator[None]:
        """What is started in this block has the clock."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
