"""The table of backends, each imported only when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from gradstream.errors import UnavailableError, UsageError
from trainers.backends.base import Backend, State, Steps

__all__ = [
    "BACKENDS",
    "Backend",
    "Entry",
    "State",
    "Steps",
    "available",
    "check",
    "get",
    "names",
    "place",
    "unknown",
]


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
    "numba": Entry(
        "trainers.backends.on_numba", "NumbaBackend", "numba", "pip install 'gradstream[numba]'"
    ),
    "jax": Entry("trainers.backends.on_jax", "JaxBackend", "jax", "pip install 'gradstream[jax]'"),
    "tensorflow": Entry(
        "trainers.backends.on_tensorflow",
        "TensorflowBackend",
        "tensorflow",
        "pip install 'gradstream[tensorflow]'",
    ),
    "torch": Entry(
        "trainers.backends.on_torch", "TorchBackend", "torch", "pip install 'gradstream[torch]'"
    ),
}
ENTRY_POINTS = "gradstream.backends"  # through which a package of your own adds to them


def names() -> list[str]:
    """Backends there are, installed or not, those of plug-ins included."""
    return [*BACKENDS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))]


def known(name: str) -> bool:
    """Whether there is such a backend; looks among the installed packages only for names that are not ours."""
    return name in BACKENDS or bool(entry_points(group=ENTRY_POINTS, name=name))


def available() -> list[str]:
    """Names of the backends whose packages are installed; imports none of them."""
    return [name for name in names() if name not in BACKENDS or _installed(BACKENDS[name])]


def _installed(entry: Entry) -> bool:
    return entry.needs is None or find_spec(entry.needs) is not None


def check(name: str) -> None:
    """Whether a backend can be had, without importing it.

    Raises:
        UsageError: UNKNOWN_BACKEND, with the nearest name and those available.
        UnavailableError: BACKEND_MISSING, with what to type to install it.
    """
    if not known(name):
        raise unknown(name)
    entry = BACKENDS.get(name)
    if entry is not None and not _installed(entry):
        raise UnavailableError(
            "BACKEND_MISSING",
            f"backend {name!r} needs the package {entry.needs}. Install with: {entry.install}. "
            f"Available here: {', '.join(available())}",
        )


def unknown(name: str) -> UsageError:
    """The error that offers the nearest name and those that are installed."""
    near = get_close_matches(name.lower(), names(), n=1)
    hint = f"did you mean {near[0]!r}? Available" if near else "available"
    return UsageError(
        "UNKNOWN_BACKEND", f"no backend {name!r}; {hint} here: {', '.join(available())}"
    )


def get(name: str) -> type[Backend]:
    """The named backend's class, imported now.

    Raises:
        as ``check``.
    """
    check(name)
    kind: type[Backend]
    if (entry := BACKENDS.get(name)) is not None:
        kind = getattr(import_module(entry.module), entry.kind)
    else:
        kind = next(iter(entry_points(group=ENTRY_POINTS, name=name))).load()
    return kind


def place(kind: type[Backend], device: str, dtype: str) -> str:
    """The device that ``cpu``, ``gpu``, ``gpu:N`` or ``auto`` (a GPU where there is one) means here.

    Raises:
        UnavailableError: NO_DEVICE, naming those that were found.
        UsageError: BAD_DTYPE, naming those that the backend computes in.
    """
    if dtype not in kind.dtypes:
        raise UsageError(
            "BAD_DTYPE",
            f"--dtype {dtype}: backend {kind.name!r} computes in {' or '.join(kind.dtypes)} only",
        )
    found = kind.devices()
    if device == "auto":
        return next((name for name in found if name.startswith("gpu")), "cpu")
    wanted = "gpu:0" if device == "gpu" else device
    if wanted not in found:
        shown = ", ".join(f"{name} ({what})" if what else name for name, what in found.items())
        raise UnavailableError(
            "NO_DEVICE",
            f"--device {device}: backend {kind.name!r} found {shown} here; give one of these, or auto",
        )
    return wanted
