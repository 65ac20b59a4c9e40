"""What queries keep of the rows that they have seen: dictionaries that know which of their keys have changed.

A value is never changed in place, only put in another's place, so that no change goes unnoticed. Whoever logs the
changes and puts them into the stores of a query just started has the query as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, Protocol, TypeVar

K = TypeVar("K")
V = TypeVar("V")
FEW = 1024  # keys among which nobody looks for those that can be forgotten


class Store(MutableMapping[K, V]):
    """Values by keys.

    Args:
        name: among the stores of a query, as ksqlDB calls the one in its place. Of several that belong together, the
            others have the first one's name, a slash and a word.
        made: brings back a value from a plain tuple where it is another kind of one.
    """

    __slots__ = ("_changed", "_kept", "made", "name")

    def __init__(self, name: str, made: Callable[[Any], V] | None = None) -> None:
        self.name, self.made = name, made
        self._kept: dict[K, V] = {}
        self._changed: dict[K, None] = {}

    def __getitem__(self, key: K) -> V:
        return self._kept[key]

    def get(self, key: K, default: Any = None) -> Any:
        return self._kept.get(key, default)

    def __setitem__(self, key: K, value: V) -> None:
        self._kept[key] = value
        self._note(key)

    def __delitem__(self, key: K) -> None:
        del self._kept[key]
        self._note(key)

    def _note(self, key: K) -> None:
        self._changed.pop(key, None)
        self._changed[key] = None

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[K]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def take_changes(self) -> list[tuple[K, V | None]]:
        """Each key that has changed since the last call, with its value, None where it is gone; by their last changes."""
        changed, self._changed = self._changed, {}
        return [(key, self._kept.get(key)) for key in changed]

    def put_back(self, key: K, value: V | None) -> None:
        """A change that was taken once, which counts as none now."""
        self._kept.pop(key, None)
        if value is not None:
            self._kept[key] = value if self.made is None else self.made(value)


class Keeper(Protocol):
    """What keeps something in stores, and by the side what it can compute from them."""

    def stores(self) -> Sequence[Store[Any, Any]]: ...

    def restored(self) -> None:
        """Its stores have been filled; all else is to be computed again."""


def next_look(size: int) -> int:
    """The size of a store at which to look again for what can be forgotten: so that a row costs the same on average."""
    return max(FEW, 2 * size)
