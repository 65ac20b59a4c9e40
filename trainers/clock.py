"""Where the time goes: microseconds by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns


class Clock:
    """Adds up the stages of the loop between two published records."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._since = perf_counter_ns()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter_ns()
        try:
            yield
        finally:
            self.add(name, (perf_counter_ns() - started) // 1000)

    def add(self, name: str, microseconds: int) -> None:
        self._spent[name] = self._spent.get(name, 0) + microseconds

    def add_call(self, microseconds: int, spent: dict[str, int]) -> None:
        """A backend's call: what it says it spent on other things, and the rest as compute. Empties ``spent``."""
        for stage, part in spent.items():
            self.add(stage, part)
        self.add("compute", max(0, microseconds - sum(spent.values())))
        spent.clear()

    @property
    def elapsed_us(self) -> int:
        return (perf_counter_ns() - self._since) // 1000

    @property
    def seconds(self) -> float:
        return self.elapsed_us / 1e6

    def read(self) -> dict[str, int]:
        """Microseconds by stage since the last restart."""
        return dict(self._spent)

    def restart(self) -> None:
        self._spent = {}
        self._since = perf_counter_ns()
