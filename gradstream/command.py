"""What all commands share: flags, one-line errors with exit codes, Ctrl-C."""

from __future__ import annotations

import _thread
import argparse
import difflib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from gradstream.config import Services
from gradstream.errors import GradstreamError, SqlError, UnavailableError, UsageError

NO_MEMORY = (
    "NO_MEMORY: there is no memory left for this process; nothing since the last commit counts; free some or raise the "
    "limit, then start again\n"
)


class Parser(argparse.ArgumentParser):
    """argparse, but a wrong flag is one line that offers the nearest right one.

    Flags may be abbreviated nowhere: a script must not change its meaning when a flag is added.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        hint = f"see {self.prog} --help"
        if unknown := re.search(r"unrecognized arguments: (--?[\w-]+)", message):
            message = f"unknown flag {unknown[1]}"
            hint = _nearest(unknown[1], self.flags()) or hint
        elif wrong := re.search(r"invalid choice: '?([^ ']*)'? \(choose from (.*)\)", message):
            hint = _nearest(wrong[1], re.findall(r"[\w.-]+", wrong[2])) or hint
        raise UsageError("USAGE", f"{message}; {hint}")

    def flags(self) -> list[str]:
        """All flags, those of subcommands too: argparse leaves it to the parser above to refuse an unknown one."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    found += below.flags()
        return found


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0] if word.startswith('-') else repr(near[0])}?" if near else ""


def parser(command: str, description: str) -> Parser:
    """A parser for ``gradstream COMMAND`` with the flag that every command has."""
    made = Parser(
        prog=f"gradstream {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def add_services(to: argparse.ArgumentParser, *, ksql: bool = False) -> None:
    """Flags for the addresses; without them Services.find looks in the environment and for the local stack."""
    group = to.add_argument_group("services (default: the running local stack)")
    group.add_argument("--bootstrap-servers", metavar="HOST:PORT", help="Kafka")
    group.add_argument(
        "--schema-registry-url", metavar="URL", help="schema registry, Confluent API"
    )
    if ksql:
        group.add_argument("--ksql-url", metavar="URL", help="server with ksqlDB's REST API")


def services(arguments: argparse.Namespace) -> Services:
    """The addresses that the flags of add_services, the environment or the local stack give."""
    return Services.find(
        arguments.bootstrap_servers,
        arguments.schema_registry_url,
        getattr(arguments, "ksql_url", None),
    )


def run(main: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command's ``main(argv) -> exit code`` as a process: SIGTERM as Ctrl-C, errors as one line."""
    global _ours
    _ours = True
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _as_interrupt)
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # else a shell has us ignore it
        signal.signal(signal.SIGINT, _as_interrupt)
    sys.unraisablehook = _again
    try:
        code = main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as in `gradstream weights | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        code = 130
    except GradstreamError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        sys.stderr.write(f"{error}\n")
        if isinstance(error, SqlError) and error.excerpt:
            sys.stderr.write(f"{error.excerpt}\n")
        code = error.exit_code
    except MemoryError:
        sys.stderr.write(NO_MEMORY)
        code = UnavailableError.exit_code
    except Exception as error:  # noqa: BLE001  the last resort of the process
        if "--debug" in arguments:
            traceback.print_exc()
        sys.stderr.write(
            f"BUG: {type(error).__name__}: {error}; run again with --debug and report what it shows\n"
        )
        code = 70
    sys.exit(code)


def _again(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that came where Python cannot raise, as in a callback of the import lock, comes again a moment later."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        later = threading.Timer(0.02, _thread.interrupt_main)  # here it would be swallowed again
        later.daemon = True
        later.start()
    else:
        sys.__unraisablehook__(unraisable)


_ours = False  # whether the process is a command of ours
_loads = 0  # blocks of loading() that we are in


@contextmanager
def loading() -> Iterator[None]:
    """While libraries are loaded, before anything has begun: in here Ctrl-C and SIGTERM end the process on the spot.

    A KeyboardInterrupt would be lost now and then, since what Cython generates for a module's start (NumPy's random
    numbers, Arrow) has a bare ``except: pass`` in it.
    """
    global _loads
    _loads += 1
    try:
        yield
        if _ours:
            _leave_pandas()
    finally:
        _loads -= 1


def _leave_pandas() -> None:
    """Have Arrow look for pandas now, and not find it. It would load it with the first array, wherever it is installed:
    a seventh of a trainer's start, and 30 MB. Our commands give Arrow nothing of it, and to_pandas() looks again.
    """
    if "pyarrow" in sys.modules and "pandas" not in sys.modules:
        with without("pandas"):
            sys.modules["pyarrow"].array([])


@contextmanager
def without(package: str) -> Iterator[None]:
    """In here a package is not found: for one that others load only because it is there."""
    finders = sys.meta_path  # left as it is, since another thread may go through it
    sys.meta_path = [_Without(package), *finders]
    try:
        yield
    finally:
        sys.meta_path = finders


class _Without:
    """A finder that ends the search for a package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.package:
            raise ModuleNotFoundError(name)


def _as_interrupt(signum: int, frame: FrameType | None) -> None:
    if _loads:
        cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a bar may have hidden it
        os.write(2, cursor + b"\nstopped\n")
        os._exit(130)
    raise KeyboardInterrupt
