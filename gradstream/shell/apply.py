"""``gradstream sql``: apply files of KSQL statements, statement by statement, and show what came of each."""

from __future__ import annotations

import argparse
import csv
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradstream import command, console
from gradstream.errors import DataError, GradstreamError, SqlError, UsageError
from gradstream.shell import script, tables
from gradstream.shell.catch_up import sink_of, wait_for
from gradstream.shell.client import STATEMENT, KsqlClient, RefusedStatementError, Rows
from gradstream.shell.ready import wait_until_ready
from gradstream.shell.script import Piece
from gradstream.shell.settings import Settings
from gradstream.sql_files import sql_file

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_]\w*)=(.*)", re.DOTALL)
_CONDITION = re.compile(r"(?i)(?<=STREAM |.TABLE )IF (NOT )?EXISTS ")
_EXISTS = re.compile(r"Cannot add \w+ `[^`]*`: A \w+ with the same name already exists\.?")
_CREATED = re.compile(r"Created query with ID (\S+)")
LEAST = 24  # characters of a statement that its line in the report shows at least
_ABOUT = """Run KSQL statements: SQL whose tables are streams of records in Kafka topics.

  CREATE STREAM … AS SELECT starts a query that runs until DROP or TERMINATE; closing the terminal does not
  end it. SELECT … LIMIT 5 shows rows that are there; SELECT … EMIT CHANGES shows new ones as they come.

  gradstream sql ksql/regression.sql --wait
  gradstream sql -e "SHOW STREAMS; SHOW QUERIES;"
  gradstream sql -e "SELECT * FROM regression_training LIMIT 5;"

A FILE without a folder that is not here is taken from those that come with gradstream: regression.sql, fraud.sql.
Statements run in order until one is refused; rows go to stdout, the report to stderr."""
BUFFERED = (
    1000  # rows that wait for a table with fitting columns before rows are shown as they come
)


@dataclass(slots=True, kw_only=True)
class Session(Settings):
    """One run of the command: its settings, the connection, and what its statements began."""

    client: KsqlClient
    sinks: list[str] = field(default_factory=list)  # filled by queries of these statements


def main(argv: list[str]) -> int:
    options = _options(argv)
    outcome = Report(options.quiet)
    texts = list(
        _texts(options)
    )  # a file that is not there stops all of them, and before any waiting
    # A server that has just begun takes its time for the first statement, too.
    patience = max(STATEMENT, options.server_timeout)
    with KsqlClient(command.services(options).ksql_url, patience) as client:
        if options.server_timeout:
            wait_until_ready(
                client, options.server_timeout, lambda why: _waits(outcome, client, why)
            )
        session = Session(
            client=client, properties=dict(options.set), variables=dict(options.define)
        )
        try:
            for name, text, finish in texts:
                _apply(name, text, finish, session, outcome, _printer(options))
        finally:
            outcome.show()
        if options.wait and session.sinks:
            _wait(client, session.sinks)
    return 0


def _waits(outcome: Report, client: KsqlClient, why: GradstreamError) -> None:
    state = "to answer" if why.code == "KSQL_UNREACHABLE" else "to be ready"
    outcome.hint(f"waiting for the KSQL server at {client.url} {state} ...")


def _wait(client: KsqlClient, sinks: list[str]) -> None:
    with console.progress("records") as bar:
        task = bar.add_task("queries catch up", total=None)
        wait_for(client, sinks, lambda done, total: bar.update(task, completed=done, total=total))


