"""Single records on their way: which weights record learned from each, by the ranges of offsets that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gradstream.wire.records import Records
from trainers.batches import Range

WHOLE = "record → weights"
FIRST = "record → training topic"
SECOND = "training topic → weights"
LIMITS = {50: 30.0, 99: 150.0}  # ms of the whole way that so many per cent may take

Floats: TypeAlias = npt.NDArray[np.float64]
Seen: TypeAlias = Sequence[tuple[float, Records]]
"""What a reader was given, and when, in seconds since 1970."""
Published: TypeAlias = Sequence[tuple[float, Sequence[Range]]]
"""What each record of a chain of weights learned from, and when a reader had it."""


@dataclass(frozen=True, slots=True)
class Journeys:
    """When each record was where, in seconds since 1970, shape (n,), in the order of creation."""

    created: Floats
    visible: Floats
    learned: Floats

    def between(self, start: float, end: float) -> Journeys:
        """Those of the records that were created in a span of time."""
        rows = slice(*np.searchsorted(self.created, [start, end]))
        return Journeys(self.created[rows], self.visible[rows], self.learned[rows])

    @property
    def whole(self) -> Floats:
        """Milliseconds from source to weights."""
        return 1000 * (self.learned - self.created)

    @property
    def until_visible(self) -> Floats:
        """Milliseconds of it until the training topic showed the record."""
        return 1000 * (self.visible - self.created)

    @property
    def until_learned(self) -> Floats:
        """Milliseconds from there to the weights."""
        return 1000 * (self.learned - self.visible)


def followed(seen: Seen, published: Published) -> Journeys:
    """Puts together what was seen of each record of a training topic, and its run's whole chain.

    Raises:
        ValueError: a record is covered by no weights record, or two cover the same offset.
    """
    partition = np.concatenate([records.partition for _, records in seen])
    offset = np.concatenate([records.offset for _, records in seen])
    created = np.concatenate([records.timestamp for _, records in seen]) / 1000
    visible = np.concatenate([np.full(len(records), when) for when, records in seen])
    learned = np.empty(len(offset))
    for at in np.unique(partition).tolist():
        mine = np.flatnonzero(partition == at)
        learned[mine] = _learned(at, offset[mine], published)
    order = np.argsort(created, kind="stable")
    return Journeys(created[order], visible[order], learned[order])


def _learned(partition: int, offset: npt.NDArray[np.int64], published: Published) -> Floats:
    """When a reader had the weights that learned from each of these offsets of a partition."""
    ranges = [
        (part.start, part.end, when)
        for when, inputs in published
        for part in inputs
        if part.partition == partition
    ]
    starts, ends, moments = np.array(ranges).reshape(-1, 3).T
    covering = np.searchsorted(ends, offset, side="right")
    if (starts[1:] < ends[:-1]).any():
        raise ValueError(
            f"two weights records learned from the same offset of partition {partition}"
        )
    if len(offset) and (covering[-1] == len(ends) or (starts[covering] > offset).any()):
        raise ValueError(f"no weights record learned from some offset of partition {partition}")
    found: Floats = moments[covering]
    return found
