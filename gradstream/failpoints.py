"""Accidents that can be written down: a process dies, stops or sleeps at the N-th time that it reaches a phase.

    GRADSTREAM_FAILPOINT=after_send_offsets:3 gradstream train …          killed before its third commit
    GRADSTREAM_FAILPOINT=after_fetch:10=stop,after_begin=sleep 5 gradstream train …

For tests and for ``gradstream chaos``. Where the variable is not set, a phase costs the look at one name:

    if failpoints.ARMED:
        failpoints.reach("after_fetch")
"""

from __future__ import annotations

import _thread
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from gradstream.errors import ConfigError

VARIABLE = "GRADSTREAM_FAILPOINT"
REACHED = "FAILPOINT"  # begins the line that a process writes to stderr where it reaches one
# In the order in which a trainer, or a query of the engine, comes to them.
PHASES = (
    "after_fetch",  # records are in memory
    "after_decode",  # trainers: they are columns
    "after_run",  # queries: their output is computed
    "after_step",  # trainers: weights have changed
    "after_begin",  # a transaction is open, and nothing is in it
    "after_produce",  # its records have been handed to the client
    "after_send_offsets",  # the coordinator knows its offsets
    "after_flush",  # the broker has its records
    "during_commit",  # the commit has been asked for and not been answered
    "after_commit",  # it has been answered, and we have not looked at the answer
)
LATEST = 0.002  # seconds: a commit on the machine itself is answered after some milliseconds
COMMAND = "command_"  # before a phase: of a statement that the engine logs, instead of a query
_WRITTEN = re.compile(r"(\w+)(?::([1-9]\d*))?(?:=(kill|stop|sleep (\d+(?:\.\d+)?)))?")


@dataclass(slots=True)
class _Point:
    countdown: int
    action: str
    seconds: float


def read(text: str) -> dict[str, _Point]:
    """What the variable's text asks for.

    Raises:
        ConfigError: BAD_FAILPOINT.
    """
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        written = _WRITTEN.fullmatch(part)
        if written is None or written[1].removeprefix(COMMAND) not in PHASES:
            raise ConfigError(
                "BAD_FAILPOINT",
                f"{VARIABLE}={text}: {part!r} is not PHASE[:N][=kill|stop|sleep SECONDS] with a phase of "
                + ", ".join(PHASES)
                + f", or one of these with {COMMAND} before it",
            )
        phase, count, action, seconds = written.groups()
        found[phase] = _Point(int(count or 1), (action or "kill").split()[0], float(seconds or 0))
    return found


def arm(environment: Mapping[str, str]) -> None:
    """Sets the failpoints of this process; done once, when this module is imported."""
    global ARMED, _points
    _points = read(environment.get(VARIABLE, ""))
    ARMED = bool(_points)


def reach(phase: str) -> None:
    """Says that a phase has been reached; it may be the last thing that this process does."""
    with _lock:
        point = _points.get(_named(phase))
        if point is None:
            return
        point.countdown -= 1
        if point.countdown:
            return
    # Whoever waits for it must be able to see it; past Python's buffers, since this may be all.
    os.write(2, f"{REACHED}: {_named(phase)}, {point.action}\n".encode())
    if point.action == "sleep":
        time.sleep(point.seconds)
    else:
        os.kill(os.getpid(), signal.SIGSTOP if point.action == "stop" else signal.SIGKILL)


@contextmanager
def of_commands() -> Iterator[None]:
    """In this block, and this thread, phases are those of the engine's command log, which are counted apart."""
    _scope.prefix = COMMAND
    try:
        yield
    finally:
        _scope.prefix = ""


def _named(phase: str) -> str:
    return f"{getattr(_scope, 'prefix', '')}{phase}"


@contextmanager
def during(phase: str) -> Iterator[None]:
    """As ``reach``, but from beside: up to LATEST seconds after the block was entered, and only while it lasts.

    Where the block ends sooner, the phase was not reached this time.
    """
    over, phase = threading.Event(), _named(phase)

    def strike() -> None:
        if not over.wait(random.uniform(0, LATEST)):  # noqa: S311  no secret
            reach(phase)

    # Not threading.Thread, whose start() waits for ever for a thread that finds no memory for its first frame.
    _thread.start_new_thread(strike, ())
    try:
        yield
    finally:
        over.set()


ARMED = False
_points: dict[str, _Point] = {}
_scope = threading.local()
_lock = threading.Lock()  # transactions end in threads of their own
arm(os.environ)
