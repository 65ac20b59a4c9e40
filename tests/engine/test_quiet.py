"""Memory that is given back at rest, and a process that lives on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, re, numba, pyarrow
from pathlib import Path
from gradstream.engine.server import quiet

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

@numba.njit
def twice(x):
    return 2 * x

assert twice(2) == 4
found = set(quiet.unaltered())
altered = [line for line in Path("/proc/self/maps").read_text().splitlines() if "rw-p" in line]
places = {line.split("-")[0] for line in altered}
assert not places & {f"{begin:x}" for begin, _, _ in found}
before = resident()
quiet.give_back(found)
after = resident()
assert twice(2.5) == 5.0  # LLVM works on
assert pyarrow.array([1, None]).to_pylist() == [1, None]
print(json.dumps([before, after, sum("llvmlite" in file for *_, file in found)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back on Linux only")
def test_the_compiler_leaves_memory_and_comes_back_when_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    before, after, parts = json.loads(done.stdout)
    assert parts >= 1
    assert after < 0.8 * before
