"""Rows in any of the shapes that a test has them in, as record batches of the columns that a topic takes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from gradstream.errors import DataError, UsageError


class Generator(Protocol):
    """What makes record batches, such as producers.regression.Regression."""

    def batches(self) -> Iterable[pa.RecordBatch]: ...


Rows: TypeAlias = "Sequence[Mapping[str, Any]] | Generator | Iterable[pa.RecordBatch] | Any"
"""Dicts, a pandas.DataFrame, an Arrow table or batch, an iterable of batches, or a generator of them."""


def batches(rows: Rows, columns: pa.Schema | None = None) -> Iterator[pa.RecordBatch]:
    """The rows as record batches, all of one schema.

    Args:
        columns: names and types that the batches get; without them they keep what they have, or what the first
            values of dicts look like.

    Raises:
        UsageError: NO_ROWS, BAD_ROWS.
        DataError: UNKNOWN_COLUMN, BAD_VALUE.
    """
    if isinstance(rows, pa.RecordBatch | pa.Table):
        found: Iterable[pa.RecordBatch] = pa.table(rows).to_batches()
    elif hasattr(rows, "batches"):
        found = rows.batches()
    elif type(rows).__module__.startswith("pandas"):
        found = [pa.RecordBatch.from_pandas(rows, preserve_index=False)]
    else:
        found = _of_iterable(rows, columns)
    for batch in found:
        yield usual(batch) if columns is None else fitted(batch, columns)


def _of_iterable(rows: Rows, columns: pa.Schema | None) -> Iterable[pa.RecordBatch]:
    try:
        source: Iterator[Any] = iter(rows)  # type: ignore[arg-type]
    except TypeError:
        raise _bad_rows(rows) from None
    first = next(source, None)
    if first is None:
        raise UsageError("NO_ROWS", "there are no rows to send; give at least one")
    whole = chain([first], source)
    if isinstance(first, pa.RecordBatch):
        return whole
    if isinstance(first, Mapping):
        return [_of_dicts(list(whole), columns)]
    raise _bad_rows(first)


def _bad_rows(found: object) -> UsageError:
    return UsageError(
        "BAD_ROWS",
        f"{type(found).__name__} is no row; give dicts, text, a pandas frame, Arrow batches or a generator of them",
    )


def _of_dicts(rows: list[Mapping[str, Any]], columns: pa.Schema | None) -> pa.RecordBatch:
    """Dicts may leave out keys, which are then null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if columns is None:
        return _batch({name: _array(name, [row.get(name) for row in rows], None) for name in names})
    fits = _fits(names, columns)
    whole = [{fits[name]: value for name, value in row.items()} for row in rows]
    return _batch(
        {
            field.name: _array(field.name, [row.get(field.name) for row in whole], field.type)
            for field in columns
        }
    )


def _batch(arrays: Mapping[str, pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))


def _array(name: str, values: list[Any], type_: pa.DataType | None) -> pa.Array:
    try:
        made = pa.array(values, type_)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise _bad_value(name, type_, error) from None
    return made


def _bad_value(name: str, type_: pa.DataType | None, error: Exception) -> DataError:
    wanted = "values of one type" if type_ is None else f"{type_}"
    return DataError("BAD_VALUE", f"column {name} takes {wanted}: {error}")


def usual(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in the types that the producers' formats know: numbers and text as KSQL has them."""
    return _batch(
        {
            field.name: column
            if (type_ := _usual(field.type)) == field.type
            else column.cast(type_)
            for field, column in zip(batch.schema, batch.columns, strict=True)
        }
    )


def _usual(type_: pa.DataType) -> pa.DataType:
    kinds = pa.types
    if kinds.is_integer(type_) and type_ not in (pa.int32(), pa.int64()):
        return pa.int64() if type_.bit_width > 16 else pa.int32()
    if kinds.is_floating(type_):
        return pa.float64()
    if kinds.is_null(type_) or kinds.is_large_string(type_) or kinds.is_dictionary(type_):
        return pa.string()
    return type_


def _fits(names: Sequence[str], columns: pa.Schema) -> dict[str, str]:
    """Each name's column: the same, or the same in upper case, as in a statement.

    Raises:
        DataError: UNKNOWN_COLUMN.
    """
    fits = {name: name if name in columns.names else name.upper() for name in names}
    for name, column in fits.items():
        if column not in columns.names:
            near = difflib.get_close_matches(column, columns.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(columns.names)}"
            raise DataError("UNKNOWN_COLUMN", f"the topic's stream has no column {name!r}; {hint}")
    return fits


def fitted(batch: pa.RecordBatch, columns: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly these columns; those that it lacks are null."""
    given = {column: name for name, column in _fits(batch.schema.names, columns).items()}
    arrays = []
    for field in columns:
        if field.name not in given:
            arrays.append(pa.nulls(len(batch), field.type))
            continue
        try:
            arrays.append(batch.column(given[field.name]).cast(field.type))
        except pa.ArrowException as error:
            raise _bad_value(field.name, field.type, error) from None
    return pa.RecordBatch.from_arrays(arrays, schema=columns)
