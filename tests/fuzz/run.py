"""Fuzzing processes one after the other, watched from outside: crashes, hangs and their inputs are kept."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fuzz.blackbox import BlackBox

ROOT = Path(__file__).parents[2]
HANG = 5.0  # seconds of computing for one input
LOADING = 600.0  # seconds before the first input, compilation included
SILENT = 120.0  # seconds for one input when it does not even compute


@dataclass(frozen=True)
class Finding:
    """An input on which a target failed, where it is kept, and how it failed."""

    target: str
    path: Path
    what: str


@dataclass
class Outcome:
    """What came of one target."""

    executions: int = 0
    kept: int = 0
    seconds: float = 0.0
    finding: Finding | None = None

    def plus(self, other: Outcome) -> Outcome:
        """Both together, without their findings."""
        return Outcome(
            self.executions + other.executions,
            self.kept + other.kept,
            self.seconds + other.seconds,
        )


def fuzz(
    target: str,
    seconds: float,
    seed: int,
    folder: Path,
    *,
    plain: bool = False,
    hang: float = HANG,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Run one target in a process of its own until the time is over or something is found."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        box = BlackBox(Path(temporary, "box"))
        log = Path(temporary, "log")
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.child",
            target,
            "--box",
            str(Path(temporary, "box")),
        ]
        command += ["--seconds", str(seconds), "--seed", str(seed), *["--plain"] * plain]
        with log.open("w") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            outcome, trouble = _watched(process, box, hang, progress)
        finally:
            process.kill()
            process.wait()
        if trouble:
            said = log.read_text(errors="replace").splitlines()[-60:]
            outcome.finding = _kept(target, folder, box.read()[2], trouble, said)
    return outcome


def _watched(
    process: subprocess.Popen[bytes],
    box: BlackBox,
    hang: float,
    progress: Callable[[Outcome], None],
) -> tuple[Outcome, str]:
    """Wait for the process; what went wrong, if anything did."""
    outcome, began = Outcome(), time.monotonic()
    watched = psutil.Process(process.pid)
    last, since, computed = 0, began, 0.0
    while (code := process.poll()) is None:
        outcome.executions, outcome.kept, _ = box.read()
        now = time.monotonic()
        outcome.seconds = now - began
        try:
            spent = sum(watched.cpu_times()[:2])
        except psutil.Error:
            continue  # it has just ended
        if outcome.executions != last:
            last, since, computed = outcome.executions, now, spent
        elif last and (spent - computed > hang or now - since > SILENT):
            return outcome, f"hangs: no end after {spent - computed:.1f} s of computing"
        elif not last and now - since > LOADING:
            return outcome, "does not start"
        progress(outcome)
        time.sleep(0.1)
    outcome.executions, outcome.kept, _ = box.read()
    if code < 0:
        return outcome, f"dies of signal {-code}"
    return outcome, "fails" if code else ""


def _kept(target: str, folder: Path, data: bytes, trouble: str, said: list[str]) -> Finding:
    """The input in a file that ``--replay`` takes, and what was said beside it."""
    path = folder / f"{target}.{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    path.with_name(f"{path.name}.log").write_text("\n".join([trouble, *said, ""]))
    what = next((line for line in reversed(said) if line.strip()), "")
    return Finding(target, path, f"{trouble}: {what[:200]}")
