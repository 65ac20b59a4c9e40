"""Any CSV file with a header as typed columns.

The whole file is read once before anything is sent: a word in row three million turns its column to VARCHAR then,
and a ragged row is refused with its line, instead of half a file lying in a topic.
"""

from __future__ import annotations

import csv
import difflib
import io
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from gradstream.errors import DataError, UsageError
from producers.blocks import gathered
from producers.identifiers import stored, stored_all
from producers.text_input import MAX_EXPANDED, TextInput

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 2**20
LONGEST_ROW = 999_900
LETS_GO = 5.0  # seconds; Arrow's thread needs some microseconds
NULLS = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-NaN", "null", "NULL", "None")
"""Words for nothing in a column of numbers; in a column of text only the empty word is."""
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_LEADING_ZERO = r"^\s*[+-]?0[0-9xX]"
_INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class CsvFile:
    """A file that has been read through once and found good.

    Attributes:
        header: the columns' names as the file has them.
        schema: the same columns with names as KSQL stores them and the types that hold every row.
        rows: how many follow the header.
        bytes: of the text, expanded.
    """

    path: Path
    header: tuple[str, ...]
    schema: pa.Schema
    rows: int
    blank_lines: int = 0
    delimiter: str = ","
    max_expanded: int = MAX_EXPANDED

    def column(self, wanted: str) -> str:
        """The stored name of a column given as in the file or as stored.

        Raises:
            DataError: MISSING_COLUMN, with the nearest name.
        """
        if wanted in self.header:
            return str(self.schema.names[self.header.index(wanted)])
        if stored(wanted) in self.schema.names:
            return stored(wanted)
        near = difflib.get_close_matches(wanted, self.header, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self.header)}"
        raise DataError("MISSING_COLUMN", f"{self.path} has no column {wanted!r}; {hint}")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, some mebibytes at a time."""
        types = dict(zip(self.schema.names, self.schema.types, strict=True))
        try:
            for batch in gathered(_read(self, types), len(types)):
                yield _empty_text_to_null(batch, self.schema)
        except pa.ArrowInvalid as error:
            raise DataError(
                "FILE_CHANGED", f"{self.path} changed while it was read: {error}"
            ) from None


def scan(
    path: Path,
    *,
    delimiter: str = ",",
    max_expanded: int = MAX_EXPANDED,
    on_progress: Callable[[int], None] | None = None,
) -> CsvFile:
    """Read a file through once and find the type of each column.

    Args:
        max_expanded: bytes that a gzip file may grow to.
        on_progress: called with the number of rows seen so far.

    Raises:
        DataError: with the line wherever one is to blame.
    """
    if len(delimiter) != 1:
        raise UsageError("BAD_DELIMITER", f"--delimiter {delimiter!r} is not one character")
    header, blank = _header(path, delimiter, max_expanded)
    names = stored_all(header)
    untyped = pa.schema([(name, pa.string()) for name in names])
    file = CsvFile(path, tuple(header), untyped, 0, blank, delimiter, max_expanded)
    columns = [_Column() for _ in names]
    rows = 0
    try:
        for batch in _read(file, dict.fromkeys(names, pa.string())):
            _check_lengths(file, batch, rows)
            for column, values in zip(columns, batch.columns, strict=True):
                column.see(values)
            rows += len(batch)
            if on_progress:
                on_progress(rows)
    except pa.ArrowInvalid as error:
        raise _explained(file, error) from None
    if rows == 0:
        raise DataError("EMPTY_FILE", f"{path} has a header but no rows; add rows")
    schema = pa.schema([(name, column.type()) for name, column in zip(names, columns, strict=True)])
    return CsvFile(path, tuple(header), schema, rows, blank, delimiter, max_expanded)


class _Column:
    """What the values of one column have been so far."""

    def __init__(self) -> None:
        self.kind: pa.DataType | None = None  # None while all were empty
        self.fits_int = True

    def see(self, values: pa.StringArray) -> None:
        if self.kind == pa.string():
            return
        filled = values.filter(pc.invert(pc.is_in(values, value_set=_NULL_WORDS)))
        if len(filled) == 0:
            return
        for kind in _widenings(self.kind):
            if kind == pa.string() or self._holds(filled, kind):
                self.kind = kind
                return

    def _holds(self, values: pa.StringArray, kind: pa.DataType) -> bool:
        if kind == pa.bool_():
            return bool(pc.all(pc.is_in(values, value_set=_BOOLEAN_WORDS)).as_py())
        # 007 is somebody's key, and 0x1F would be read as a number too.
        if pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py():
            return False
        numbers = _cast(values, kind)
        if numbers is not None and kind == pa.int64():
            low_high = pc.min_max(numbers).as_py()
            self.fits_int &= _INT32[0] <= low_high["min"] and low_high["max"] <= _INT32[1]
        return numbers is not None

    def type(self) -> pa.DataType:
        """The narrowest type that held everything; text where nothing was there."""
        if self.kind is None:
            return pa.string()
        return pa.int32() if self.kind == pa.int64() and self.fits_int else self.kind


_NULL_WORDS = pa.array(NULLS)
_BOOLEAN_WORDS = pa.array(_TRUE + _FALSE)


def _widenings(kind: pa.DataType | None) -> Sequence[pa.DataType]:
    """The types to try for the next values of a column whose values so far were of a type."""
    if kind is None:
        return (pa.int64(), pa.float64(), pa.bool_(), pa.string())
    if kind == pa.int64():
        return (pa.int64(), pa.float64(), pa.string())
    return (kind, pa.string())


def _cast(values: pa.StringArray, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(values, kind)
    except pa.ArrowInvalid:
        pass
    try:
        return pc.cast(pc.utf8_trim_whitespace(values), kind)
    except pa.ArrowInvalid:
        return None


def _header(path: Path, delimiter: str, max_expanded: int) -> tuple[list[str], int]:
    """The names in the first line that is not blank, and the number of blank lines before it."""
    blank = 0
    for header in _rows(path, delimiter, max_expanded):
        if header:
            break
        blank += 1
    else:
        raise DataError("EMPTY_FILE", f"{path} is empty; it needs a header and rows")
    names = [name.strip() for name in header]
    if len(names) == 1 and (other := next((c for c in ";\t|," if c in names[0]), None)):
        raise DataError(
            "WRONG_DELIMITER",
            f"{path}: the header is one column at {delimiter!r}; give --delimiter {other!r}",
        )
    if all(_is_number(name) for name in names):
        raise DataError(
            "NO_HEADER", f"{path}: line {blank + 1} holds numbers; put a line with names above it"
        )
    for name in names:
        if name and names.count(name) > 1:
            places = ", ".join(str(at) for at, other in enumerate(names, 1) if other == name)
            raise DataError(
                "DUPLICATE_COLUMN",
                f"{path}: the columns {places} are all called {name!r}; give each its own name",
            )
    return names, blank


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read(file: CsvFile, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    with TextInput(file.path, file.max_expanded) as text:
        released = threading.Event()
        try:
            yield from arrow_csv.open_csv(
                pa.BufferedInputStream(pa.PythonFile(_Lent(text, released), "r"), BLOCK_BYTES),
                read_options=arrow_csv.ReadOptions(
                    use_threads=False,
                    block_size=BLOCK_BYTES,
                    column_names=list(types),
                    skip_rows=file.blank_lines,
                    skip_rows_after_names=1,
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=file.delimiter, newlines_in_values=True
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=types,
                    null_values=list(NULLS),
                    true_values=list(_TRUE),
                    false_values=list(_FALSE),
                    strings_can_be_null=False,
                ),
            )
        finally:
            # Arrow reads ahead in a thread of its own, which outlives what it reads for by a moment. A thread that asks
            # for Python's lock while the interpreter ends takes the process down with it (SIGABRT, before Python 3.14).
            # So it must have let go of our file, and may not hold Python's bytes: the stream above copies them.
            released.wait(LETS_GO)
        if text.quotes % 2:
            # Perhaps a quote that is never closed: Arrow would take the rest of the file for one value.
            for _ in numbered_rows(file.path, file.delimiter, file.max_expanded):
                pass


class _Lent(io.RawIOBase):
    """A file as Arrow sees it; says when Arrow's last thread has let go of it."""

    def __init__(self, file: TextInput, released: threading.Event) -> None:
        super().__init__()
        self._file, self._released = file, released

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._file.readinto(buffer)

    def __del__(self) -> None:
        self._released.set()


