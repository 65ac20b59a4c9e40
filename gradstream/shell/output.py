"""Three ways in which rows and answers come out: as tables, as CSV, as JSON."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import Protocol

from gradstream import console
from gradstream.shell import answers, tables
from gradstream.shell.client import Rows

BUFFERED = (
    1000  # rows that wait for a table with fitting columns before rows are drawn as they come
)


class Output(Protocol):
    """Where the results of statements go; all of it is on stdout."""

    def rows(self, rows: Rows, pushes: bool) -> int:
        """Prints the rows of a query as they come, and returns how many.

        Args:
            pushes: whether they come when somebody writes them, so that none of them may wait for the next.
        """

    def entity(self, entity: answers.Entity) -> None:
        """Prints what there is to read in an answer."""


def lines(found: Iterable[str]) -> int:
    """Prints the lines of PRINT, which is text in all formats; returns how many."""
    count = 0
    harmless = tables.printable if console.results.is_terminal else str
    for line in found:
        count += 1
        sys.stdout.write(harmless(line) + "\n")
        sys.stdout.flush()
    return count


class AsTables:
    """For people."""

    def rows(self, rows: Rows, pushes: bool) -> int:
        table = tables.of_query(console.results, rows.names, rows.types, pushes)
        first: list[list[str]] | None = None if pushes else []
        try:
            if pushes:
                table.add([])  # the headings tell that it has begun
            for group in rows.groups():
                cells = [[tables.text(value) for value in row] for row in group]
                if first is None:
                    table.add(cells)
                    continue
                first += cells
                if len(first) >= BUFFERED:
                    table.add(first)
                    first = None
        finally:
            if first is not None:
                table.add(first)
        return table.count

    def entity(self, entity: answers.Entity) -> None:
        answers.show(console.results, entity)


class AsCsv:
    """A header, and a row a line; null is an empty field. Of an answer all that there is to read, an empty line between."""

    def __init__(self) -> None:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")

    def rows(self, rows: Rows, pushes: bool) -> int:
        self._writer.writerow(rows.names)
        sys.stdout.flush()
        count = 0
        for group in rows.groups():
            self._writer.writerows(map(_fields, group))
            count += len(group)
            sys.stdout.flush()
        return count

    def entity(self, entity: answers.Entity) -> None:
        for number, block in enumerate(answers.blocks(entity)):
            if number:
                self._writer.writerow([])
            match block:
                case answers.Table(names=names, rows=rows):
                    self._writer.writerows([names, *map(_fields, rows)])
                case answers.Steps(steps=steps):
                    self._writer.writerows([("level", "step"), *steps])
                case _:
                    self._writer.writerow([block])


def _fields(row: Iterable[object]) -> list[str]:
    return ["" if value is None else _field(value) for value in row]


def _field(value: object) -> str:
    return value if isinstance(value, str) else tables.as_json(value)


class AsJson:
    """An object a line: a row by the names of its columns, an answer as the server gave it."""

    def rows(self, rows: Rows, pushes: bool) -> int:
        count = 0
        for group in rows.groups():
            made = [tables.as_json(dict(zip(rows.names, row, strict=True))) for row in group]
            sys.stdout.write("".join(f"{line}\n" for line in made))
            count += len(group)
            sys.stdout.flush()
        return count

    def entity(self, entity: answers.Entity) -> None:
        if answers.blocks(entity):
            sys.stdout.write(tables.as_json(dict(entity)) + "\n")


FORMATS: dict[str, type[AsTables] | type[AsCsv] | type[AsJson]] = {
    "table": AsTables,
    "csv": AsCsv,
    "json": AsJson,
}
