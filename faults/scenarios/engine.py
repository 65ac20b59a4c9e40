"""The engine is killed at each phase of its query's transaction while rows come in and a trainer learns from what it makes.

Within a partition the training topic has the rows of the raw topic in their order, whatever happened to the engine, and a
batch is cut by partition, so a bounded run on it must end at the bits of one on the topic of an engine that nobody killed.
The trainer that runs meanwhile is a live one: where its batches end depends on when the rows come, so it has no twin, and
the judge alone decides about it: every row trained once, and its weights learned again by a plain loop.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

from faults.attempt import Attempt, Ending, Plan
from faults.compare import hash_of
from faults.judge import Sql, verdict
from faults.lab import Lab
from faults.query import LONG, Query
from faults.raw import RawTopic
from faults.run import Run, Trainer

QUESTION = "is each row in the training topic once, and masked, wherever the KSQL engine is killed?"
SAMPLE, FULL = 3, 33  # some find nothing to lose and do not count
NEEDS_STACK = False

# Phase: the highest count at which the engine is killed there.
PHASES = {
    "after_flush": 6,
    "random": 0,
    "after_send_offsets": 6,
    "after_run": 6,
    "after_fetch": 6,
    "after_begin": 6,
    "after_produce": 6,
    "during_commit": 6,
    "after_commit": 6,
}
LONGEST = 0.1  # seconds from the arrival of many rows to a random kill
BACKLOG = (
    10  # every so many kills the engine finds many rows, so that it commits beside its next chunk
)
FLAGS = {"features": "X1", "batch_size": 64}


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    raw = RawTopic(lab.services, lab.name("raw").replace("-", "_").upper())
    query = Query(lab, raw)
    lab.watch(query.sink)
    raw.send(3000)
    query.settle()
    run = lab.run(query.sink, mode="live", publish_every="500ms", **FLAGS)
    with ExitStack() as ends:
        trainer = ends.enter_context(run.start())
        with raw.feeding(rows=150):
            query.engine.kill()
            phases = list(PHASES) * (plan.attempts // len(PHASES) + 1)
            for number, phase in enumerate(phases[: plan.attempts]):
                if number % BACKLOG == 2:
                    raw.send(30_000 if plan.sample else 100_000)
                yield killed(query, phase, plan, run)
        query.start()
        yield ended(query, run, trainer)


def killed(query: Query, phase: str, plan: Plan, run: Run) -> Attempt:
    """One start of the engine, which goes on from where the last one was killed, and its death."""
    attempt = Attempt("engine", phase, "SIGKILL", run.name)
    before = query.committed()
    if phase == "random":
        delay = plan.random.uniform(0, LONGEST)
        attempt.detail = f"{delay * 1000:.0f} ms after many rows had come in"
        with attempt, query.start() as engine:
            attempt.restart_seconds = query.first_commit(engine, before)
            query.raw.send(20_000)
            time.sleep(delay)
            attempt.counted = engine.kill()
    else:
        count = plan.random.randint(1, PHASES[phase])
        attempt.detail = f"the {count}. time there" if count > 1 else "the first time there"
        with attempt, query.start(f"{phase}:{count}") as engine:
            attempt.counted = engine.await_signal(signal.SIGKILL)
    attempt.at = f"offset {query.committed()}"
    attempt.counted = attempt.counted and query.behind() > 0  # or it had nothing to lose
    return attempt


def ended(query: Query, run: Run, trainer: Trainer) -> Ending:
    """When all is trained: the judge on the live run, and the bits of a run on the topic next to an unkilled engine's."""
    faults: list[str] = []
    counted: dict[str, int] = {}
    mine = other = ""
    try:
        query.settle()
        kept = query.raw.kept
        trainer.wait_until(lambda: trained(run) >= kept, "the end of the training topic", LONG)
        trainer.terminate()
        trainer.await_exit()
        faults, counted = judged(query, run)
        mine, other = fresh(query), fresh(untouched(query))
        if mine != other:
            faults.append(
                "WRONG_WEIGHTS: a run on the topic ends at other bits than on that of an unkilled engine"
            )
    except Exception as error:  # noqa: BLE001  whatever it is, the path has not come to its end
        faults.append(f"{type(error).__name__}: {error}")
    kinds = [fault.split(":")[0] for fault in faults]
    return Ending(
        run.name,
        faults,
        lost=kinds.count("LOST"),
        repeated=kinds.count("REPEATED"),
        torn=kinds.count("TORN") + kinds.count("BROKEN_CHAIN"),
        sha256=mine,
        expected=other,
        counted=counted,
    )


def trained(run: Run) -> int:
    """How many rows the run has learned from."""
    newest = run.newest()
    return newest.records_trained if newest else 0


def judged(query: Query, run: Run) -> tuple[list[str], dict[str, int]]:
    services = query.lab.services
    said = verdict(
        services.bootstrap_servers,
        services.schema_registry_url,
        run.name,
        query.sink.weights,
        query.sink.dead,
        sql=Sql(
            query.raw.name,
            "ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE",
            filtered_by="Y",
            sensitive=("SENSOR",),
            log=query.log_topic,
        ),
    )
    return said.faults, said.counted


def untouched(query: Query) -> Query:
    """The same statement on the same rows, in an engine that nobody kills."""
    made = Query(query.lab, query.raw)
    query.lab.watch(made.sink)
    made.settle()
    return made


def fresh(query: Query) -> str:
    """The hash of all tensors of a bounded run from the first to the last row."""
    return hash_of(query.lab.run(query.sink, **FLAGS).finish())