def _empty_text_to_null(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    nothing = pa.scalar(None, pa.string())
    columns = [
        pc.if_else(pc.equal(column, ""), nothing, column) if column.type == pa.string() else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


# What is to blame, found by a second, slower reading ------------------------------------------------------


def _rows(path: Path, delimiter: str, max_expanded: int) -> Iterator[list[str]]:
    for _, row in numbered_rows(path, delimiter, max_expanded):
        yield row


def numbered_rows(
    path: Path, delimiter: str = ",", max_expanded: int = MAX_EXPANDED
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it starts, values) of each row, header and blank lines included."""
    csv.field_size_limit(sys.maxsize)
    with TextInput(path, max_expanded) as text:
        lines = io.TextIOWrapper(io.BufferedReader(text), "utf-8-sig", newline="")
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        line = 1
        try:
            for row in reader:
                yield line, row
                line = reader.line_num + 1
        except UnicodeDecodeError:
            raise _bad_utf8(path, max_expanded) from None
        except csv.Error as error:
            raise DataError("BAD_CSV", f"{path}: line {line}: {error}; correct the row") from None


def _bad_utf8(path: Path, max_expanded: int) -> DataError:
    with TextInput(path, max_expanded) as text:
        line = next(n for n, data in enumerate(io.BufferedReader(text), 1) if not _is_utf8(data))
    fix = f"iconv -f ISO-8859-1 -t UTF-8 {path.name}"
    return DataError("BAD_UTF8", f"{path}: line {line} is not UTF-8; convert the file first: {fix}")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _explained(file: CsvFile, error: pa.ArrowInvalid) -> DataError:
    """Why Arrow refused the file, with the line."""
    width = len(file.header)
    longest = (0, 0)
    for line, row in numbered_rows(file.path, file.delimiter, file.max_expanded):
        if row and len(row) != width:
            return DataError(
                "RAGGED_ROW",
                f"{file.path}: line {line} has {len(row)} columns, the header has {width}; correct the row",
            )
        longest = max(longest, (sum(map(len, row)), line))
    size, line = longest
    if size > LONGEST_ROW:
        return _too_long(file.path, line, size)
    return DataError("BAD_CSV", f"{file.path}: {error}")


def _check_lengths(file: CsvFile, batch: pa.RecordBatch, before: int) -> None:
    """Raises RECORD_TOO_LARGE where a row has more text than a message may hold."""
    if batch.nbytes < LONGEST_ROW:
        return
    sizes = pa.array([0] * len(batch), pa.int64())
    for column in batch.columns:
        sizes = pc.add(sizes, pc.binary_length(column))
    largest = pc.max(sizes).as_py()
    if largest <= LONGEST_ROW:
        return
    wanted = before + int(pc.index(sizes, largest).as_py()) + 1  # the header is row 0
    filled = (
        line for line, row in numbered_rows(file.path, file.delimiter, file.max_expanded) if row
    )
    line = next(line for number, line in enumerate(filled) if number == wanted)
    raise _too_long(file.path, line, largest)


def _too_long(path: Path, line: int, size: int) -> DataError:
    return DataError(
        "RECORD_TOO_LARGE",
        f"{path}: the row in line {line} has {size:,} bytes, a message may have {LONGEST_ROW:,}; shorten it",
    )
