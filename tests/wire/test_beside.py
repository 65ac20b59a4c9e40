from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from gradstream.errors import UnavailableError
from gradstream.wire.beside import Beside

STARVED = """
import resource
from gradstream.errors import UnavailableError
from gradstream.wire.beside import Beside

Beside("first", lambda: None).join()  # its stack is kept for the next thread
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used, used))
try:
    work = Beside("second", lambda: None)
    work.join()
    work.check()
except UnavailableError as error:
    print(error.code)
"""


def test_what_the_work_raises_is_raised_where_it_is_checked() -> None:
    def fail() -> None:
        raise UnavailableError("GONE", "as is told")

    work = Beside("fail", fail)
    work.join()
    assert not work.is_alive()
    with pytest.raises(UnavailableError, match="GONE"):
        work.check()


def test_it_is_alive_until_its_work_is_done() -> None:
    go_on = threading.Event()

    def wait() -> None:
        go_on.wait()

    work = Beside("wait", wait)
    work.join(0.01)
    assert work.is_alive()
    go_on.set()
    work.join()
    assert not work.is_alive()
    work.check()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_a_thread_without_memory_is_an_error_and_no_wait_for_ever() -> None:
    argv = [sys.executable, "-c", STARVED]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "NO_MEMORY\n", ended.stderr
