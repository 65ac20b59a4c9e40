"""Tables on a terminal and as text: values whole, rows as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import zip_longest

import orjson
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

GAP = "  "  # between columns
NARROW = 12  # a terminal that has not even so much for each column gets one value a line
# What the values of a type need where the rows are still to come: with room to spare, and at least.
ROOM = {
    "BOOLEAN": (5, 5),
    "DATE": (10, 10),
    "TIME": (12, 12),
    "TIMESTAMP": (23, 23),
    "INTEGER": (11, 6),
    "BIGINT": (13, 6),
    "DOUBLE": (20, 10),
}
DECIMAL, TEXT = (14, 8), (24, 12)
LONGEST = 60  # of a column that gets what room is left
NUMBERS = ("INT", "BIGINT", "DOUBLE", "DECIMAL")

Widths = Sequence[int]


def text(value: object) -> str:
    """A value on one line: null, text as it is, a list of names as names, else JSON.

    >>> text(None), text(["A", "B"]), text({"a": 1})
    ('null', 'A, B', '{"a":1}')
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return printable(" ".join(value.split()))
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return printable(", ".join(value))
    return as_json(value)


def printable(line: str) -> str:
    r"""The line with its control characters written out, since a record may hold what would steer the terminal.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)


def printable_lines(text: str) -> str:
    """The same of a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def as_json(value: object) -> str:
    """JSON in which a decimal keeps its digits."""
    return orjson.dumps(value, default=lambda number: orjson.Fragment(str(number))).decode()


def cut(words: str, most: int) -> str:
    """At most so many columns of a terminal, with … where something was left out.

    >>> cut("CREATE STREAM a", 9)
    'CREATE S…'
    """
    if cell_len(words) <= most:
        return words
    return set_cell_size(words, max(most - 1, 0)).rstrip() + "…"


def natural(grid: Iterable[Sequence[str]]) -> list[int]:
    """As many columns of a terminal as the widest cell of each column takes."""
    return [max(map(cell_len, cells)) for cells in zip_longest(*grid, fillvalue="")]


