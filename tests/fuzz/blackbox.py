"""What a fuzzing process was doing when it died: a file that outlives it, written before each execution."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

HEAD = struct.Struct("<QQQ")  # executions begun, inputs kept as new, bytes of the input
LARGEST = 1 << 16


class BlackBox:
    """Shared memory in a file; the child writes, its parent reads."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(HEAD.size + LARGEST))
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), HEAD.size + LARGEST)
        self.executions = 0
        self.kept = 0

    def begin(self, data: bytes, *, counts: bool = True) -> None:
        """Note the input that is about to be executed; one that only warms up has as long as loading takes."""
        data = data[:LARGEST]
        self.executions += counts
        self.memory[HEAD.size : HEAD.size + len(data)] = data
        HEAD.pack_into(self.memory, 0, self.executions, self.kept, len(data))

    def read(self) -> tuple[int, int, bytes]:
        """(executions, inputs kept, the last input)."""
        executions, kept, size = HEAD.unpack_from(self.memory)
        return executions, kept, self.memory[HEAD.size : HEAD.size + size]
