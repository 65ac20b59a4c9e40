"""KSQL's table functions: one value of a row becomes many rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from gradstream.engine.language.functions.registry import NoOverload
from gradstream.engine.types import Array, SqlType

TableFunction: TypeAlias = Callable[[Any], list[Any]]


def _explode(values: list[Any] | None) -> list[Any]:
    """Each item of an array."""
    return values or []


def _cube(values: list[Any] | None) -> list[Any]:
    """All arrays in which some items are NULL, the last item changing first; what is NULL already stays so."""
    if not values:
        return []
    choices = [(None,) if value is None else (None, value) for value in values]
    return [list(chosen) for chosen in itertools.product(*choices)]


_BODIES: dict[str, TableFunction] = {"EXPLODE": _explode, "CUBE_EXPLODE": _cube}
NAMES = tuple(_BODIES)


def bind(name: str, types: Sequence[SqlType | None]) -> tuple[SqlType, TableFunction]:
    """The type of each row's value, and the function.

    Raises:
        NoOverload: it does not take such an argument.
    """
    if len(types) != 1 or not isinstance(types[0], Array):
        shown = ", ".join(map(str, types))
        raise NoOverload(f"Function '{name}' does not accept parameters ({shown}).")
    return types[0] if name == "CUBE_EXPLODE" else types[0].item, _BODIES[name]
