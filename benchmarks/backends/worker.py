"""One backend in a process of its own, where no other framework can disturb it: jobs in, seconds and weights out.

    python -m benchmarks.backends.worker NAME DEVICE DTYPE

Each line of stdin is answered by one line of JSON on stdout:

    {"name": "golden", …}   a Case: make the backend and run it once, with all the compiling that it takes
    run                     once more, warm
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from time import perf_counter
from typing import IO, Any, TypeAlias

import numpy as np

from benchmarks.backends.cases import BARE, EXACT, Case
from gradstream.errors import GradstreamError
from trainers import backends, models
from trainers.backends import Backend
from trainers.descent import Descent
from trainers.models import Floats

Tensors: TypeAlias = dict[str, Floats]


def chunks(case: Case, X: Floats, y: Floats) -> Iterator[tuple[Floats, Floats]]:
    """What the calls of a run get, round and round the rows."""
    for call in range(case.calls):
        first = call * case.chunk % case.rows
        yield X[first : first + case.chunk], y[first : first + case.chunk]


def with_backend(case: Case, X: Floats, y: Floats, backend: Backend) -> Callable[[], Tensors]:
    """A run through the contract, as the trainer does it: NumPy arrays in, NumPy arrays out."""
    X = backend.model.design(X)

    def run() -> Tensors:
        backend.spent.clear()
        state = backend.init()
        for rows, target in chunks(case, X, y):
            state = backend.steps(state, rows, target, case.batch, passes=case.passes).state
        return backend.export(state)  # waits for the device

    return run


def bare(case: Case, X: Floats, y: Floats) -> Callable[[], Tensors]:
    """The lines that a step of the linear model is in NumPy, and nothing around them."""
    size = case.batch
    rate = case.rate * 2 / size

    def run() -> Tensors:
        w = np.zeros(case.features, X.dtype)
        for rows, target in chunks(case, X, y):
            for i in range(0, len(target), size):
                Xb = rows[i : i + size]
                e = Xb @ w - target[i : i + size]
                w = w - rate * (Xb.T @ e)
        return {"w": w}

    return run


def exact_backend() -> Any:
    return import_module("trainers.backends.exact").ExactBackend


class Worker:
    """Holds the case that was asked for last."""

    def __init__(self, name: str, device: str, dtype: str) -> None:
        self.name = name
        self.device = device
        self.dtype = dtype
        self.run: Callable[[], Tensors] = dict
        self.spent: dict[str, int] = {}

    def answer(self, request: str) -> dict[str, Any]:
        if request == "run":
            return self.timed(perf_counter())
        case = Case(**json.loads(request))
        X, y = case.data()
        started = perf_counter()
        if self.name == BARE:
            self.run = bare(case, X.astype(self.dtype), y.astype(self.dtype))
            return self.timed(started) | {"device": "cpu", "devices": {"cpu": ""}}
        exact = self.name == EXACT
        kind: Any = exact_backend() if exact else backends.get(self.name)
        device = backends.place(kind, self.device, self.dtype)
        model = models.get(case.model, case.features, case.bias)
        # Exact reads the data once, and makes the weights of so many passes when they are asked for.
        more = {"passes": case.passes} if exact else {}
        backend = kind(model, Descent(case.rate), device=device, dtype=self.dtype, **more)
        self.run = with_backend(replace(case, passes=1) if exact else case, X, y, backend)
        self.spent = backend.spent
        return self.timed(started) | {"device": device, "devices": kind.devices()}

    def timed(self, started: float) -> dict[str, Any]:
        """Seconds from ``started`` to the end of a run, its weights, and its microseconds of transfer and compile."""
        weights = self.run()
        seconds = perf_counter() - started
        told = {name: tensor.tolist() for name, tensor in weights.items()}
        return {"seconds": seconds, "spent": dict(self.spent), "weights": told}


def serve(requests: IO[str], answers: IO[str], worker: Worker) -> None:
    """Answers until stdin ends.

    What a user can cause, and a package that is not there, is answered as ``skip``; anything else ends the process.
    """
    for line in requests:
        try:
            answer = worker.answer(line.strip())
        except (GradstreamError, ModuleNotFoundError) as error:
            answer = {"skip": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(argv: list[str]) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks print; the answers are alone on their way
    serve(sys.stdin, answers, Worker(*argv))


if __name__ == "__main__":
    main(sys.argv[1:])
