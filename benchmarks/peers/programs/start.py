"""A process that is one run of one peer: ``main([task as JSON])``."""

from __future__ import annotations

import json
from importlib import import_module

from benchmarks.peers.programs.task import Clock, Task


def main(argv: list[str]) -> None:
    task = Task(**json.loads(argv[0]))
    module, _, function = task.program.partition(".")
    clock = Clock(task)
    getattr(import_module(f"benchmarks.peers.programs.{module}"), function)(task, clock)
    clock.leave()
