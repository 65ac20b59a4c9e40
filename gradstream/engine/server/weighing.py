"""How much a push query keeps of the rows it has seen: what it keeps dies with its client, but until then grows with its keys."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof
from typing import Any

from gradstream.engine.language.state import Keeper
from gradstream.errors import DataError

OVERHEAD = (
    400  # bytes of dictionaries, here and in the store, and of what is computed from an entry
)


def weight(value: Any) -> int:
    """Bytes of a value with all that is in it."""
    size = getsizeof(value)
    if isinstance(value, tuple | list | frozenset):
        return size + sum(map(weight, value))
    if isinstance(value, dict):
        return size + sum(weight(key) + weight(of) for key, of in value.items())
    return size


class Scales:
    """Weighs what keepers keep, each entry again when it has changed.

    Args:
        limit: bytes that all of it may take.
    """

    def __init__(self, keepers: Sequence[Keeper], limit: int) -> None:
        self._stores = [store for keeper in keepers for store in keeper.stores()]
        self._weights: list[dict[Any, int]] = [{} for _ in self._stores]
        self.limit = limit
        self.total = 0

    def check(self) -> None:
        """After rows have come; takes the stores' changes, of which a query of a client keeps no log.

        Raises:
            DataError: STATE_TOO_LARGE.
        """
        for store, weights in zip(self._stores, self._weights, strict=True):
            for key, value in store.take_changes():
                self.total -= weights.pop(key, 0)
                if value is not None:
                    weights[key] = OVERHEAD + weight(key) + weight(value)
                    self.total += weights[key]
        if self.total > self.limit:
            entries = sum(map(len, self._weights))
            raise DataError(
                "STATE_TOO_LARGE",
                f"the query keeps {entries} rows or groups in {self.total} bytes, and may take {self.limit}; let it keep "
                "fewer with WHERE, GROUP BY what has fewer values, or a shorter WINDOW, WITHIN or GRACE PERIOD, make it "
                "CREATE TABLE … AS SELECT, or start the engine with a greater --limit kept=BYTES",
            )
