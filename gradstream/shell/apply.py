"""``gradstream sql``: apply files of KSQL statements, statement by statement, and show what came of each."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field

from gradstream import command, console
from gradstream.errors import UsageError
from gradstream.shell import flags, script, tables
from gradstream.shell.catch_up import sink_of, wait_for
from gradstream.shell.client import KsqlClient
from gradstream.shell.output import FORMATS
from gradstream.shell.session import Session, placed

_CONDITION = re.compile(r"(?i)(?<=STREAM |.TABLE )IF (NOT )?EXISTS ")
LEAST = 24  # characters of a statement that its line in the report shows at least
_ABOUT = """Run KSQL statements: SQL whose tables are streams of records in Kafka topics.

  CREATE STREAM … AS SELECT starts a query that runs until DROP or TERMINATE; closing the terminal does not
  end it. SELECT … LIMIT 5 shows rows that are there; SELECT … EMIT CHANGES shows new ones as they come.

  gradstream sql ksql/regression.sql --wait
  gradstream sql -e "SHOW STREAMS; SHOW QUERIES;"
  gradstream sql -e "SELECT * FROM regression_training LIMIT 5;"

A FILE without a folder that is not here is taken from those that come with gradstream: regression.sql, fraud.sql.
Statements run in order until one is refused; rows go to stdout, the report to stderr. To type statements one by one,
with completion and history: gradstream ksql."""


@dataclass(slots=True, kw_only=True)
class Applying(Session):
    """One run of the command: its session, and what its statements began."""

    sinks: list[str] = field(default_factory=list)  # filled by queries of these statements


def main(argv: list[str]) -> int:
    options = _options(argv)
    outcome = Report(options.quiet)
    texts = list(
        flags.texts(options.files, options.execute, "-e")
    )  # a file that is not there stops all of them, and before any waiting
    with flags.connected(options, outcome.hint) as client:
        session = Applying(
            client=client,
            output=FORMATS["json" if options.json else "csv" if options.csv else "table"](),
            hint=outcome.hint,
            early="add --set auto.offset.reset=earliest",
            properties=dict(options.set),
            variables=dict(options.define),
        )
        try:
            for name, text, finish in texts:
                _apply(name, text, finish, session, outcome)
        finally:
            outcome.show()
        if options.wait and session.sinks:
            _wait(client, session.sinks)
    return 0


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
    parser.add_argument("--quiet", action="store_true", help="no report, only rows and errors")
    flags.add_settings(parser)
    options = parser.parse_args(argv)
    if not options.files and not options.execute:
        raise UsageError(
            "USAGE", "no statements; give a FILE or -e STATEMENT, or type them: gradstream ksql"
        )
    flags.check(options)
    return options


def _apply(name: str, text: str, finish: bool, session: Applying, outcome: Report) -> None:
    """Runs the statements of one text until the first that is refused; that one's error tells file and place."""
    with placed(name, text):
        for piece in script.split(text, finish=finish):
            statement = session.substituted(piece.text)
            outcome.add(_headline(statement), session.run(piece))
            if sink := sink_of(statement):
                session.sinks.append(sink)


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
        if not self.quiet:
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


def _headline(text: str) -> str:
    words = " ".join(re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL).split())
    return tables.cut(_CONDITION.sub("", words).removesuffix(";"), 80)


if __name__ == "__main__":
    command.run(main)
