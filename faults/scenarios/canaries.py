"""Unique words in every place that a statement masks, drops or cannot read, and a search for them through everything."""

from __future__ import annotations

from collections.abc import Iterator

from faults.attempt import Attempt, Plan
from faults.canary import KINDS, Flock
from faults.lab import Lab

QUESTION = "is a masked value anywhere but in the raw topic: other topics, files, logs, answers, dead letters?"
SAMPLE = FULL = len(KINDS) + 1
CANARIES = 10_000  # in a sample 300
NEEDS_STACK = True  # whose files are searched


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt]:
    flock = Flock(lab, 300 if plan.sample else CANARIES)
    search = Attempt("search", "everywhere", "canaries")
    kinds = [Attempt(kind.name, "raw topic", "canaries") for kind in KINDS]
    seen: dict[str, int] = {}
    with search:
        flock.fly()
        for leak in flock.leaks():
            search.fail(leak)
        logged = flock.logged()
        search.counted, search.detail = logged > 0, f"{logged} entries in the processing log"
        seen = flock.seen_in_the_raw_topics()
    for attempt in kinds:  # what the search does not find where it is, it would not find elsewhere
        sent = len(flock.sent.get(attempt.subject, ()))
        attempt.detail = f"{seen.get(attempt.subject, 0)} of {sent} found"
        attempt.counted = seen.get(attempt.subject) == sent
        if not attempt.counted:
            attempt.fail(f"the search finds only {attempt.detail} in the raw topic")
    yield from (search, *kinds)[: plan.attempts]
