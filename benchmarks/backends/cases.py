"""The jobs on which backends are compared, as data, with published figures and the ratios to reach."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trainers.models import Floats

BARE = "bare"  # NumPy without a contract: the three lines of a step, written out
EXACT = "exact"  # gradstream train --exact
SLOW = "python"
REFERENCE = "numpy"

GOLDEN = "golden"
MINI = "mini-batches"
AUTOENCODER = "autoencoder"
WIDTHS = (2, 5, 10, 20, 50, 100)
BATCH = 256

# Weights of the golden job, from its data alone; float32 carries seven digits of them.
GOLDEN_WEIGHTS = (2.95985985, 2.03296496)
TOLERANCE = {"float64": 1e-8, "float32": 3e-4}
# Everything else is compared with NumPy, relative to the largest number of a tensor. The contract's tests are
# stricter; here thousands of steps lie behind the answer.
AGREES = {"float64": 1e-6, "float32": 1e-2}

# Seconds for the golden job as published, on another machine: https://realpython.com/numpy-tensorflow-performance/
PUBLISHED = {"pure Python": 18.65, "NumPy": 0.319, "TensorFlow 1": 1.198}


@dataclass(frozen=True, slots=True)
class Case:
    """One job: plain gradient descent from the model's start, all backends on the same rows.

    Attributes:
        name: in the JSON record.
        title: what people read.
        model: linear or autoencoder; ``bias`` as in ``models.get``.
        rows: of the data in memory.
        batch: rows of a step.
        chunk: rows of a call; the calls go round the rows.
        passes: of each call over its chunk.
        calls: of a run, which is what is timed.
        rate: learning rate.
        repeats: timed runs.
    """

    name: str
    title: str
    model: str
    features: int
    bias: bool
    rows: int
    batch: int
    chunk: int
    passes: int
    calls: int
    rate: float
    repeats: int

    @property
    def steps(self) -> int:
        """Of a run."""
        return self.calls * self.passes * (self.chunk // self.batch)

    @property
    def records(self) -> int:
        """That a run trains on, those of every pass counted."""
        return self.calls * self.passes * self.chunk

    def data(self) -> tuple[Floats, Floats]:
        """Features (rows, features) and target (rows,), the same in every process."""
        if self.name == GOLDEN:
            noise = 0.1 * np.random.RandomState(444).randn(self.rows)
            x = np.linspace(0, 2, self.rows)
            return x[:, np.newaxis], 3 + 2 * x + noise
        random = np.random.default_rng(7)
        X = random.normal(size=(self.rows, self.features))
        noise = 0.1 * random.normal(size=self.rows)
        return X, X @ np.linspace(-1, 1, self.features) + noise


def _full_batch(name: str, title: str, features: int, steps: int, rate: float) -> Case:
    rows = 10_000
    return Case(
        name, title, "linear", features, name == GOLDEN, rows, rows, rows, steps, 1, rate, 5
    )


def _chunks(name: str, title: str, model: str, features: int, calls: int) -> Case:
    """Calls with 256 batches each, always of the same rows: a trainer hands over what it has just decoded, which lies in
    the caches. Rows that come from memory are bound by memory, and all backends closer together.
    """
    chunk = 256 * BATCH
    return Case(name, title, model, features, False, chunk, BATCH, chunk, 1, calls, 0.01, 7)


def cases(quick: bool = False) -> list[Case]:
    """All of them; the quick ones are the same jobs with fewer steps and repeats, the golden job with fewer repeats."""
    found = [_full_batch(GOLDEN, "golden job: 10,000 rows, 10,000 epochs", 1, 10_000, 0.001)]
    found += [
        _full_batch(f"width {n}", f"{n} features, 10,000 rows, full batch", n, 1000, 0.05)
        for n in WIDTHS
    ]
    found += [
        _chunks(MINI, "mini-batches of 256 × 10", "linear", 10, 128),
        _chunks(AUTOENCODER, "autoencoder 30-14-7-7-30, batches of 256", "autoencoder", 30, 4),
    ]
    return [_quick(case) for case in found] if quick else found


def _quick(case: Case) -> Case:
    if case.name == GOLDEN:
        return replace(case, repeats=2)
    return replace(case, passes=-(-case.passes // 50), calls=-(-case.calls // 32), repeats=2)


def for_backend(case: Case, name: str, quick: bool = False) -> Case:
    """The case as this backend is asked to do it: pure Python gets less of it, and its rate is what counts."""
    if name != SLOW:
        return case
    if case.name == GOLDEN:
        return replace(case, passes=20, repeats=1) if quick else replace(case, repeats=1)
    if case.passes > 1:
        return replace(case, passes=2 if quick else 5, repeats=2)
    chunk = BATCH * (2 if case.name == AUTOENCODER or quick else 64)
    return replace(case, rows=chunk, chunk=chunk, calls=1, repeats=2)


@dataclass(frozen=True, slots=True)
class Goal:
    """The ratio of rates that the best of some backends is to reach on the CPU.

    Attributes:
        case: its name.
        backends: one of them is enough.
        ratio: to the reference.
        reference: NumPy, or the bare loop, of the same run.
    """

    case: str
    backends: tuple[str, ...]
    ratio: float
    reference: str = REFERENCE


GOALS = (
    Goal(GOLDEN, ("numba",), 9),
    Goal(GOLDEN, (EXACT,), 100),
    Goal(GOLDEN, ("jax",), 1),
    Goal(GOLDEN, ("tensorflow",), 1),
    Goal(GOLDEN, ("torch",), 0.5),
    Goal("width 100", ("jax", "tensorflow", "torch"), 2),
    Goal(MINI, ("numba",), 3.5),
    Goal(MINI, ("tensorflow",), 2),
    Goal(MINI, ("jax",), 1),
    Goal(MINI, ("torch",), 0.5),
    Goal(MINI, ("numpy",), 0.8, BARE),
    Goal(AUTOENCODER, ("numba", "jax", "tensorflow", "torch"), 3),
)


def takes_part(backend: str, case: Case) -> bool:
    """The exact answer is one for the golden job; the bare loop is written where a goal refers to it."""
    if backend == EXACT:
        return case.name == GOLDEN
    if backend == BARE:
        return any((goal.case, goal.reference) == (case.name, BARE) for goal in GOALS)
    return True
