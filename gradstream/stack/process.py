"""Child processes that outlive us: start, recognise, stop.

Each child carries the mark ``GRADSTREAM_STACK=<home>`` in its environment. A process is ours when it has the recorded
pid and that mark; where the system hides environments, when it has the recorded start time. So a pid that the system
has given to another program meanwhile is never taken for ours, and a child whose record was lost is still found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "GRADSTREAM_STACK"


@dataclass(frozen=True, slots=True)
class Child:
    """A started service as it is written down.

    Attributes:
        pid: process id.
        created: its start, in seconds since the epoch, as psutil gives it.
    """

    pid: int
    created: float


def spawn(
    command: Sequence[str], home: Path, log: Path, extra: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that neither Ctrl-C nor a closing terminal reaches it.

    Its output is appended to ``log``, never piped: a pipe that nobody drains blocks a talkative program.
    """
    environment = {**os.environ, **(extra or {}), MARK: str(home)}
    # A user's JAVA_TOOL_OPTIONS and their like would change programs that we start with flags of our own.
    for name in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"):
        environment.pop(name, None)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environment,
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)


def record(started: subprocess.Popen[bytes]) -> Child:
    try:
        return Child(started.pid, psutil.Process(started.pid).create_time())
    except psutil.NoSuchProcess:
        return Child(started.pid, 0.0)


def release(started: subprocess.Popen[bytes]) -> None:
    """Let a child outlive its handle without subprocess's warning that it still runs."""
    started.returncode = 0


def find(child: Child, home: Path) -> psutil.Process | None:
    """The recorded process if it runs and is ours."""
    try:
        process = psutil.Process(child.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        try:
            ours = process.environ().get(MARK) == str(home)
        except psutil.AccessDenied:
            ours = abs(process.create_time() - child.created) < 1.0
    except psutil.Error:
        return None
    return process if ours else None


def marked(home: Path) -> list[psutil.Process]:
    """All processes of this user that carry the home's mark, recorded or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(
                home
            ):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def stop(processes: Iterable[psutil.Process], grace: float) -> bool:
    """Ask all to end (SIGTERM), wait up to ``grace`` seconds for the last, end the rest (SIGKILL).

    Returns:
        Whether all ended by themselves.
    """
    asked = list(processes)
    for process in asked:
        _signal(process, signal.SIGTERM)
    late = _wait(asked, grace)
    for process in late:
        _signal(process, signal.SIGKILL)
    _wait(late, 5.0)
    return not late


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after that time."""
    deadline = time.monotonic() + seconds
    left = [process for process in processes if not _ended(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [process for process in left if not _ended(process)]
    return left


def _ended(process: psutil.Process) -> bool:
    """Whether it has ended; one that its parent, perhaps another program, has not collected yet counts too."""
    try:
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return True
    # Its main thread has ended; the process has when no other thread is left, which holds its ports and files.
    try:
        return os.waitpid(process.pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:  # its parent is another, who may take its time
        pass
    try:
        return process.num_threads() <= 1
    except psutil.Error:
        return True


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)  # psutil refuses when the pid was given to another since


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, at most 64 KiB, bytes that are no text replaced."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65_536))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def uptime(process: psutil.Process) -> float:
    """Seconds since the process began."""
    return max(0.0, time.time() - process.create_time())
