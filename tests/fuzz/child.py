"""One fuzzing process: a target, a time, a seed. Ends with 0, with 1 after a finding, or by a signal.

With atheris the inputs come from libFuzzer, guided by the Python code that they reach; without it from mutation.py. Both
are told what the target met, since compiled code is beyond what atheris sees: each number stands for a function of which
libFuzzer notices whether it was called.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.blackbox import BlackBox
from tests.fuzz.modules import compiled_modules
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import OTHERS, TARGETS, Target

MOST_KEPT = 4000
SPOTS = 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=[*TARGETS, *OTHERS])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--box", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    asked = parser.parse_args()
    faulthandler.enable()
    box = BlackBox(asked.box)
    run = with_mutation if asked.plain else with_atheris
    run(asked.target, box, asked.seconds, asked.seed)


def executor(target: Target, box: BlackBox) -> Callable[..., Any]:
    """The target warmed up, with each input noted before; a bug is told and ends the process."""

    def execute(data: bytes, *, counts: bool = True) -> Any:
        box.begin(data, counts=counts)
        try:
            return target(data)
        except Exception:  # noqa: BLE001  whatever it is, it is a finding
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    for data in target.seeds:
        execute(data, counts=False)
    return execute


def with_mutation(name: str, box: BlackBox, seconds: float, seed: int) -> None:
    """Random changes; inputs that met something new are changed again."""
    target = (TARGETS | OTHERS)[name]()
    execute = executor(target, box)
    chance = random.Random(seed)
    kept = list(target.seeds)
    seen: set[int] = set()
    for data in kept:
        seen.update(execute(data))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutated(chance.choice(kept), kept, chance)
        if (new := set(execute(data)) - seen) and len(kept) < MOST_KEPT:
            seen |= new
            kept.append(data)
            box.kept += 1


def with_atheris(name: str, box: BlackBox, seconds: float, seed: int) -> None:
    """libFuzzer's inputs."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with atheris.instrument_imports(["gradstream"], compiled_modules()):
        target = (TARGETS | OTHERS)[name]()
    execute = executor(target, box)
    spots = [atheris.instrument_func(_spot()) for _ in range(SPOTS)]

    def one(data: bytes) -> None:
        for number in execute(data):
            spots[number % SPOTS]()

    with tempfile.TemporaryDirectory() as corpus:
        for i, seed_input in enumerate(target.seeds):
            Path(corpus, str(i)).write_bytes(seed_input)
        options = (
            f"-max_total_time={int(seconds)} -seed={seed} -max_len=4096 -verbosity=0 -timeout=3600"
        )
        options += f" -artifact_prefix={corpus}/"
        ours = "-handle_segv=0 -handle_bus=0 -handle_abrt=0"  # faulthandler tells of these
        atheris.Setup([sys.argv[0], *options.split(), *ours.split(), corpus], one)
        atheris.Fuzz()


def _spot() -> Callable[[], None]:
    made: dict[str, Callable[[], None]] = {}
    exec("def spot():\n    return None", made)
    return made["spot"]


if __name__ == "__main__":
    main()
