"""A session that somebody types, or a script of one: the server's statements, and the few that are the shell's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from gradstream.errors import DataError, SqlError
from gradstream.shell import flags, script
from gradstream.shell.output import FORMATS
from gradstream.shell.script import Piece
from gradstream.shell.session import Session, placed
from gradstream.shell.words import LOCAL

DEEPEST = 16  # scripts that run scripts
CHANGES = frozenset("ALTER CREATE DROP INSERT PAUSE RESUME TERMINATE".split())
HELP = """\
A statement ends with a semicolon and may have several lines. Ctrl-C ends a
query, or clears what is typed; Tab completes; Ctrl-D leaves.

  SHOW STREAMS;       and TABLES, TOPICS, QUERIES, FUNCTIONS, PROPERTIES, TYPES
  DESCRIBE name;      its columns; EXTENDED its queries and offsets, too
  DESCRIBE FUNCTION name;
  EXPLAIN query;      the plan of a query that runs, or of a statement
  CREATE STREAM … AS SELECT …;  starts a query that runs until it is TERMINATEd,
                      or its stream DROPped, whether this shell runs or not
  SELECT … LIMIT 5;   rows that are there
  SELECT … EMIT CHANGES;  new rows as they come, until Ctrl-C
  PRINT topic FROM BEGINNING LIMIT 5;  records, whatever is in them
  SET 'auto.offset.reset'='earliest';  for what follows: queries start with the
                      oldest row; UNSET '…'; takes it back
  DEFINE name='value';  for ${name} in what follows; UNDEFINE name;

The shell's own, which need no semicolon:

  RUN SCRIPT 'file.sql'   runs the statements of a file
  OUTPUT table            or csv, or json
  help, exit"""

_RUN = re.compile(r"(?is)RUN\s+SCRIPT\s+'((?:[^']|'')+)'\s*;")
_OUTPUT = re.compile(r"(?is)OUTPUT(?:\s+'?(\w+)'?)?\s*;")


class Exit(Exception):  # noqa: N818  no error
    """EXIT: there is nothing more to do."""


def is_whole(text: str) -> bool:
    """Whether a text that is typed can be run: it ends with a semicolon, or it is one of the shell's own statements."""
    first = re.match(r"\s*(\w+)", text)
    if first and first[1].upper() in LOCAL and ";" not in text:
        return not script.is_open(text + ";")
    return not script.is_open(text)


@dataclass(slots=True, kw_only=True)
class Typed(Session):
    """The state of a shell.

    Attributes:
        say: told in a line what a statement did.
        changed: called when a statement may have given or taken a name.
    """

    say: Callable[[str], None]
    changed: Callable[[], None] = lambda: None
    _files: list[str] = field(default_factory=list)  # the scripts that run

    def run_text(self, text: str, name: str = "", finish: bool = True) -> None:
        """Runs statements until the first that is refused.

        Args:
            name: of the file that they are from, for errors.
            finish: whether the last one may lack its semicolon.

        Raises:
            SqlError: with the place; Exit: EXIT.
        """
        with placed(name, text):
            pieces = script.split(text, finish=finish)
        for piece in pieces:
            if piece.verb == "RUN":  # tells its own places
                self._run_script(piece, text, name)
                continue
            with placed(name, text):
                if told := self.carry_out(piece):
                    self.say(told)

    def carry_out(self, piece: Piece) -> str:
        """Runs one statement; returns what to say of it."""
        match piece.verb:
            case "EXIT" | "QUIT":
                raise Exit
            case "HELP":
                return HELP
            case "OUTPUT":
                return self._set_output(piece)
            case "SET":
                self.client.execute(piece.placed, self.properties, self.variables)  # it checks
                self.remember(piece)
                return ""
        told = self.run(piece)
        if piece.verb in CHANGES:
            self.changed()
        return told

    def _set_output(self, piece: Piece) -> str:
        found = _OUTPUT.fullmatch(piece.text)
        chosen = found[1].lower() if found and found[1] else ""
        if chosen not in FORMATS:
            raise SqlError(
                "BAD_OUTPUT",
                f"OUTPUT is one of {', '.join(FORMATS)}, as in OUTPUT csv;",
                piece.line,
                piece.column,
            )
        self.output = FORMATS[chosen]()
        return ""

    def _run_script(self, piece: Piece, text: str, name: str) -> None:
        with placed(name, text):
            found = _RUN.fullmatch(piece.text)
            if not found:
                message = "write RUN SCRIPT 'file.sql';"
                raise SqlError("SYNTAX_ERROR", message, piece.line, piece.column)
            file = self.substituted(found[1].replace("''", "'"))
            if len(self._files) == DEEPEST:
                message = f"{DEEPEST} scripts run each other: {' → '.join(self._files[:4])} → …"
                raise SqlError("TOO_DEEP", message, piece.line, piece.column)
            try:
                statements = flags.read(file)
            except DataError as error:
                raise SqlError(error.code, error.message, piece.line, piece.column) from None
        self._files.append(file)
        try:
            self.run_text(statements, file, finish=False)
        finally:
            self._files.pop()
