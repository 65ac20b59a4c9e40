"""A short run of every fuzz target, and that the fuzzer finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.fuzz import guarded
from tests.fuzz.guarded import Rooms
from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.skipif(
    not guarded.AVAILABLE, reason="this system cannot forbid a page of memory"
)


def test_some_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    outcome = fuzz("everything", seconds=6, seed=7, folder=tmp_path, plain=True)
    assert outcome.finding is None, outcome.finding
    assert outcome.executions > len(TARGETS)


@pytest.mark.parametrize(
    ("target", "how"),
    [
        ("reads-on", "dies of signal"),
        ("reads-before", "dies of signal"),
        ("writes-on", "dies of signal"),
        ("endless", "hangs"),
        ("wrong", "wrong answer"),
    ],
)
def test_what_is_broken_is_found_and_its_input_kept(target: str, how: str, tmp_path: Path) -> None:
    outcome = fuzz(target, seconds=20, seed=7, folder=tmp_path, plain=True, hang=0.3)
    assert outcome.finding is not None
    assert how in outcome.finding.what
    assert outcome.finding.path.read_bytes() != b"good"
    assert outcome.finding.path.with_suffix(outcome.finding.path.suffix + ".log").exists()


def test_values_in_fenced_memory_are_what_was_given() -> None:
    rooms = Rooms(3, 10)
    for first in (False, True):
        array = rooms.values([b"one", b"", b"x" * 4096], first=first)
        array.validate(full=True)
        assert array.to_pylist() == [b"one", None, b"", None, b"x" * 4096]
    together = rooms.together([b"one", None, b"two"])
    assert together.equals(pa.array([b"one", None, b"two"], pa.binary()))
