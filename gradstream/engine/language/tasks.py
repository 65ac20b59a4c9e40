"""The tasks among which Kafka Streams divides a query, for each of them has a time of its own.

A row belongs to the task of its partition. Where its key changes, Kafka Streams sends it through a topic of its own, so
that equal keys meet; from there on it belongs to the task of the partition to which its new key goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from gradstream.engine.catalog import Format
from gradstream.engine.language.functions.aggregates import frozen
from gradstream.engine.language.state import Store
from gradstream.engine.types import SqlType, from_python

PARTITION = "ROWPARTITION"  # the column that a batch has where its rows' tasks matter
MOST = 1 << 16  # keys of which it is remembered where they go
KeyPartitions: TypeAlias = Callable[[Format, pa.RecordBatch, int], Sequence[int]]
"""(format, keys, number of partitions) -> the partition to which each key goes."""


class Tasks:
    """How many partitions the topics have through which rows go whose key changes.

    That is as many as the left-most source had when the query had its first row: more of them later would move keys
    away from what is kept of them.

    Args:
        beside: name of a store, with whose changes the number is logged.
        partitions: of the left-most source, now.
    """

    def __init__(self, beside: str, partitions: int, of_keys: KeyPartitions) -> None:
        self.partitions, self.of_keys = partitions, of_keys
        self.kept: Store[str, int] = Store(f"{beside}/tasks")

    def stores(self) -> Sequence[Store[Any, Any]]:
        return (self.kept,)

    def restored(self) -> None:
        pass

    @property
    def count(self) -> int:
        if "count" not in self.kept:
            self.kept["count"] = self.partitions
        return self.kept["count"]


class Moved:
    """Tells the tasks of rows whose key changes.

    Args:
        format_: in which their new keys are written.
        columns: of the new key.
    """

    def __init__(self, tasks: Tasks, format_: Format, columns: dict[str, SqlType]) -> None:
        self.tasks, self.format, self.columns = tasks, format_, columns
        self.known: dict[Any, int] = {}

    def places(self, keys: Sequence[tuple[Any, ...]]) -> list[int]:
        """The task of each key; a key of which a part is NULL goes nowhere, and is in 0."""
        if self.tasks.count == 1:
            return [0] * len(keys)
        if len(self.known) > MOST:
            self.known.clear()
        lookups = [frozen(key) for key in keys]
        new = {
            lookup: key
            for lookup, key in zip(lookups, keys, strict=True)
            if lookup not in self.known and all(part is not None for part in key)
        }
        if new:
            self.known.update(zip(new, self.asked(list(new.values())), strict=True))
        return [self.known.get(lookup, 0) for lookup in lookups]

    def asked(self, keys: list[tuple[Any, ...]]) -> Sequence[int]:
        columns = zip(zip(*keys, strict=True), self.columns.values(), strict=True)
        arrays = [from_python(list(values), type_) for values, type_ in columns]
        batch = pa.RecordBatch.from_arrays(arrays, list(self.columns))
        return self.tasks.of_keys(self.format, batch, self.tasks.count)
