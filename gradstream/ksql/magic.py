"""``%%ksql``: statements in a notebook's cell, their answers as tables, rows as they come."""

from __future__ import annotations

import argparse
import html
import shlex
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import IPython.display
from IPython.core.interactiveshell import InteractiveShell

from gradstream import command
from gradstream.errors import UsageError
from gradstream.ksql import columns, sticky
from gradstream.ksql.frames import Harvest, address, only_new_rows, underlined
from gradstream.shell import answers, script, tables
from gradstream.shell.client import KsqlClient
from gradstream.shell.script import Piece

display: Any = IPython.display.display  # has no types
LAST = "_ksql"  # the variable that always has the newest frame
RUNNING = "more may come; interrupt the kernel to end it"
UPDATE_SECONDS = 0.3  # between looks of a table that grows
_ABOUT = """KSQL statements, one after the other.

    %%ksql [--into NAME] [--limit N] [--timeout SECONDS] [--set NAME=VALUE] [--rows N] [--keep N] [--floats] [--url URL]

SELECT … EMIT CHANGES shows a table that grows; interrupt the kernel to end the query and keep what came. The rows of the
last SELECT are in the variable _ksql as a pandas frame, and in the one that --into names. SET and DEFINE hold for all
later cells, for query_frame, stream and KSQLAPI, until UNSET and UNDEFINE.

    %%ksql --into payments --limit 1000
    SET 'auto.offset.reset'='earliest';
    SELECT TIME, AMOUNT FROM creditcardfraud_source EMIT CHANGES;
"""


def register(shell: InteractiveShell) -> None:
    """Adds ``%%ksql``, and ``%ksql`` for a single line."""

    def ksql(line: str, cell: str | None = None) -> None:
        if cell is None:
            _Cell(shell, _options(""), line).run()
        else:
            _Cell(shell, _options(line), cell).run()

    ksql.__doc__ = _ABOUT
    adding: Any = shell.register_magic_function
    adding(ksql, "line_cell", "ksql")


