"""The wall clock of a trainer is wrong, or jumps while it works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from faults.attempt import Attempt, Died, Ending, Plan
from faults.lab import Lab

QUESTION = "does a wall clock that is wrong or jumps change weights, or make a duration negative?"
SAMPLE, FULL = 1, 6
NEEDS_STACK = False
FLAGS = {"publish_every": 2, "batch_size": 128}
FOLDERS = ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")
# What the clock says from the start, and from the first commit on.
CLOCKS = {
    "jumps back an hour": ("+0", "-1h"),
    "an hour ahead": ("+1h", "+1h"),
    "an hour behind": ("-1h", "-1h"),
    "jumps ahead an hour": ("+0", "+1h"),
    "jumps back a day": ("+0", "-1d"),
    "jumps ahead a day": ("-1d", "+0"),
}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    library = faketime()
    if library is None:
        yield Attempt("clock", detail="not tried: libfaketime is not installed (Debian: faketime)")
        return
    topic = lab.topic(rows=40_000)
    unkilled = lab.reference(topic, **FLAGS)
    for number in range(plan.attempts):
        what, (before, after) = list(CLOCKS.items())[number % len(CLOCKS)]
        run = lab.run(topic, **FLAGS)
        attempt = Attempt("clock", what, "libfaketime", run.name)
        clock = lab.folder / f"{run.name}.clock"
        clock.write_text(f"{before}\n")
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as a clock that is set leaves it alone
        }
        with attempt, run.start("after_step:5=stop", None, **environment) as trainer:
            trainer.await_stopped()
            attempt.at = run.place()
            clock.write_text(f"{after}\n")
            trainer.thaw()
            if trainer.await_exit(120):
                raise Died(trainer.state())
            newest = run.newest()
            assert newest is not None
            away = newest.created.timestamp() - time.time()
            attempt.detail = f"the last record is dated {away / 3600:+.1f} h from now"
            if min(newest.elapsed_us, *newest.timings_us.values()) < 0:
                attempt.fail(f"a duration is negative: {newest.elapsed_us}, {newest.timings_us}")
            attempt.counted = (after == "+0") == (abs(away) < 600)  # it did take the clock for true
        yield attempt
        yield run.ending(unkilled)


def faketime() -> Path | None:
    """The library for programs with threads."""
    found = chain.from_iterable(
        folder.glob(pattern)
        for folder in map(Path, FOLDERS)
        for pattern in ("faketime/libfaketimeMT.so.1", "*/faketime/libfaketimeMT.so.1")
    )
    return next(found, None)
