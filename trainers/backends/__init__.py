"""The table of backends, each imported only when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec

from gradstream.errors import UnavailableError, UsageError
from trainers.backends.base import Backend, State

__all__ = ["BACKENDS", "Backend", "Entry", "State", "available", "get"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a backend is.

    Attributes:
        module: what to import.
        kind: the Backend in it.
        needs: the package it stands on, None where Python itself is enough.
        install: what to type when that is missing.
    """

    module: str
    kind: str
    needs: str | None
    install: str


BACKENDS: dict[str, Entry] = {
    "python": Entry("trainers.backends.on_python", "PythonBackend", None, ""),
    "numpy": Entry("trainers.backends.on_numpy", "NumpyBackend", "numpy", "pip install gradstream"),
}


def available() -> list[str]:
    """Names of the backends whose packages are installed; imports none of them."""
    return [
        name
        for name, entry in BACKENDS.items()
        if entry.needs is None or find_spec(entry.needs) is not None
    ]


def get(name: str) -> type[Backend]:
    """The named backend's class.

    Raises:
        UsageError: UNKNOWN_BACKEND, with the nearest name and those available.
        UnavailableError: BACKEND_MISSING, with what to type to install it.
    """
    if name not in BACKENDS:
        near = get_close_matches(name.lower(), BACKENDS, n=1)
        hint = f"did you mean {near[0]!r}? Available" if near else "available"
        raise UsageError(
            "UNKNOWN_BACKEND",
            f"no backend {name!r}; {hint} here: {', '.join(available())}",
        )
    entry = BACKENDS[name]
    if entry.needs is not None and find_spec(entry.needs) is None:
        raise UnavailableError(
            "BACKEND_MISSING",
            f"backend {name!r} needs the package {entry.needs}. Install with: {entry.install}. "
            f"Available here: {', '.join(available())}",
        )
    kind: type[Backend] = getattr(import_module(entry.module), entry.kind)
    return kind
