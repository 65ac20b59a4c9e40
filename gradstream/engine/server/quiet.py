"""Memory that work has taken, given back when there is no more of it.

What is freed stays with the process, since the allocators keep it for the next burst; and of the libraries, LLVM's 150 MiB
above all, most is read once, to load what runs from then on. An engine at rest needs neither.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

PAUSE = 5.0  # seconds between two looks
BUSY = 0.5  # of a core's time: with more than that it is not at rest
WORTH = 1.0  # seconds of a core's time, since the last time, that make it worth while

Mapping: TypeAlias = tuple[int, int, str]
"""Where a part of a library lies: its first address, the one after its last, the file."""

_SMAPS = Path("/proc/self/smaps")
_LIBRARY = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) r-.p [0-9a-f]+ \S+ [1-9]\d* +(/.*\.so.*)$", re.MULTILINE
)
_ALTERED = re.compile(r"^(?:Anonymous|Swap): +[1-9]", re.MULTILINE)


def watch() -> None:
    """Begins to look, in a thread that ends with the process, whether it is at rest after work."""
    if sys.platform == "linux":
        threading.Thread(target=_watch, name="quiet", daemon=True).start()


def _watch() -> None:
    before, given = time.process_time(), 0.0
    seen: set[Mapping] = set()
    while True:
        time.sleep(PAUSE)
        now = time.process_time()
        if now - before > BUSY * PAUSE:
            seen.clear()
        elif now - given > WORTH:
            found = set(unaltered())
            if seen:
                give_back(seen & found)  # what is just being loaded may yet be altered
                given = now
            seen = set() if seen else found
        before = now


def give_back(libraries: Iterable[Mapping]) -> None:
    """Gives unused memory back to the system, and parts of libraries, which come back by themselves where they are used."""
    libc = ctypes.CDLL(None)
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(0)
    for begin, end, _ in libraries:
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def unaltered() -> Iterator[Mapping]:
    """Code and constants that are in memory as they are in their files.

    What the linker has altered, such as tables of addresses, is not in the file, and would be lost.
    """
    text = _SMAPS.read_text()
    for part in _LIBRARY.finditer(text):
        if not _ALTERED.search(text, part.end(), text.find("VmFlags", part.end())):
            yield int(part[1], 16), int(part[2], 16), part[3]