def fitted(wanted: Widths, room: int) -> list[int] | None:
    """The widths, the widest of them cut until all fit; None where that leaves too little of one.

    >>> fitted([4, 40, 30], 60), fitted([4, 4], 60), fitted([40] * 9, 60)
    ([4, 26, 26], [4, 4], None)
    """
    left = room - len(GAP) * (len(wanted) - 1)
    if sum(wanted) <= left:
        return list(wanted)
    shared = list(wanted)
    cap = 0
    while shared and (cap := left // len(shared)) > 0 and min(shared) <= cap:
        left -= sum(width for width in shared if width <= cap)
        shared = [width for width in shared if width > cap]
    return [min(width, cap) for width in wanted] if cap >= NARROW else None


def stretched(widths: Widths, which: Sequence[bool], room: int) -> list[int]:
    """The widths, some of them enlarged by what room is left.

    >>> stretched([4, 23, 23], [False, True, True], 80)
    [4, 36, 36]
    """
    left = room - sum(widths) - len(GAP) * (len(widths) - 1)
    more = max(left // max(sum(which), 1), 0)
    return [
        max(width, min(width + more, LONGEST)) if elastic else width
        for width, elastic in zip(widths, which, strict=True)
    ]


def lines(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Headings and rows in columns as wide as they need, without an end of the line in sight."""
    grid = [list(names), *map(list, rows)]
    widths = natural(grid)
    return [_line(row, widths) for row in grid]


def _line(row: Sequence[str], widths: Widths, right: Sequence[bool] | None = None) -> str:
    cells = []
    for cell, width, is_right in zip(row, widths, right or [False] * len(row), strict=True):
        blank = " " * (width - cell_len(cell))
        cells.append(blank + cell if is_right else cell + blank)
    return GAP.join(cells).rstrip()


class Growing:
    """A table whose rows are drawn as they come, in columns that the first of them have measured.

    Args:
        out: the console; its width counts only where it is a terminal.
        rooms: what each column may need, as in ROOM, where rows are to come that need more than the first.
        right: whether a column's cells stand at its right end, as numbers do.
    """

    def __init__(
        self,
        out: Console,
        names: Sequence[str],
        rooms: Sequence[tuple[int, int]] | None = None,
        right: Sequence[bool] | None = None,
    ) -> None:
        self.count = 0
        self._out = out
        self._names = names
        self._rooms = rooms or [(0, 0)] * len(names)
        self._right = right or [False] * len(names)
        self._widths: Widths | None = None
        self._begun = False

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Draws the rows, below the headings if they are the first."""
        if not self._begun:
            self._begin(rows)
        if not self._out.is_terminal:
            self._say(_line(row, self._widths or ()) for row in rows)
        elif self._widths is None:
            self._say(_one_below_the_other(self._names, rows, self.count + 1))
        else:
            self._say(line for row in rows for line in self._folded(row, self._widths))
        self.count += len(rows)

    def _begin(self, rows: Sequence[Sequence[str]]) -> None:
        self._begun = True
        if not self._names:
            return
        needed = natural([self._names, *rows])
        wanted, least = (list(map(max, needed, room)) for room in zip(*self._rooms, strict=True))
        if not self._out.is_terminal:
            self._widths = wanted
            self._say([_line(self._names, wanted)])
            return
        width = self._out.width
        fits = sum(wanted) + len(GAP) * (len(wanted) - 1) <= width
        self._widths = wanted if fits else fitted(least, width)
        if self._widths is not None:
            texts = [room == TEXT for room in self._rooms]
            self._widths = stretched(self._widths, texts, width)
            for line in self._folded(self._names, self._widths):
                self._out.print(Text(line, "bold"), soft_wrap=True)
            self._say(["─" * (sum(self._widths) + len(GAP) * (len(self._widths) - 1))])
        elif not rows:
            self._say([GAP.join(self._names)])

    def _folded(self, row: Sequence[str], widths: Widths) -> Iterator[str]:
        """The lines of a row, several where a cell is wider than its column."""
        if all(cell_len(cell) <= width for cell, width in zip(row, widths, strict=True)):
            yield _line(row, widths, self._right)
            return
        parts = [
            [part.plain.rstrip() for part in Text(cell).wrap(self._out, width, overflow="fold")]
            for cell, width in zip(row, widths, strict=True)
        ]
        for line in zip_longest(*parts, fillvalue=""):
            yield _line(line, widths, self._right)

    def _say(self, lines: Iterable[str]) -> None:
        """Straight to the file: rich takes a millisecond for a line, and there is nothing in it to draw."""
        self._out.file.write("".join(f"{line}\n" for line in lines))
        self._out.file.flush()


def _one_below_the_other(
    names: Sequence[str], rows: Sequence[Sequence[str]], first: int
) -> list[str]:
    """Each row as a block of lines with a number, a value a line."""
    most = max(map(cell_len, names), default=0)
    found = []
    for number, row in enumerate(rows, first):
        found.append(f"─ {number} ─")
        found += [_line((name, cell), (most, 0)) for name, cell in zip(names, row, strict=True)]
    return found


def of_query(out: Console, names: Sequence[str], types: Sequence[str], endless: bool) -> Growing:
    """A table for the rows of a query; of one that goes on, its columns have room for what the types may bring."""
    rooms = list(map(_room, types)) if endless else None
    return Growing(out, names, rooms, [of.startswith(NUMBERS) for of in types])


def _room(type_: str) -> tuple[int, int]:
    return DECIMAL if type_.startswith("DECIMAL") else ROOM.get(type_, TEXT)


def show(
    out: Console, names: Sequence[str], rows: Sequence[Sequence[object]], elastic: str = ""
) -> None:
    """Print a whole table.

    Args:
        elastic: the column, the last one, that is cut where there is no room for it; the others are folded.
    """
    cells = [[text(value) for value in row] for row in rows]
    if elastic and out.is_terminal:
        taken = sum(natural([names, *cells])[:-1]) + len(GAP) * (len(names) - 1)
        room = max(out.width - taken, len(elastic), NARROW)
        cells = [[*row[:-1], cut(row[-1], room)] for row in cells]
    right = [_are_numbers(column) for column in zip(*rows, strict=True)]
    Growing(out, names, right=right or None).add(cells)


def _are_numbers(column: Iterable[object]) -> bool:
    kinds = {type(value) for value in column if value is not None}
    return bool(kinds) and kinds <= {int, float, Decimal}
