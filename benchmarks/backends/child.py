"""A worker process as its parent sees it: one request at a time, answered or dead."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from benchmarks.backends.cases import Case
from benchmarks.process import ONE_THREAD, running

Answer: TypeAlias = dict[str, Any]

# Several processes share the GPU: none may take all of its memory in advance.
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


class Child:
    """Runs ``benchmarks.backends.worker``.

    Attributes:
        name, device, dtype: of its backend; the device is what was asked for until the first answer tells which it is.
        devices: that the backend found, as its first answer tells.
    """

    def __init__(self, name: str, device: str, dtype: str, scratch: Path) -> None:
        """Args: scratch: for its log and what it compiles; empty where it is to start from nothing."""
        self.name = name
        self.device = device
        self.devices: dict[str, str] = {}
        scratch.mkdir(exist_ok=True)
        self._log = scratch / "stderr"
        self._started = perf_counter()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                running("benchmarks.backends.worker", name, device, dtype),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(scratch),
            )

    def first(self, case: Case) -> Answer:
        """The case's first run in this process. ``seconds`` has all compiling in it."""
        answer = self._ask(json.dumps(asdict(case)))
        self.device = answer.get("device", self.device)
        self.devices = answer.get("devices", self.devices)
        return answer

    def cold(self, case: Case) -> Answer:
        """The very first run: ``seconds`` begins with the start of the process, so that imports are in it."""
        answer = self.first(case)
        return answer | {"seconds": perf_counter() - self._started}

    def again(self) -> Answer:
        """One more run of the same case."""
        return self._ask("run")

    def _ask(self, request: str) -> Answer:
        """The answer; ``failed``, with the last line of what it said, if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            answer: Answer = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            code = self._process.wait()
            said = self._log.read_text().split("\n")
            last = next((line for line in reversed(said) if line.strip()), "")
            return {"failed": f"ended with {code}: {last}"}
        return answer

    def close(self) -> None:
        self._process.kill()  # it holds nothing, and some frameworks take seconds to leave
        self._process.communicate()


def environment(scratch: Path) -> dict[str, str]:
    """Ours, with one thread for NumPy, and with what gets compiled in a folder of this run."""
    caches = {
        "NUMBA_CACHE_DIR": str(scratch / "numba"),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "torch"),
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    return {**ONE_THREAD, **SHARED_GPU, **os.environ, **caches}
