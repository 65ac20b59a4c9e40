"""A batch of columns through a plan: filter, key, projection.

Columns that are only passed on stay Arrow; an item that has to be computed gets Python values of just the columns
that it reads, unless the whole of it can be done on Arrow columns (``columnwise``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.engine.language.analyze import Typed
from gradstream.engine.language.codegen import Compiled, RowErrors
from gradstream.engine.language.columnwise import columnwise
from gradstream.engine.language.query import Evaluated, RowError
from gradstream.engine.types import SqlType, arrow_type, from_python, to_python

Indices = npt.NDArray[np.int64]
Timed: TypeAlias = Callable[[pa.RecordBatch, Indices], tuple[Indices, list[tuple[int, str]]]]


@dataclass(frozen=True, slots=True)
class Output:
    """One column of the result."""

    name: str
    type: SqlType
    item: Typed


class Rows:
    """Some rows of a batch: the columns of those rows as Arrow or as Python values, each made at most once."""

    def __init__(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        rows: Indices | None,
        types: dict[str, SqlType],
    ) -> None:
        self.batch = batch
        self.timestamps = timestamps
        self.rows = rows
        self.types = types
        self.size = batch.num_rows if rows is None else len(rows)
        self._arrow: dict[str, pa.Array] = {}
        self._python: dict[str, list[Any]] = {}

    def arrow(self, name: str) -> pa.Array:
        if name not in self._arrow:
            if name == "ROWTIME":
                whole = pa.array(self.timestamps, pa.int64())
            else:
                whole = self.batch.column(name)
            self._arrow[name] = whole if self.rows is None else whole.take(pa.array(self.rows))
        return self._arrow[name]

    def python(self, name: str) -> list[Any]:
        if name not in self._python:
            self._python[name] = to_python(self.arrow(name), self.types[name])
        return self._python[name]


class Item:
    """An expression ready to run on columns."""

    def __init__(self, item: Typed, label: str) -> None:
        self.item = item
        self.label = label
        self.passed_on = item.detail if item.kind == "column" else None
        self.fast = None if self.passed_on else columnwise(item)
        self._compiled: Compiled | None = None

    @property
    def compiled(self) -> Compiled:
        """Compiled when first needed: a column-wise item may never be."""
        if self._compiled is None:
            self._compiled = Compiled(self.item)
        return self._compiled

    def array(self, rows: Rows, errors: list[RowError]) -> pa.Array:
        if self.passed_on is not None:
            return rows.arrow(self.passed_on)
        if self.fast is not None:
            found = self.fast(rows.arrow)
            if isinstance(found, pa.Array):
                return found
        if self.item.type is None:
            raise AssertionError("analysis lets no untyped item through")
        return self._converted(self.values(rows, errors), self.item.type, errors, rows)

    def _converted(
        self, values: list[Any], type_: SqlType, errors: list[RowError], rows: Rows
    ) -> pa.Array:
        try:
            return from_python(values, type_)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            # One value has no place in the type; find it, so that only its row becomes NULL.
            for at, value in enumerate(values):
                try:
                    from_python([value], type_)
                except (
                    pa.ArrowInvalid,
                    pa.ArrowTypeError,
                    OverflowError,
                    UnicodeEncodeError,
                ) as error:
                    values[at] = None
                    errors.append((_row(rows, at), self.label, str(error)))
            return from_python(values, type_)

    def values(self, rows: Rows, errors: list[RowError]) -> list[Any]:
        found: RowErrors = []
        values = self.compiled.run(
            [rows.python(name) for name in self.compiled.columns], rows.size, found
        )
        errors.extend((_row(rows, at), self.label, message) for at, message in found)
        return values

    def mask(self, rows: Rows, errors: list[RowError]) -> npt.NDArray[np.bool_]:
        """For a condition: True where it holds; an error counts as False."""
        found = None if self.fast is None else self.fast(rows.arrow)
        if isinstance(found, pa.Array):
            truth: npt.NDArray[np.bool_] = found.fill_null(False).to_numpy(zero_copy_only=False)
            return truth
        return np.fromiter(
            (value is True for value in self.values(rows, errors)), np.bool_, rows.size
        )


def _row(rows: Rows, at: int) -> int:
    return at if rows.rows is None else int(rows.rows[at])


class Evaluator:
    """The function behind QueryPlan.evaluate.

    Args:
        types: of all columns that may be read.
        where: the condition, or None.
        tables: calls of table functions by the names of the columns as which the others read their values; each row
            becomes as many as the longest of them has, the others being NULL where they have no more.
        keys, values: the columns of the result.
        key_columns: names of what does not come from the record's value.
        time: computes the output record's timestamp in milliseconds from the values, or None to keep ROWTIME.
    """

    def __init__(
        self,
        types: dict[str, SqlType],
        where: Typed | None,
        tables: Mapping[str, Typed],
        keys: Sequence[Output],
        values: Sequence[Output],
        key_columns: frozenset[str] = frozenset(),
        time: Timed | None = None,
    ) -> None:
        self.types = types
        self.where = None if where is None else Item(where, "WHERE")
        self.tables = [
            (name, call, Item(call.arguments[0], "SELECT")) for name, call in tables.items()
        ]
        self.keys = [Item(output.item, output.name) for output in keys]
        self.values = [Item(output.item, output.name) for output in values]
        self.key_schema = schema_of(keys)
        self.value_schema = schema_of(values)
        self.time = time
        # Keys that a record without a value still has: those of the record's own key.
        self.from_value = [bool(item.item.columns() - key_columns) for item in self.keys]

    def __call__(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        null_values: npt.NDArray[np.bool_] | None = None,
    ) -> Evaluated:
        errors: list[RowError] = []
        nulls = null_values if null_values is not None and null_values.any() else None
        kept = self._kept(batch, timestamps, nulls, errors)
        if self.tables:
            batch, timestamps, kept = self._exploded(batch, timestamps, kept, nulls, errors)
            found: list[RowError] = []
            answer = self._answer(batch, timestamps, None, None, found)
            answer.errors = errors + [
                (int(kept[row]), label, text) for row, label, text in answer.errors
            ]
            answer.rows = kept[answer.rows]
            return answer
        return self._answer(batch, timestamps, kept, nulls, errors)

    def _exploded(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        kept: Indices | None,
        nulls: npt.NDArray[np.bool_] | None,
        errors: list[RowError],
    ) -> tuple[pa.RecordBatch, Indices, Indices]:
        """The rows that table functions make, with their columns, and the position of the row that each came from."""
        at = np.arange(batch.num_rows, dtype=np.int64) if kept is None else kept
        if nulls is not None:
            at = at[~nulls[at]]
        rows = Rows(batch, timestamps, at, self.types)
        made = []
        for _, call, item in self.tables:
            assert item.item.type is not None
            given = to_python(item.array(rows, errors), item.item.type)
            made.append([call.detail(value) for value in given])
        counts = [max(map(len, of)) for of in zip(*made, strict=True)]
        source = np.repeat(at, counts)
        batch = batch.take(pa.array(source))
        for (name, call, _), lists in zip(self.tables, made, strict=True):
            values = [
                of[k] if k < len(of) else None
                for of, count in zip(lists, counts, strict=True)
                for k in range(count)
            ]
            assert call.type is not None
            batch = batch.append_column(name, from_python(values, call.type))
        return batch, timestamps[source], source

    def _answer(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        kept: Indices | None,
        nulls: npt.NDArray[np.bool_] | None,
        errors: list[RowError],
    ) -> Evaluated:
        rows = Rows(batch, timestamps, kept, self.types)
        null_out = np.zeros(rows.size, np.bool_)
        if nulls is not None and self.where is None:
            null_out = nulls
        keys = self._keyed(rows, null_out, errors)
        values = self._projected(batch, timestamps, rows, null_out, errors)
        positions = np.arange(batch.num_rows, dtype=np.int64) if kept is None else kept
        times = timestamps if kept is None else timestamps[kept]
        answer = Evaluated(keys, values, positions, times, null_out, errors)
        return answer if self.time is None else timed(answer, self.time)

    def _kept(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        nulls: npt.NDArray[np.bool_] | None,
        errors: list[RowError],
    ) -> Indices | None:
        """The rows that WHERE lets through, None for all. A record without a value never passes a WHERE."""
        if self.where is None:
            return None
        before = None if nulls is None else np.flatnonzero(~nulls)
        rows = Rows(batch, timestamps, before, self.types)
        mask = self.where.mask(rows, errors)
        if before is None:
            return None if mask.all() else np.flatnonzero(mask)
        return before[mask]

    def _keyed(
        self, rows: Rows, null_out: npt.NDArray[np.bool_], errors: list[RowError]
    ) -> pa.RecordBatch:
        """The key columns; what is computed from the value of a record without one is NULL."""
        arrays = []
        for item, from_value in zip(self.keys, self.from_value, strict=True):
            array = item.array(rows, errors)
            if from_value and null_out.any():
                array = pc.if_else(pa.array(null_out), pa.scalar(None, array.type), array)
            arrays.append(array)
        return assembled(arrays, self.key_schema, rows.size)

    def _projected(
        self,
        batch: pa.RecordBatch,
        timestamps: Indices,
        rows: Rows,
        null_out: npt.NDArray[np.bool_],
        errors: list[RowError],
    ) -> pa.RecordBatch:
        """The value columns; records without a value are not computed and come out as rows of NULLs."""
        if not null_out.any():
            arrays = [item.array(rows, errors) for item in self.values]
            return assembled(arrays, self.value_schema, rows.size)
        some = np.flatnonzero(~null_out)
        present = Rows(batch, timestamps, some, self.types)
        back = np.full(rows.size, -1, np.int64)
        back[some] = np.arange(len(some))
        spread = pa.array(back, mask=null_out)
        arrays = [item.array(present, errors).take(spread) for item in self.values]
        return assembled(arrays, self.value_schema, rows.size)


def timed(answer: Evaluated, time: Timed, keeps: npt.NDArray[np.bool_] | None = None) -> Evaluated:
    """With the times of the sink's own TIMESTAMP column; a row without one is dropped and told.

    Args:
        keeps: rows that keep the time they have.
    """
    whole = pa.RecordBatch.from_arrays(
        [*answer.keys.columns, *answer.values.columns],
        names=[*answer.keys.schema.names, *answer.values.schema.names],
    )
    times, bad = time(whole, answer.timestamps)
    if keeps is not None:
        times = np.where(keeps, answer.timestamps, times)
        bad = [(at, text) for at, text in bad if not keeps[at]]
    errors = answer.errors + [(int(answer.rows[at]), "TIMESTAMP", text) for at, text in bad]
    keep = np.flatnonzero(times >= 0)
    if len(keep) == len(times):
        return replace(answer, timestamps=times, errors=errors)
    taken = pa.array(keep)
    return Evaluated(
        answer.keys.take(taken) if answer.keys.num_columns else without_columns(len(keep)),
        answer.values.take(taken),
        answer.rows[keep],
        times[keep],
        answer.null_values[keep],
        errors,
        None if answer.windows is None else [answer.windows[at] for at in keep.tolist()],
    )


def schema_of(outputs: Sequence[Output]) -> pa.Schema:
    return pa.schema([pa.field(output.name, arrow_type(output.type)) for output in outputs])


def without_columns(size: int) -> pa.RecordBatch:
    """A batch without columns that still has its rows."""
    return pa.RecordBatch.from_struct_array(pa.array([{}] * size, pa.struct([])))


def assembled(arrays: list[pa.Array], schema: pa.Schema, size: int) -> pa.RecordBatch:
    if not arrays:
        return without_columns(size)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
