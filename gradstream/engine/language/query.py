"""A planned query: what it reads, what it makes of a batch of columns, how it prints.

    plan = action.query
    evaluated = plan.evaluate(batch, timestamps, null_values)
    sink rows: evaluated.keys (RecordBatch), evaluated.values (RecordBatch), evaluated.timestamps, evaluated.null_values

``batch`` has one column for each of ``plan.columns`` (names of the source's columns that the query reads; others
may be present and are ignored), of the Arrow type that types.arrow_type gives, plus those of ``plan.pseudo``
that are read (ROWPARTITION int32, ROWOFFSET int64). ROWTIME comes from ``timestamps``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.engine.catalog import Column, Source
from gradstream.engine.language.state import Keeper
from gradstream.engine.language.tasks import KeyPartitions

RowError: TypeAlias = tuple[int, str, str]


@dataclass(slots=True)
class Evaluated:
    """What a query makes of a batch.

    Attributes:
        keys: the key columns, one row for each kept row; no columns where the output has no key.
        values: the value columns; a row of nulls where ``null_values`` says that the value itself is null.
        rows: int64, shape (m,), the positions in the batch of the rows kept, ascending.
        timestamps: int64, shape (m,), milliseconds, of the output records.
        null_values: bool, shape (m,).
        errors: (row in the batch, item or clause, message), for the processing log.
        windows: (start, end) in milliseconds of the window that belongs to each row's key, None where there are none.
    """

    keys: pa.RecordBatch
    values: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    null_values: npt.NDArray[np.bool_]
    errors: list[RowError]
    windows: list[tuple[int, int]] | None = None


Evaluate: TypeAlias = Callable[
    [pa.RecordBatch, npt.NDArray[np.int64], npt.NDArray[np.bool_] | None], Evaluated
]


@dataclass(frozen=True, slots=True)
class Started:
    """A query that keeps something of the rows it has seen, with nothing kept yet.

    Attributes:
        of_source: from the number of a source to what takes that source's rows.
        keepers: what keeps.
    """

    of_source: Callable[[int], Evaluate]
    keepers: tuple[Keeper, ...]


Start: TypeAlias = Callable[[int, KeyPartitions], Started]
"""(partitions of the left-most source, where keys go) -> the query, started."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the printed plan; ``inputs`` are indented below it."""

    name: str
    detail: str
    inputs: tuple[Step, ...] = ()

    def lines(self, depth: int = 0) -> list[str]:
        own = " > " * (depth > 0) + f"[ {self.name} ] | {self.detail}"
        return ["   " * max(depth - 1, 0) + own] + [
            line for step in self.inputs for line in step.lines(depth + 1)
        ]


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A query over one stream (joins and aggregates come with state).

    Attributes:
        query_id: as SHOW QUERIES lists it.
        sources: what it reads, left-most first.
        columns: names of the source's columns that are read at all.
        pseudo: which of ROWTIME, ROWPARTITION, ROWOFFSET and HEADERS columns are read.
        output: the columns of the result, keys first for a persistent query, in the order of SELECT for a transient one.
        limit: rows after which a transient query ends, or None.
        steps: the tree that EXPLAIN prints.
        evaluate: (batch, timestamps int64 (n,) of the records, null_values bool (n,) or None) -> Evaluated.
        parts: of a join, what is read of each of ``sources``: (columns, pseudo); empty for a query over one source.
        start: for a query that keeps something of the rows it has seen: makes ``evaluate`` with nothing kept yet.
        keys: of a pull query over a table, the keys of all rows that can pass its condition, None where any can.
    """

    query_id: str
    sources: tuple[Source, ...]
    columns: tuple[str, ...]
    pseudo: frozenset[str]
    output: tuple[Column, ...]
    limit: int | None
    steps: Step
    evaluate: Evaluate = field(compare=False, repr=False)
    start: Start | None = field(default=None, compare=False, repr=False)
    parts: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()
    keys: tuple[tuple[Any, ...], ...] | None = None

    def part(self, number: int) -> QueryPlan:
        """The plan as the input of one source sees it."""
        if not self.parts:
            return self
        columns, pseudo = self.parts[number]
        return replace(self, sources=(self.sources[number],), columns=columns, pseudo=pseudo)

    @property
    def source(self) -> Source:
        return self.sources[0]

    def __str__(self) -> str:
        return "\n".join(self.steps.lines())
