"""Plausible names of people and sensors, so that masking has something to hide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_FIRST = (
    "Hans Anna Jonas Mia Lukas Emma Paul Lena Felix Clara Max Sofia Ben Marie Noah Ida Emil Greta Karl Nora "
    "Otto Frieda Anton Helga Oskar Ingrid Theo Ruth Hugo Vera Leo Agnes Moritz Elsa Jakob Irma David Olga "
    "Samuel Rosa"
)
_LAST = (
    "Meier Schmidt Fischer Weber Wagner Becker Hoffmann Koch Bauer Richter Klein Wolf Neumann Schwarz Braun "
    "Zimmermann Hartmann Krause Lehmann Huber Mayer Walter Peters Lang Scholz Vogel Keller Frank Berger Winkler"
)

SENSORS: pa.StringArray = pa.array(
    [f"{name}-{number}" for name in _FIRST.split() for number in range(100)]
)
USERS: pa.StringArray = pa.array(
    [f"{first} {last}" for first in _FIRST.split() for last in _LAST.split()]
)


def pick(names: pa.StringArray, rng: np.random.Generator, rows: int) -> pa.StringArray:
    """``rows`` of the names, drawn with replacement."""
    drawn: npt.NDArray[np.int64] = rng.integers(0, len(names), rows)
    return names.take(pa.array(drawn))
