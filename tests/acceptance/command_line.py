"""``gradstream`` as a user runs it: a process of its own, its exit code and what it says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradstream.config import Services
from tests.crowd import in_time

GRADSTREAM = str(Path(sys.executable).with_name("gradstream"))
SHAPE = re.compile(r"^([A-Z][A-Z0-9_]+): (.+)$")
USAGE, DATA, UNAVAILABLE, RETRY, CONFIG = 2, 65, 69, 75, 78


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"{' '.join(self.words)!r} ended with {self.code} after {self.seconds:.1f} s:\n{self.out}{self.err}"


class User:
    """Somebody at a terminal, with the services in the environment and a home folder of their own."""

    def __init__(self, services: Services, home: Path) -> None:
        self.services = services
        self.environment = os.environ | {
            "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers,
            "GRADSTREAM_SCHEMA_REGISTRY_URL": services.schema_registry_url,
            "GRADSTREAM_KSQL_URL": services.ksql_url,
            "GRADSTREAM_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *words: str, seconds: float = 60, **more: str) -> Ended:
        """The command to its end; ``more`` goes into its environment."""
        began = time.monotonic()
        done = subprocess.run(
            [GRADSTREAM, *words],
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        return Ended(words, done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    @contextmanager
    def running(self, *words: str, **more: str) -> Iterator[Running]:
        """The command while it runs; killed at the end if it is still there."""
        process = subprocess.Popen(
            [GRADSTREAM, *words],
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield Running(words, process)
        finally:
            if process.poll() is None:
                process.kill()
            with contextlib.suppress(ValueError):
                process.communicate(timeout=10)


class Running:
    """A command that has not ended."""

    def __init__(self, words: tuple[str, ...], process: subprocess.Popen[str]) -> None:
        self.words = words
        self.process = process

    def end(self, seconds: float = 30) -> Ended:
        """Wait for it."""
        began = time.monotonic()
        out, err = self.process.communicate(timeout=seconds)
        return Ended(self.words, self.process.returncode, out, err, time.monotonic() - began)

    def interrupt(self, number: int = signal.SIGINT) -> Ended:
        """Ctrl-C; the seconds count from here."""
        assert self.process.poll() is None, self.end()
        self.process.send_signal(number)
        return self.end()


def check(ended: Ended, exit_code: int, code: str, *said: str, within: float = 60) -> None:
    """The command ended as an error should: this exit code, one line ``CODE: …``, and in it all that is ``said``."""
    __tracebackhide__ = True
    assert ended.code == exit_code, ended
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended
    check_line(ended, lines[0], code, said)
    assert in_time(ended.seconds, within), ended


def check_line(ended: Ended, line: str, code: str, said: tuple[str, ...]) -> None:
    """One line in the shape of all errors."""
    __tracebackhide__ = True
    found = SHAPE.match(line)
    assert found, ended
    assert found[1] == code, ended
    for part in said:
        assert part in line, f"{part!r} is missing in: {line}"
    assert "Traceback" not in ended.err, ended
