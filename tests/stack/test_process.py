"""Children: recognised by their mark, never confused, always stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gradstream.stack import process
from gradstream.stack.process import Child
from tests.crowd import in_time

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    process.stop(process.marked(tmp_path), 0.1)


def start(home: Path, command: list[str]) -> Child:
    handle = process.spawn(command, home, home / "child.log")
    child = process.record(handle)
    process.release(handle)
    return child


def test_a_child_has_a_session_of_its_own_and_is_found_again(home: Path) -> None:
    child = start(home, SLEEP)
    assert os.getsid(child.pid) != os.getsid(0)
    found = process.find(child, home)
    assert found is not None
    assert found.pid == child.pid
    assert [one.pid for one in process.marked(home)] == [child.pid]
    assert 0 <= process.uptime(found) < 60


def test_a_pid_that_belongs_to_another_program_now_is_not_ours(home: Path) -> None:
    stranger = start(home, SLEEP)
    elsewhere = home / "other"
    assert process.find(Child(stranger.pid, stranger.created), elsewhere) is None
    assert process.find(Child(os.getpid(), psutil.Process().create_time()), home) is None
    assert process.marked(elsewhere) == []


def test_an_ended_child_is_not_found_even_before_it_is_reaped(home: Path) -> None:
    handle = process.spawn([sys.executable, "-c", ""], home, home / "child.log")
    child = process.record(handle)
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert process.find(child, home) is None
    assert process.marked(home) == []
    assert handle.wait() == 0


def test_stop_asks_first_and_ends_the_rest(home: Path) -> None:
    polite = start(home, SLEEP)
    assert process.stop([psutil.Process(polite.pid)], 5.0)
    stubborn = start(home, STUBBORN)
    while "up" not in process.tail(home / "child.log"):
        time.sleep(0.01)
    began = time.monotonic()
    assert not process.stop([psutil.Process(stubborn.pid)], 0.2)
    assert in_time(time.monotonic() - began, 3)
    assert process.marked(home) == []


def test_a_child_that_another_program_must_collect_counts_as_ended(home: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = start(home, [sys.executable, "-c", program])
    while not process.tail(home / "child.log"):
        time.sleep(0.01)
    began = time.monotonic()
    assert process.stop([psutil.Process(int(process.tail(home / "child.log")))], 10.0)
    assert in_time(time.monotonic() - began, 5)
    assert psutil.pid_exists(parent.pid)


def test_ctrl_c_in_our_terminal_does_not_reach_a_child(home: Path) -> None:
    child = start(home, SLEEP)
    assert os.getpgid(child.pid) != os.getpgrp()
    os.kill(child.pid, 0)
    os.killpg(
        os.getpgid(child.pid), signal.SIGTERM
    )  # its group is its own: this ends only the child


def test_java_options_of_the_user_do_not_reach_the_child(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx8m")
    monkeypatch.setenv("CLASSPATH", "elsewhere")
    child = start(home, SLEEP)
    seen = psutil.Process(child.pid).environ()
    assert "JAVA_TOOL_OPTIONS" not in seen
    assert "CLASSPATH" not in seen
    assert seen[process.MARK] == str(home)


def test_a_log_is_private_and_its_tail_is_text_whatever_it_holds(home: Path) -> None:
    child = start(home, [sys.executable, "-c", "print('said')"])
    psutil.Process(child.pid).wait(10)
    log = home / "child.log"
    assert log.stat().st_mode & 0o777 == 0o600
    log.write_bytes(b"\xff\xfe\n" * 50_000 + b"last\n")
    text = process.tail(log, 2)
    assert text.splitlines()[-1] == "last"
    assert len(text.splitlines()) == 2
    assert process.tail(home / "none.log") == ""
