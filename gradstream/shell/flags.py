"""What ``gradstream sql`` and ``gradstream ksql`` are asked in the same way, and the files that both read."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradstream import command
from gradstream.errors import DataError, GradstreamError, UsageError
from gradstream.shell.client import STATEMENT, KsqlClient
from gradstream.shell.ready import wait_until_ready
from gradstream.sql_files import sql_file

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_]\w*)=(.*)", re.DOTALL)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """What holds for the statements, and where their server is."""
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
    parser.add_argument(
        "--server-timeout",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for a server that is not there yet, as in a start-up script; its first statements may take as long",
    )
    command.add_services(parser, ksql=True)


def _assignment(text: str) -> tuple[str, str]:
    if not (found := _ASSIGNMENT.fullmatch(text)):
        raise UsageError("USAGE", f"--define {text!r} is not NAME=VALUE")
    return found[1], found[2]


def _property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError("USAGE", f"--set {text!r} is not NAME=VALUE")
    return name.strip(), value


def check(options: argparse.Namespace) -> None:
    """Raises UsageError for what argparse does not see."""
    if not options.server_timeout >= 0:
        raise UsageError(
            "BAD_TIMEOUT", f"--server-timeout {options.server_timeout:g}: give seconds from 0"
        )


@contextmanager
def connected(options: argparse.Namespace, hint: Callable[[str], None]) -> Iterator[KsqlClient]:
    """The client for the options' server, which is waited for as long as they say; ``hint`` is told when it is."""
    # A server that has just begun takes its time for the first statement, too.
    patience = max(STATEMENT, options.server_timeout)
    with KsqlClient(command.services(options).ksql_url, patience) as client:

        def waits(why: GradstreamError) -> None:
            state = "to answer" if why.code == "KSQL_UNREACHABLE" else "to be ready"
            hint(f"waiting for the KSQL server at {client.url} {state} ...")

        if options.server_timeout:
            wait_until_ready(client, options.server_timeout, waits)
        yield client


def texts(
    files: Iterable[str], statements: Iterable[str], flag: str
) -> Iterator[tuple[str, str, bool]]:
    """(name, text, whether a missing last semicolon is forgiven) of all that is to be run.

    Args:
        flag: that gave the statements.
    """
    for name in files:
        yield name, read(name), False
    for text in statements:
        yield flag, text, True


def read(name: str) -> str:
    """The statements of a file, or of standard input where the name is ``-``.

    Raises:
        DataError: NO_FILE, BAD_UTF8.
    """
    try:
        return sys.stdin.read() if name == "-" else path_of(name).read_text("utf-8")
    except OSError as error:
        message = f"cannot read {name}: {error.strerror}; check the path"
        raise DataError("NO_FILE", message) from None
    except UnicodeDecodeError as error:
        message = f"{name} is not UTF-8 at byte {error.start}; save it as UTF-8"
        raise DataError("BAD_UTF8", message) from None


def path_of(name: str) -> Path:
    """The file of that path, else the one of that bare name that comes with gradstream."""
    path = Path(name)
    if not path.exists() and path.name == name:
        with suppress(FileNotFoundError):
            return sql_file(name)
    return path
