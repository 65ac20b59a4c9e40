"""Rows made in fixed blocks and handed out in chunks of any size.

A generator always draws whole blocks of BLOCK rows, so that neither the chunk size nor the number of rows asked for
changes a single value: 1,000 rows are the first 1,000 of a million.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCK = 4096
Block: TypeAlias = Callable[[int], pa.RecordBatch]
"""From the number of a block's first row to its BLOCK rows; called in order, once for each block."""


def usual_chunk(columns: int) -> int:
    """Rows that are worth a call: many, since each call has its price, but only some mebibytes of them."""
    return min(4 * BLOCK, max(BLOCK // 4, 2**19 // columns))


def chunks(block: Block, rows: int | None, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    """The first ``rows`` rows (None: without end) in record batches of ``chunk_rows``, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    held = made = 0
    while rows is None or made < rows:
        fresh = block(made // BLOCK * BLOCK)
        if rows is not None:
            fresh = fresh.slice(0, rows - made)
        made += len(fresh)
        waiting.append(fresh)
        held += len(fresh)
        if held < chunk_rows:
            continue
        joined = pa.concat_batches(waiting)
        whole = held // chunk_rows * chunk_rows
        for start in range(0, whole, chunk_rows):
            yield joined.slice(start, chunk_rows)
        waiting, held = [joined.slice(whole)], held - whole
    if held:
        yield pa.concat_batches(waiting)


def gathered(batches: Iterable[pa.RecordBatch], columns: int) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches, each of about usual_chunk rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= usual_chunk(columns):
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


def streams(seed: int, count: int) -> list[np.random.Generator]:
    """Independent generators from one seed: what is drawn from one never moves the others."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]


def emptied(column: pa.Array, share: float, rng: np.random.Generator) -> pa.Array:
    """The column with about that share of its values made null; draws the same numbers for every share."""
    empty = rng.random(len(column)) < share
    if not empty.any():
        return column
    return pc.if_else(pa.array(empty), pa.scalar(None, column.type), column)
