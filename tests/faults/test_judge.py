"""The judge on runs that are sound, and on what somebody has changed in their topics."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import faults.judge
from faults.judge import Verdict, verdict
from gradstream.config import Services
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import crash, job_on
from trainers.job import FULL
from trainers.loop import train

ROOM = Path(faults.judge.__file__).parent
OUTSIDE = {"confluent_kafka", "fastavro", "numpy", "faults", *sys.stdlib_module_names}
POISON: dict[int, bytes | None] = {0: b"", 77: b"junk", 300: None, 301: b"\0\0\0\0\1"}


def test_it_imports_nothing_of_what_it_judges() -> None:
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                assert name.split(".")[0] in OUTSIDE, f"{path.name}: {name}"
                assert not name.startswith("faults") or name.startswith("faults.judge"), path.name


def judged(topic: Topic, run: str = "r", **more: Any) -> Verdict:
    where = topic.services
    return verdict(
        where.bootstrap_servers,
        where.schema_registry_url,
        topic.run + run,
        topic.weights,
        topic.dead,
        **more,
    )


def filled(
    services: Services, unique: Unique, partitions: int = 1, rows: int = 3000, classes: bool = False
) -> Topic:
    """Partitions of unlike lengths, with poison in each."""
    topic = Topic(services, unique, 3, partitions)
    for partition in range(partitions):
        X, y = data(rows + 511 * partition, 3, seed=partition)
        if classes:
            y = (y > 1).astype(np.float64)
        topic.send(X, y, partition, poison=POISON)
    return topic


EVERYTHING: dict[str, Any] = {
    "model": "logistic",
    "standardise": True,
    "class_weights": "balanced",
    "optimizer": "adam",
    "l2": 0.01,
    "clip": 1.0,
    "schedule": "cosine",
    "schedule_steps": 500,
}
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "online": (1, {}),
    "partitions": (3, {"schedule": "inverse"}),
    "no-bias": (2, {"bias": False, "optimizer": "momentum", "standardise": True}),
    "epochs": (2, {"epochs": 3, "l2": 0.1}),
    "full": (2, {"epochs": 30, "batch_size": FULL, "standardise": True}),
    "ordered": (1, {"epochs": 2, "shuffle": False, "optimizer": "adam"}),
    "logistic": (2, EVERYTHING),
    "logistic-epochs": (2, {**EVERYTHING, "epochs": 3}),
    "numba": (1, {"backend": "numba", "standardise": True}),
}


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_that_went_on_is_accounted_for(
    services: Services, unique: Unique, kind: str
) -> None:
    partitions, more = KINDS[kind]
    topic = filled(services, unique, partitions, classes=more.get("model") == "logistic")
    job = job_on(topic, "r", **{"publish_steps": 6, "batch_size": 64, **more})
    crash(job, services, "after_flush:3")
    train(job, services)
    found = judged(topic)
    assert found.faults == []
    assert found.counted["dead letters"] == len(POISON) * partitions
    assert (
        found.counted["good"] * more.get("epochs", 1)
        == found.counted["trained, once for each epoch"]
    )
    assert found.counted["steps recomputed"] == found.counted["steps"] > 0
    assert found.counted["after the last commit"] == 0
    assert not any("weights" in what for what in found.unjudged)
