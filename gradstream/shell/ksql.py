"""``gradstream ksql``: a shell for KSQL, and scripts of what one types there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from gradstream import command, console
from gradstream.errors import GradstreamError, SqlError
from gradstream.shell import flags, script, tables
from gradstream.shell.client import KsqlClient
from gradstream.shell.output import FORMATS
from gradstream.shell.typed import Exit, Typed

_ABOUT = """A shell for KSQL, on gradstream's engine or on ksqlDB: history, completion of words and names, rows as they come.

  gradstream ksql
  gradstream ksql --execute "SHOW STREAMS;" --format json
  gradstream ksql --file statements.sql
  gradstream ksql < statements.sql

Statements end with a semicolon; help, exit and RUN SCRIPT 'file.sql' need none. Scripts run until a statement is refused.
Rows and answers go to stdout, everything else to stderr."""


def main(argv: list[str]) -> int:
    options = _options(argv)
    texts = list(_texts(options))  # a file that is not there stops all of them
    quiet = options.quiet
    say: Callable[[str], None] = (lambda line: None) if quiet else _say
    with flags.connected(options, say) as client:
        session = Typed(
            client=client,
            output=FORMATS[options.format](),
            hint=say,
            say=say,
            properties=dict(options.set),
            variables=dict(options.define),
        )
        with suppress(Exit):
            for name, text, finish in texts:
                session.run_text(text, name, finish)
            if not texts:
                _interact(session, client, quiet)
    return 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = command.parser("ksql", _ABOUT)
    parser.add_argument(
        "-e",
        "--execute",
        action="append",
        default=[],
        metavar="STATEMENTS",
        help="run these, after the files, and leave",
    )
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="run the statements of a file in UTF-8, and leave; - is standard input",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="of rows and answers: table (as wide as the terminal), csv or json (an object a line)",
    )
    parser.add_argument("--quiet", action="store_true", help="no remarks, only results and errors")
    flags.add_settings(parser)
    options = parser.parse_args(argv)
    flags.check(options)
    return options


def _texts(options: argparse.Namespace) -> Iterator[tuple[str, str, bool]]:
    """As flags.texts(); nothing for a terminal."""
    yield from flags.texts(options.file, options.execute, "--execute")
    if not options.file and not options.execute and not sys.stdin.isatty():
        yield "standard input", flags.read("-"), False


def _say(line: str) -> None:
    out = console.notes
    out.print(tables.printable_lines(line), markup=False, soft_wrap=not out.is_terminal)


# With somebody at the keyboard -----------------------------------------------------------------------------


def _interact(session: Typed, client: KsqlClient, quiet: bool) -> None:
    """Asks for statements and runs them until EXIT or Ctrl-D."""
    with command.loading():
        from gradstream.shell.names import Catalogue
        from gradstream.shell.prompt import history, prompt

    version = client.info().get("version", "")
    if not quiet:
        _say(
            f"KSQL server {version} at {client.url}. Statements end with ; help tells more, exit leaves."
        )
    catalogue = Catalogue(client)
    session.changed = catalogue.refresh
    asks = prompt(catalogue.names, history(_say))
    while True:
        try:
            text = asks.prompt()
            _run(session, text)
        except KeyboardInterrupt:
            continue
        except EOFError:
            raise Exit from None


def _run(session: Typed, text: str) -> None:
    """Runs what was typed; neither an error nor Ctrl-C ends the shell."""
    try:
        session.run_text(text)
    except KeyboardInterrupt:
        _say("\nstopped")  # below the ^C that the terminal shows
    except GradstreamError as error:
        _show(error)


def _show(error: GradstreamError) -> None:
    """The error in a line, and below it the place in the statement."""
    out = console.notes
    out.print(tables.printable_lines(str(error)), style="red", markup=False)
    if isinstance(error, SqlError) and error.excerpt:
        for line in script.around(error.excerpt, out.width):
            out.print(line, markup=False, soft_wrap=True)
