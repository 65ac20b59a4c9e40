"""Another engine takes a query over while the first is frozen in the middle of its transaction; then the first wakes up.

Where nobody has taken over meanwhile, it goes on by itself, though the broker has ended its transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from faults.attempt import Attempt, Ending, Plan
from faults.child import Child
from faults.lab import Lab
from faults.query import Query, ready
from faults.raw import RawTopic

QUESTION = "does a superseded KSQL engine stop, and does nothing count of what it still tries?"
SAMPLE, FULL = 3, 52
NEEDS_STACK = False

ASLEEP = 35  # seconds; a transaction may take 30
# Phase: the highest count at which the engine is frozen there.
PHASES = {
    "after_run": 4,
    "after_send_offsets": 4,
    "after_flush": 4,
    "after_fetch": 4,
    "after_begin": 4,
    "after_produce": 4,
    "during_commit": 4,
    "after_commit": 4,
}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    raw = RawTopic(lab.services, lab.name("raw").replace("-", "_").upper())
    query = Query(lab, raw, "DELIMITED")
    raw.send(3000)
    query.settle()
    query.engine.kill()
    freezes = 0 if plan.sample else min(2, plan.attempts)
    with raw.feeding(rows=300):
        for _ in range(freezes):
            yield asleep(query)
        phases = list(PHASES) * (plan.attempts // len(PHASES) + 1)
        older: tuple[Child, Attempt] | None = None
        for phase in phases[: plan.attempts - freezes]:
            attempt, engine = frozen(query, phase, plan)
            if older:
                yield woken(*older)
            older = engine, attempt
        ready(query.start())  # it has taken over
        if older:
            yield woken(*older)
    yield ended(query)


def frozen(query: Query, phase: str, plan: Plan) -> tuple[Attempt, Child]:
    """An engine that takes over from the one before, works, and freezes."""
    attempt = Attempt("engine", phase, "SIGSTOP, superseded, SIGCONT", query.sink.name)
    count = plan.random.randint(1, PHASES[phase])
    attempt.detail = f"the {count}. time there" if count > 1 else "the first time there"
    engine = query.start(f"{phase}:{count}=stop")
    with attempt:
        engine.await_stopped()
        attempt.counted = query.behind() > 0
        attempt.at = f"offset {query.committed()}"
    return attempt, engine


def asleep(query: Query) -> Attempt:
    """Longer than a transaction may take, which the broker ends then, fencing the one who began it."""
    attempt = Attempt("engine", "after_flush", f"SIGSTOP {ASLEEP} s", query.sink.name)
    with attempt, query.start("after_flush:2=stop") as engine:
        engine.await_stopped()
        before = query.committed()
        attempt.at, attempt.counted = f"offset {before}", query.behind() > 0
        time.sleep(ASLEEP)
        engine.thaw()
        awake = time.monotonic()
        query.first_commit(engine, before)
        attempt.restart_seconds = round(time.monotonic() - awake, 3)
    return attempt


def woken(zombie: Child, attempt: Attempt) -> Attempt:
    """It must say that it has been superseded, and end."""
    with attempt:
        if not attempt.fault:
            zombie.thaw()
            attempt.note(zombie.expect_fenced())
    zombie.end()
    return attempt


def ended(query: Query) -> Ending:
    """Each row once in the sink, filtered or in the processing log, in order within its partition."""
    faults: list[str] = []
    counted: dict[str, int] = {}
    try:
        query.settle()
        account = query.raw.account(query.sink.name, query.log_topic)
        faults = account.faults
        counted = {"kept": account.kept, "filtered": account.filtered, "logged": account.logged}
    except Exception as error:  # noqa: BLE001  whatever it is, the query has not come to its end
        faults = [f"{type(error).__name__}: {error}"]
    kinds = [fault.split(":")[0] for fault in faults]
    return Ending(
        query.sink.name,
        faults,
        lost=kinds.count("LOST"),
        repeated=kinds.count("REPEATED"),
        counted=counted,
    )
