"""How much is measured, everything or with ``--quick`` only whether it works, and where a run stands, for its bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Effort:
    """Of this process.

    Attributes:
        quick: a fiftieth of the records, and no repeats; figures are worth nothing then.
        say: called with what is being measured now.
    """

    quick: bool = False
    say: Callable[[str], None] = print


NOW = Effort(say=lambda text: None)


def rows(count: int) -> int:
    """How many records to take where all of them are so many."""
    return max(1, count // 50) if NOW.quick else count


def repeats(count: int) -> int:
    """How many times to measure where so many are wanted."""
    return 1 if NOW.quick else count
