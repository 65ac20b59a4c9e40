"""A short run of the reader under valgrind: nothing is read after it was given back, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.wire.writer import Writer

ROOT = Path(__file__).resolve().parents[2]
VALGRIND = shutil.which("valgrind")
RECORDS = 300
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(VALGRIND is None, reason="needs valgrind (apt-get install valgrind)"),
]
# What the reader brings: librdkafka, and compiled code, whose frames have no name. The rest is Python, whose frames name
# their source, and libraries that valgrind does not understand in all they do.
OURS = re.compile(r"librdkafka|: \?\?\?$", re.MULTILINE)
PYTHON = re.compile(r"\(\w+\.[ch]:\d+\)")
KINDS = re.compile(r"Invalid|uninitialised|Mismatched|overlap|are definitely lost")


def complaints(log: str) -> list[str]:
    """The errors and definite losses that have a frame of ours before one of Python, which we call back."""
    blocks = [b for b in re.split(r"\n==\d+== ?\n", log) if KINDS.search(b)]
    return [block for block in blocks if OURS.search(PYTHON.split(block)[0])]


@pytest.mark.timeout(1200)
def test_valgrind_finds_nothing_but_the_mistake(
    services: Services, topic: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    values = pa.array([b"%060d" % i if i % 7 else None for i in range(RECORDS)], pa.binary())
    keys = pa.array([b"k" if i % 2 else None for i in range(RECORDS)], pa.binary())
    with Writer(services) as writer:
        writer.send(topic, values, keys=keys, headers=[[("h", b"x")]] * RECORDS)
    log = tmp_path / "valgrind"
    child = [sys.executable, "-m", "tests.wire.valgrind_child", topic, str(RECORDS)]
    environment = {
        **os.environ,
        "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers,
        "PYTHONMALLOC": "malloc",
        "NUMBA_CPU_NAME": "generic",  # valgrind knows no instructions of today
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*child, unique("g"), str(log))  # compiles, which would take long in there
    assert VALGRIND is not None
    judged = [VALGRIND, "--leak-check=full", "--show-leak-kinds=definite", f"--log-file={log}"]
    length = int(run(*judged, *child, unique("g"), str(log)))
    told = log.read_text()
    assert complaints(told[:length]) == []
    mistake = complaints(told[length:])
    assert len(mistake) == 1, mistake
    assert "Invalid read" in mistake[0]
    assert "rd_kafka_op_new_fetch_msg" in mistake[0]  # where that memory once was a message