def _options(line: str) -> argparse.Namespace:
    """The flags behind ``%%ksql``.

    Raises:
        UsageError: one of them is wrong.
    """
    parser = command.Parser(prog="%%ksql", add_help=False)
    parser.add_argument("--into", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--keep", type=int, default=100_000)
    parser.add_argument("--floats", action="store_true")
    parser.add_argument("--url")
    try:
        options = parser.parse_args(shlex.split(line))
    except UsageError as error:
        raise UsageError(
            "USAGE", f"%%ksql: {error.message.partition(';')[0]}; type %%ksql?"
        ) from None
    except ValueError as error:
        raise UsageError("USAGE", f"%%ksql: {error} in {line!r}") from None
    if options.into and not options.into.isidentifier():
        raise UsageError("USAGE", f"%%ksql: --into {options.into!r} is no name of a variable")
    if not all("=" in text for text in options.set):
        raise UsageError("USAGE", "%%ksql: --set takes NAME=VALUE")
    return options


@dataclass(slots=True)
class _Cell:
    """One cell that is run."""

    shell: InteractiveShell
    options: argparse.Namespace
    text: str

    def run(self) -> None:
        """Statement by statement, until the first that is refused or interrupted."""
        with underlined(self.text):
            pieces = script.split(self.text, finish=True)
            with KsqlClient(address(self.options.url)) as client:
                for number, piece in enumerate(pieces, 1):
                    if not self._run(client, piece):
                        if left := len(pieces) - number:
                            _say(f"interrupted; not run: the {left} statement(s) below it")
                        return

    def _run(self, client: KsqlClient, piece: Piece) -> bool:
        """False when it was interrupted."""
        if piece.verb == "SELECT":
            return self._select(client, piece)
        if piece.verb == "PRINT":
            return self._print(client, piece)
        if piece.verb in ("UNSET", "DEFINE", "UNDEFINE") and sticky.settings.remember(piece):
            _say(_settings())
            return True
        entities = client.execute(piece.placed, self._properties(), sticky.settings.variables)
        if piece.verb == "SET" and sticky.settings.remember(piece):
            _say(_settings())
        for entity in entities:
            _show(entity)
        return True

    def _properties(self) -> dict[str, object]:
        return sticky.with_properties(dict(text.split("=", 1) for text in self.options.set))

    def _select(self, client: KsqlClient, piece: Piece) -> bool:
        properties = self._properties()
        with client.query(piece.placed, properties, sticky.settings.variables) as rows:
            harvest = Harvest(rows, self.options.limit, self.options.timeout)
            live = _Live(rows.names, self.options.rows, self.options.keep, piece.pushes)
            why = "error"
            try:
                with closing(harvest.groups()) as groups:  # type: ignore[type-var]
                    for group in groups:
                        live.add(group)
                why = harvest.ended
            except KeyboardInterrupt:
                why = "interrupted"
            finally:
                frame = columns.frame(rows.names, rows.types, live.rows, self.options.floats)
                frame.attrs["ended"] = why
                for name in filter(None, (LAST, self.options.into)):
                    self.shell.user_ns[name] = frame
                live.finish(why, only_new_rows(piece, properties, live.count))
        return why != "interrupted"

    def _print(self, client: KsqlClient, piece: Piece) -> bool:
        with client.lines(piece.placed, self._properties(), sticky.settings.variables) as lines:
            live = _Live(["PRINT"], self.options.rows, self.options.keep, True)
            try:
                for line in lines:
                    live.add([[line]])
                    if live.count == self.options.limit:
                        break
            except KeyboardInterrupt:
                live.finish("interrupted")
                return False
            live.finish("end")
        return True


@dataclass(slots=True)
class _Live:
    """A table that grows, in one place of the cell's output.

    Args:
        shown: rows that are shown: the newest where they keep coming, else the first.
        kept: rows that are kept, the newest.
    """

    names: Sequence[str]
    shown: int
    kept: int
    newest: bool
    count: int = 0
    _rows: deque[list[Any]] = field(init=False)
    _place: Any = None
    _drawn: int = -1  # count of that time
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._rows = deque(maxlen=self.kept)

    @property
    def rows(self) -> list[list[Any]]:
        return list(self._rows)

    def add(self, group: list[list[Any]]) -> None:
        self._rows.extend(group)
        self.count += len(group)
        now = time.monotonic()
        if self.count != self._drawn and now - self._last > UPDATE_SECONDS:
            self._last = now
            self._draw(RUNNING if self.newest else "running")

    def finish(self, why: str, note: str = "") -> None:
        ends = {
            "limit": "up to the limit",
            "timeout": "until the time-out",
            "interrupted": "interrupted",
        }
        if self.count > self.kept:
            note = f"the newest {self.kept:,} are kept (--keep)"
        self._draw("; ".join(filter(None, (ends.get(why, ""), note))))

    def _draw(self, state: str) -> None:
        self._drawn = self.count
        rows = self.rows
        part = rows[-self.shown :] if self.newest else rows[: self.shown]
        told = f"{self.count:,} row{'' if self.count == 1 else 's'}"
        if len(part) < self.count:
            told += f", the {'newest' if self.newest else 'first'} {len(part):,} shown"
        data = _bundle(self.names, part, f"{told}; {state}" if state else told)
        if self._place is None:
            self._place = display(data, raw=True, display_id=True)
        else:
            self._place.update(data, raw=True)


def _settings() -> str:
    """What holds from here on, on one line."""
    kept = {**sticky.settings.properties, **sticky.settings.variables}
    return "set: " + (", ".join(f"{name} = {value}" for name, value in kept.items()) or "nothing")


def _show(entity: Mapping[str, Any]) -> None:
    """An answer: what it says, and the tables and trees in it."""
    if told := answers.said(entity):
        _say(told)
    for block in answers.blocks(entity):
        match block:
            case answers.Table():
                display(_bundle(block.names, block.rows, block.title), raw=True)
            case answers.Steps():
                _say(block.text())
            case _:
                _say(block)


def _say(text: str) -> None:
    display({"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}, raw=True)


def _bundle(names: Sequence[str], rows: Iterable[Sequence[object]], note: str) -> dict[str, str]:
    """A table for a notebook and for a terminal, the note above it."""
    cells = [[tables.text(value) for value in row] for row in rows]
    lines = tables.lines(names, cells)
    plain = "\n".join([note, *lines] if note else lines)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells
    )
    told = f"<p>{html.escape(note)}</p>" if note else ""
    table = f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return {"text/plain": plain, "text/html": told + table}
