"""SELECT from Python: a pandas frame of what comes, or batches of NumPy columns while it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gradstream import console
from gradstream.config import Services
from gradstream.errors import RetryError, SqlError, UsageError
from gradstream.ksql import columns, sticky
from gradstream.shell import script
from gradstream.shell.client import KsqlClient, Rows
from gradstream.shell.script import Piece

if TYPE_CHECKING:
    import pandas as pd

PAUSE_SECONDS = (
    0.1  # without a row, after which time-outs are looked at and small batches are given
)

Ended = Literal["", "end", "limit", "timeout"]


@dataclass(slots=True)
class Harvest:
    """The rows of a query, taken until it ends, a limit is reached or the time is over.

    Attributes:
        ended: which of them it was.
    """

    rows: Rows
    limit: int | None = None
    timeout: float | None = None
    ended: Ended = ""

    def groups(self) -> Iterator[list[list[Any]]]:
        """Rows as many as came at once; an empty list now and then while none comes."""
        left = self.limit
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        with closing(self.rows.arriving(PAUSE_SECONDS)) as arriving:  # type: ignore[type-var]
            for group in arriving:
                taken = group if left is None else group[:left]
                yield taken
                if left is not None and (left := left - len(taken)) <= 0:
                    self.ended = "limit"
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    self.ended = "timeout"
                    return
        self.ended = "end"


def query_frame(
    sql: str,
    *,
    properties: Mapping[str, object] | None = None,
    limit: int | None = None,
    timeout: float | None = None,
    floats: bool = False,
    url: str | None = None,
) -> pd.DataFrame:
    """The rows of one SELECT as a pandas frame.

    >>> query_frame("SELECT * FROM payments EMIT CHANGES LIMIT 5;")  # doctest: +SKIP

    Args:
        sql: one SELECT; the last semicolon may be missing.
        properties: of this query, beyond those that SET left: {"auto.offset.reset": "earliest"}.
        limit: rows after which the query is ended.
        timeout: seconds after which a push query is ended and what came is returned.
        floats: DECIMAL as float64 instead of Decimal.
        url: of the server; by default the one that Services.find() finds.

    Returns:
        BIGINT as Int64, INTEGER Int32, BOOLEAN boolean, STRING string, where NULL is pd.NA; DOUBLE float64, where it is
        NaN; TIMESTAMP and DATE datetime64, where it is NaT; DECIMAL, BYTES, TIME, ARRAY, MAP and STRUCT as objects.
        ``attrs["ended"]`` says what ended the query: "end", "limit" or "timeout".

    Raises:
        UsageError: ENDLESS_QUERY, nothing would end the query.
        RetryError: KSQL_TIMEOUT, a pull query took longer than ``timeout``: some of its rows would be missing.
    """
    piece = select(sql)
    if piece.endless and limit is None and timeout is None:
        raise UsageError(
            "ENDLESS_QUERY",
            "EMIT CHANGES goes on for ever; add LIMIT to the statement, or give limit= or timeout= "
            "(stream() gives batches for as long as you take them)",
        )
    with underlined(sql), KsqlClient(address(url)) as client:
        sent = sticky.with_properties(properties)
        with client.query(piece.placed, sent, sticky.settings.variables) as rows:
            harvest = Harvest(rows, limit, timeout)
            found = [row for group in harvest.groups() for row in group]
            made = columns.frame(rows.names, rows.types, found, floats)
    if harvest.ended == "timeout" and not piece.pushes:
        raise RetryError(
            "KSQL_TIMEOUT",
            f"the query is not through after {timeout:g} s; give it a longer timeout=",
        )
    if note := only_new_rows(piece, sent, len(made)):
        console.notes.print(note, markup=False, soft_wrap=True)
    made.attrs["ended"] = harvest.ended
    return made


def stream(
    sql: str,
    *,
    batch_rows: int = 1024,
    properties: Mapping[str, object] | None = None,
    limit: int | None = None,
    timeout: float | None = None,
    floats: bool = False,
    url: str | None = None,
) -> Iterator[dict[str, columns.Array]]:
    """The rows of one SELECT in batches, as NumPy columns, while they come.

    >>> for batch in stream("SELECT TIME, AMOUNT FROM payments EMIT CHANGES;"):  # doctest: +SKIP
    ...     total += batch["AMOUNT"].sum()

    A batch has ``batch_rows`` rows, or fewer where no more came for a tenth of a second. Leaving the loop ends the query
    on the server. Arguments as for query_frame; a push query needs neither limit nor timeout.

    Returns:
        dictionaries from names to arrays of one length; see gradstream.ksql.columns.arrays for their types.
    """
    if batch_rows < 1:
        raise UsageError("USAGE", f"batch_rows={batch_rows}; a batch has one row at least")
    piece = select(sql)
    sent = sticky.with_properties(properties)
    batches = _batches(piece, sent, batch_rows, limit, timeout, floats, address(url))
    return _underlining(sql, batches)


def _batches(
    piece: Piece,
    properties: Mapping[str, object],
    most: int,
    limit: int | None,
    timeout: float | None,
    floats: bool,
    url: str,
) -> Iterator[dict[str, columns.Array]]:
    with (
        KsqlClient(url) as client,
        client.query(piece.placed, properties, sticky.settings.variables) as rows,
        closing(Harvest(rows, limit, timeout).groups()) as groups,  # type: ignore[type-var]
    ):
        waiting: list[list[Any]] = []
        since = time.monotonic()
        for group in groups:
            if not waiting:
                since = time.monotonic()
            waiting += group
            while len(waiting) >= most:
                yield columns.arrays(rows.names, rows.types, waiting[:most], floats)
                waiting = waiting[most:]
            if waiting and (not group or time.monotonic() - since > PAUSE_SECONDS):
                yield columns.arrays(rows.names, rows.types, waiting, floats)
                waiting = []
        if waiting:
            yield columns.arrays(rows.names, rows.types, waiting, floats)


def _underlining(
    sql: str, batches: Iterator[dict[str, columns.Array]]
) -> Iterator[dict[str, columns.Array]]:
    with underlined(sql), closing(batches):  # type: ignore[type-var]
        yield from batches


@contextmanager
def underlined(text: str) -> Iterator[None]:
    """Has a refused statement's error show the line of this text, with carets under the place."""
    try:
        yield
    except SqlError as error:
        error.excerpt = script.excerpt(text, error.line, error.column) or error.excerpt
        raise


def select(sql: str) -> Piece:
    """The one SELECT of a text.

    Raises:
        UsageError: NOT_A_SELECT.
    """
    pieces = script.split(sql, finish=True)
    if len(pieces) != 1 or pieces[0].verb != "SELECT":
        raise UsageError(
            "NOT_A_SELECT",
            f"one SELECT is wanted here, not {sql.strip()[:40]!r}; other statements go to %%ksql or KSQLAPI",
        )
    return pieces[0]


def address(url: str | None) -> str:
    """That of the server: as given, else as Services.find() finds it."""
    return Services.find(ksql_url=url).ksql_url


def only_new_rows(piece: Piece, properties: Mapping[str, object], count: int) -> str:
    """What to say where a query came back empty because it began with the rows to come."""
    if count or not piece.pushes or sticky.from_the_oldest(properties):
        return ""
    return (
        "no rows: the query saw new ones only, as ksqlDB does unless told otherwise; "
        "SET 'auto.offset.reset'='earliest'; has it begin with the oldest"
    )
