"""The disk is full under the broker, and under the rows that a trainer keeps for its epochs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.attempt import Attempt, Died, Ending, Hang, Plan
from faults.lab import Lab
from faults.service import Service
from gradstream.stack import LocalStack

QUESTION = "does a trainer outlive a full disk, of the broker's or its own?"
SAMPLE, FULL = 1, 2
NEEDS_STACK = True
FLAGS = {"publish_every": 2, "batch_size": 128}
EPOCHS = {"epochs": 3, "batch_size": 128, "publish_every": 20}
MEBIBYTE = 2**20


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    if os.geteuid() != 0:
        yield Attempt("disk", detail="not tried: only root may make a small disk of memory")
        return
    for number in range(plan.attempts):
        yield from (spill(lab), broker(lab))[number % 2]


def spill(lab: Lab) -> Iterator[Attempt | Ending]:
    """Epochs whose rows find no room stop with one line, and go on where there is room."""
    topic = lab.topic(rows=60_000)
    unkilled = lab.reference(topic, **EPOCHS)
    run = lab.run(topic, **EPOCHS)
    attempt = Attempt("trainer", "reading the log", "disk full", run.name)
    with attempt, small(lab.folder / "spill", 1) as folder:
        run.start(TMPDIR=str(folder)).expect("NO_SPACE", 69)
        attempt.counted = True
    yield attempt
    yield run.ending(unkilled)


def broker(lab: Lab) -> Iterator[Attempt | Ending]:
    """A broker halts where its disk is full. Its trainer waits, and goes on when there is room and the broker is back."""
    attempt = Attempt("broker", "publishing", "disk full")
    with (
        small(lab.folder / "disk", 400) as folder,
        LocalStack(folder, with_engine=False) as stack,
        Lab(stack.services) as other,
    ):
        topic = other.topic(rows=60_000)
        unkilled = other.reference(topic, **FLAGS)
        run = other.run(topic, **FLAGS)
        attempt.run = run.name
        with attempt, run.start("after_step:9=stop") as trainer:
            trainer.await_stopped()
            attempt.at = run.place()
            ballast = folder / "ballast"
            fill(ballast)
            trainer.thaw()
            halted(Service(stack, "broker"))
            ballast.unlink()
            stack.up()
            attempt.restart_seconds = trainer.await_commit(120)
            if trainer.await_exit():
                raise Died(trainer.state())
            attempt.counted = True
        yield attempt
        yield run.ending(unkilled)


def halted(service: Service) -> None:
    deadline = time.monotonic() + 60
    while service.alive:
        if time.monotonic() > deadline:
            raise Hang("the broker goes on without a disk")
        time.sleep(0.2)


def fill(ballast: Path) -> None:
    """Takes all the room that is left."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MEBIBYTE // 16))
        except OSError:
            return


@contextmanager
def small(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A disk of so much memory."""
    folder.mkdir()
    size = f"size={mebibytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
