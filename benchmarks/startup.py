"""How long until ``import gradstream`` is done, and until ``gradstream --help`` has answered?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.figure import Figure, in_turns
from gradstream.config import Services

QUESTION = "import gradstream and gradstream --help, beside Python that does nothing"
REPEATS = 15
MOST = 150  # milliseconds
IMPORT, HELP, NOTHING = "import gradstream", "gradstream --help", "python that does nothing"


def measure(services: Services) -> list[Figure]:
    rates = in_turns(
        1,
        {
            IMPORT: _started("-c", "import gradstream"),
            HELP: _started("-m", "gradstream.cli", "--help"),
            NOTHING: _started("-c", "pass"),
        },
        REPEATS,
    )
    taken = {name: tuple(1000 / each for each in found) for name, found in rates.items()}
    return [
        Figure(name, taken[name], NOTHING, taken[NOTHING], unit="ms", limit=MOST, smaller=True)
        for name in (IMPORT, HELP)
    ]


def _started(*words: str) -> Callable[[], None]:
    """A process from its start to its end."""

    def work() -> None:
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)

    return work