def _options(argv: list[str]) -> argparse.Namespace:
    parser = command.parser("sql", _ABOUT)
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="statements in UTF-8; - reads standard input"
    )
    parser.add_argument(
        "-e",
        "--execute",
        action="append",
        default=[],
        metavar="STATEMENT",
        help="a statement to run after the files",
    )
    parser.add_argument(
        "--define",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="a value for ${NAME}; the file's own DEFINE comes after it",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_property,
        metavar="NAME=VALUE",
        help="a property of the queries; auto.offset.reset=earliest starts with the oldest row",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--json", action="store_true", help="rows of a SELECT as JSON objects, one a line"
    )
    shape.add_argument("--csv", action="store_true", help="rows of a SELECT as CSV with a header")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="return when the queries have read all that their topics hold now",
    )
    parser.add_argument(
        "--server-timeout",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for a server that is not there yet, as in a start-up script; its first statements may take as long",
    )
    parser.add_argument("--quiet", action="store_true", help="no report, only rows and errors")
    command.add_services(parser, ksql=True)
    options = parser.parse_args(argv)
    if not options.files and not options.execute:
        raise UsageError("USAGE", "no statements; give a FILE or -e STATEMENT")
    if not options.server_timeout >= 0:
        raise UsageError(
            "BAD_TIMEOUT", f"--server-timeout {options.server_timeout:g}: give seconds from 0"
        )
    return options


def _assignment(text: str) -> tuple[str, str]:
    if not (found := _ASSIGNMENT.fullmatch(text)):
        raise UsageError("USAGE", f"--define {text!r} is not NAME=VALUE")
    return found[1], found[2]


def _property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError("USAGE", f"--set {text!r} is not NAME=VALUE")
    return name.strip(), value


def _texts(options: argparse.Namespace) -> Iterable[tuple[str, str, bool]]:
    """(name, text, whether a missing last semicolon is forgiven) of all that is to be applied."""
    for name in options.files:
        try:
            yield (name, sys.stdin.read() if name == "-" else _path(name).read_text("utf-8"), False)
        except OSError as error:
            message = f"cannot read {name}: {error.strerror}; check the path"
            raise DataError("NO_FILE", message) from None
        except UnicodeDecodeError as error:
            message = f"{name} is not UTF-8 at byte {error.start}; save it as UTF-8"
            raise DataError("BAD_UTF8", message) from None
    for statement in options.execute:
        yield "-e", statement, True


def _path(name: str) -> Path:
    """The file of that path, else the one of that bare name that comes with gradstream."""
    path = Path(name)
    if not path.exists() and path.name == name:
        with suppress(FileNotFoundError):
            return sql_file(name)
    return path


def _apply(
    name: str,
    text: str,
    finish: bool,
    session: Session,
    outcome: Report,
    show_rows: Callable[[Rows, bool], int],
) -> None:
    """Runs the statements of one text until the first that is refused; that one's error tells file and place."""
    try:
        pieces = script.split(text, finish=finish)
        for piece in pieces:
            if session.remember(piece):
                continue
            statement = session.substituted(piece.text)
            headline = _headline(statement)
            if piece.verb == "PRINT":
                with session.client.lines(
                    piece.placed, session.properties, session.variables
                ) as lines:
                    outcome.add(headline, _counted(_print_lines(lines), "line"))
            elif piece.verb == "SELECT":
                with session.client.query(
                    piece.placed, session.properties, session.variables
                ) as rows:
                    outcome.hint(_new_rows_only(piece, session.properties))
                    outcome.add(headline, _counted(show_rows(rows, piece.endless), "row"))
            else:
                entities = session.client.execute(
                    piece.placed, session.properties, session.variables
                )
                outcome.add(headline, "; ".join(filter(None, map(_told, entities))))
                for entity in entities:
                    tables.show_entity(entity)
                if sink := sink_of(statement):
                    session.sinks.append(sink)
    except SqlError as error:
        raise _placed(error, name, text) from None


def _placed(error: SqlError, name: str, text: str) -> SqlError:
    """The error with the file's name, the excerpt from the file, and what to do where that is known."""
    message = f"{name}: {error.bare_message}"
    if isinstance(error, RefusedStatementError) and error.code == "ALREADY_EXISTS":
        message += "; to run a file again, write CREATE … IF NOT EXISTS, or DROP it first"
    place = script.excerpt(text, error.line, error.column) or error.excerpt
    return SqlError(error.code, message, error.line, error.column, place)


