"""Kaggle's creditcard.csv, or any file with its 31 columns, as the 34-column schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.errors import DataError
from producers.blocks import streams
from producers.csv_file import NULLS, CsvFile, numbered_rows, scan
from producers.fraud import FRAUD_SCHEMA, KEPT, with_identity
from producers.text_input import MAX_EXPANDED

_LABELS = ("0", "1")


@dataclass(frozen=True)
class CreditCards:
    """A checked file; Id counts its rows, Timestamp follows its Time, User is drawn from the seed."""

    file: CsvFile
    seed: int = 444

    schema = FRAUD_SCHEMA

    @property
    def rows(self) -> int:
        return self.file.rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the order of the file."""
        user = streams(self.seed, 1)[0]
        first = 0
        for batch in self.file.batches():
            # R writes the second 100,000 as 1e+05, so Time may come as a DOUBLE.
            time = np.rint(batch.column("TIME").to_numpy(zero_copy_only=False)).astype(np.int32)
            others = [batch.column(name).cast(FRAUD_SCHEMA.field(name).type) for name in KEPT[1:]]
            yield with_identity(first, time, others, user)
            first += len(batch)


def credit_cards(
    path: Path,
    *,
    seed: int = 444,
    max_expanded: int = MAX_EXPANDED,
    on_progress: Callable[[int], None] | None = None,
) -> CreditCards:
    """Read the file through once, before anything is sent.

    Raises:
        DataError: MISSING_COLUMN, NOT_A_NUMBER, NULL_FIELD or BAD_LABEL with the line, or as ``scan``.
    """
    file = scan(path, max_expanded=max_expanded, on_progress=on_progress)
    missing = [name for name in KEPT if name not in file.schema.names]
    if missing:
        raise DataError(
            "MISSING_COLUMN",
            f"{path} lacks {', '.join(missing)}; it needs Time, V1 to V28, Amount and Class, as Kaggle's creditcard.csv",
        )
    for name in KEPT[:-1]:
        if file.schema.field(name).type in (pa.string(), pa.bool_()):
            raise _blame(file, name, "NOT_A_NUMBER", _is_no_number, "is not a number")
    _check_time_and_labels(file)
    return CreditCards(file, seed)


def _check_time_and_labels(file: CsvFile) -> None:
    for batch in file.batches():
        if batch.column("TIME").null_count:
            raise _blame(file, "TIME", "NULL_FIELD", lambda text: text in NULLS, "is empty")
        labels = batch.column("CLASS").drop_null().cast(pa.string())
        if not pc.all(pc.is_in(labels, value_set=pa.array(_LABELS)), min_count=0).as_py():
            raise _blame(file, "CLASS", "BAD_LABEL", _is_no_label, "is neither 0 nor 1 nor empty")


def _is_no_number(text: str) -> bool:
    if text in NULLS:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return text.strip().lstrip("+-")[:1] == "0" and text.strip().lstrip("+-")[1:2].isdigit()


def _is_no_label(text: str) -> bool:
    return text not in _LABELS and text not in NULLS


def _blame(
    file: CsvFile, name: str, code: str, wrong: Callable[[str], bool], what: str
) -> DataError:
    """The error for the first row whose value in a column is wrong, with its line."""
    at = file.schema.names.index(name)
    rows = numbered_rows(file.path, file.delimiter, file.max_expanded)
    next(row for _, row in rows if row)  # the header
    line, text = next(
        ((line, row[at]) for line, row in rows if row and wrong(row[at])), (0, "a value")
    )
    return DataError(
        code, f"{file.path}: line {line}: {file.header[at]} {what}: {text[:40]!r}; correct the row"
    )
