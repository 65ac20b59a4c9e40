"""Statements on a connection, one after the other: what they leave for the next, and where their results go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gradstream.errors import SqlError
from gradstream.shell import answers, output, script
from gradstream.shell.client import KsqlClient, RefusedStatementError
from gradstream.shell.output import Output
from gradstream.shell.script import Piece
from gradstream.shell.settings import Settings


@dataclass(slots=True, kw_only=True)
class Session(Settings):
    """The settings of statements, the connection, and where their results go.

    Attributes:
        hint: told what to know while a query runs.
        early: how to say that a query shall start with the oldest row.
    """

    client: KsqlClient
    output: Output
    hint: Callable[[str], None]
    early: str = "SET 'auto.offset.reset'='earliest';"

    def run(self, piece: Piece) -> str:
        """Carries out one statement and prints what it gives; returns what to say of it, where there is something.

        Raises:
            RefusedStatementError: the server refuses it.
        """
        if self.remember(piece):
            return ""
        if piece.verb == "PRINT":
            with self.client.lines(piece.placed, self.properties, self.variables) as lines:
                return _counted(output.lines(lines), "line")
        if piece.verb == "SELECT":
            with self.client.query(piece.placed, self.properties, self.variables) as rows:
                self._hint_at_new_rows(piece)
                return _counted(self.output.rows(rows, piece.pushes), "row")
        entities = self.client.execute(piece.placed, self.properties, self.variables)
        for entity in entities:
            self.output.entity(entity)
        return "; ".join(filter(None, map(answers.said, entities)))

    def _hint_at_new_rows(self, piece: Piece) -> None:
        """Somebody may wait in vain for rows that are there already."""
        if piece.pushes and not any("auto.offset.reset" in name for name in self.properties):
            self.hint(
                f"waiting for new rows; Ctrl-C ends it; to start with the oldest row, {self.early}"
            )


def _counted(number: int, of: str) -> str:
    return f"{number:,} {of}{'' if number == 1 else 's'}"


@contextmanager
def placed(name: str, text: str) -> Iterator[None]:
    """An error in here names the file, if there is one, and shows the line of the text with the faulty word."""
    try:
        yield
    except SqlError as error:
        message = f"{name}: {error.bare_message}" if name else error.bare_message
        if isinstance(error, RefusedStatementError) and error.code == "ALREADY_EXISTS":
            message += "; to run it again, write CREATE … IF NOT EXISTS, or DROP it first"
        place = _excerpt(text, error)
        raise SqlError(error.code, message, error.line, error.column, place) from None


def _excerpt(text: str, error: SqlError) -> str:
    """The line and its underlining: the text's, but the server's where variables have moved its columns."""
    ours = script.excerpt(text, error.line, error.column)
    if "${" in ours and error.excerpt:
        return error.excerpt
    return ours or error.excerpt
