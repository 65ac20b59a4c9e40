"""What is promised in seconds, measured on a machine that others use as well."""

from __future__ import annotations

import time

SAMPLE = 0.5  # seconds of computing from which the crowd is told


def in_time(took: float, promised: float) -> bool:
    """Whether it would have taken less than promised with the machine's cores to itself; both in seconds."""
    return took < promised or took < promised * crowd()


def crowd() -> float:
    """How many times as long things take now, since others use the cores: wall over CPU time of a computation."""
    wall, computing = time.perf_counter(), time.thread_time()
    while (spent := time.thread_time() - computing) < SAMPLE:
        pass
    return (time.perf_counter() - wall) / spent