class Report:
    """One line for each statement, on stderr."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.lines: list[tuple[str, str]] = []

    def add(self, statement: str, result: str) -> None:
        if result:
            self.lines.append((statement, result))

    def hint(self, line: str) -> None:
        """Something to know while a statement runs."""
        if line and not self.quiet:
            console.notes.print(line, markup=False, soft_wrap=True)

    def show(self) -> None:
        if self.quiet or not self.lines:
            return
        for line in self.told(console.notes.width if console.notes.is_terminal else None):
            console.notes.print(line, markup=False, soft_wrap=True)

    def told(self, width: int | None) -> list[str]:
        """Statement and result, one line each; the statement is cut to leave room for the result."""
        room = (width or 160) - len(tables.GAP) - max(len(result) for _, result in self.lines)
        shown = [(tables.cut(of, max(room, LEAST)), result) for of, result in self.lines]
        most = max(len(of) for of, _ in shown)
        return [f"{of:<{most}}{tables.GAP}{result}" for of, result in shown]


def _new_rows_only(piece: Piece, properties: Mapping[str, object]) -> str:
    """What to say where somebody may wait in vain for rows that are there already."""
    if not piece.pushes or any("auto.offset.reset" in name for name in properties):
        return ""
    return (
        "waiting for new rows; Ctrl-C ends it; to start with the oldest row, "
        "add --set auto.offset.reset=earliest"
    )


def _headline(text: str) -> str:
    words = " ".join(re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL).split())
    return tables.cut(_CONDITION.sub("", words).removesuffix(";"), 80)


def _counted(number: int, of: str) -> str:
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def _told(entity: Mapping[str, Any]) -> str:
    """What an entity says, in a few words."""
    warnings = "".join(f" (warning: {found['message']})" for found in entity.get("warnings", []))
    match entity.get("@type"):
        case "currentStatus":
            return _shortened(str(entity["commandStatus"]["message"])) + warnings
        case "warning_entity":
            return _shortened(str(entity["message"])) + warnings
    return warnings.strip()  # the answer itself is shown


def _shortened(message: str) -> str:
    """The server's sentence in the words that one line has room for."""
    if _EXISTS.fullmatch(message):
        return "exists already, left as it is"
    return _CREATED.sub(r"query \1 runs", message)


def _printer(options: argparse.Namespace) -> Callable[[Rows, bool], int]:
    if options.json:
        return _print_json
    return _print_csv if options.csv else _print_table


def _print_lines(lines: Iterable[str]) -> int:
    count = 0
    for line in lines:
        count += 1
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return count


def _cell(value: object) -> str:
    return value if isinstance(value, str) else tables.as_json(value)


def _print_json(rows: Rows, endless: bool) -> int:
    count = 0
    for row in rows:
        count += 1
        sys.stdout.write(tables.as_json(dict(zip(rows.names, row, strict=True))) + "\n")
        sys.stdout.flush()
    return count


def _print_csv(rows: Rows, endless: bool) -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.names)
    count = 0
    for row in rows:
        count += 1
        writer.writerow(["" if value is None else _cell(value) for value in row])
        sys.stdout.flush()
    return count


def _print_table(rows: Rows, endless: bool) -> int:
    """A table of the first rows where there is an end to wait for; the rest as they come."""
    source = iter(rows)
    first = [] if endless else list(itertools.islice(source, BUFFERED))
    if first or not endless:
        tables.show(rows.names, first)
    count = len(first)
    if endless:
        console.results.print(" | ".join(rows.names), style="bold", markup=False)
    for row in source:
        console.results.print(" | ".join(map(tables.text, row)), markup=False, soft_wrap=True)
        count += 1
    return count


if __name__ == "__main__":
    command.run(main)
