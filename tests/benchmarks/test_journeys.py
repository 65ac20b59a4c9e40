"""Records are found in the weights that learned from them, by offsets alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.journeys import Published, followed
from gradstream.wire.records import Records
from trainers.batches import Range

SEEN = [(1.5, ((0, 0, 1000), (1, 0, 1001))), (1.6, ((0, 1, 1002), (0, 3, 1004)))]
LEARNED = {1.9: ((0, 0, 2), (1, 0, 1)), 2.4: ((0, 2, 5),)}


def records(*rows: tuple[int, int, int]) -> Records:
    """Records of one topic: partition, offset, milliseconds since 1970."""
    partition, offset, timestamp = np.array(rows).T
    empty = pa.nulls(len(rows), pa.binary())
    place = partition.astype(np.int32)
    return Records(("t",), np.zeros_like(place), place, offset, timestamp, empty, empty)


def chain(learned: dict[float, tuple[tuple[int, int, int], ...]]) -> Published:
    """Ranges: partition, start, end."""
    return [(when, [Range("t", *at, 0, 0) for at in parts]) for when, parts in learned.items()]


def test_each_record_is_in_the_first_weights_whose_range_covers_it() -> None:
    found = followed([(when, records(*rows)) for when, rows in SEEN], chain(LEARNED))
    assert found.created.tolist() == [1.0, 1.001, 1.002, 1.004]
    assert found.visible.tolist() == [1.5, 1.5, 1.6, 1.6]
    assert found.learned.tolist() == [1.9, 1.9, 1.9, 2.4]
    assert found.whole == pytest.approx([900, 899, 898, 1396])
    assert found.until_visible + found.until_learned == pytest.approx(found.whole)
    assert found.between(1.001, 1.004).created.tolist() == [1.001, 1.002]


@pytest.mark.parametrize(
    ("learned", "words"),
    [
        (
            {1.9: ((0, 0, 2), (1, 0, 1))},
            "no weights record learned from some offset of partition 0",
        ),
        (
            {**LEARNED, 2.4: ((0, 4, 5),)},
            "no weights record learned from some offset of partition 0",
        ),
        ({**LEARNED, 2.4: ((0, 1, 5),)}, "two weights records learned from the same offset"),
        ({1.9: ((0, 0, 9),)}, "no weights record learned from some offset of partition 1"),
    ],
    ids=["end", "gap", "twice", "partition"],
)
def test_a_chain_that_leaves_records_out_is_no_measurement(
    learned: dict[float, tuple[tuple[int, int, int], ...]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        followed([(when, records(*rows)) for when, rows in SEEN], chain(learned))
