"""Every error that a user can meet, as one line: ``CODE: what, where, what to do``.

    GradstreamError
    ├── UsageError          2   a flag or argument is wrong
    ├── DataError          65   a record, file or statement cannot be read
    │   └── SqlError            with line, column and the token underlined
    ├── UnavailableError   69   a service, file or package is not there
    ├── RetryError         75   another process holds it, or try again later
    └── ConfigError        78   settings contradict each other or what was found

Anything else that reaches the command line is a bug of ours and exits with 70.
"""

from __future__ import annotations


class GradstreamError(Exception):
    """Base of all errors shown to users.

    Args:
        code: stable upper-case word, such as ``UNKNOWN_COLUMN``; scripts and tests match on it.
        message: what happened, where, and what to do, in one line.
    """

    exit_code = 70

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: in a notebook, too, an error of a user's is one line."""
        return [str(self)]


class UsageError(GradstreamError):
    exit_code = 2


class DataError(GradstreamError):
    exit_code = 65


class UnavailableError(GradstreamError):
    exit_code = 69


class RetryError(GradstreamError):
    exit_code = 75


class ConfigError(GradstreamError):
    exit_code = 78


class SqlError(DataError):
    """A statement that cannot be accepted; knows where in the text.

    Args:
        code: as for every error.
        message: what is wrong and what would be right, without the place.
        line: 1-based line of the offending token, 0 when the statement as a whole is wrong.
        column: 1-based column of the offending token.
        excerpt: the offending line with a second line of carets under the token.

    Attributes:
        statement: the statement as ksqlDB prints it, where it could be parsed; ksqlDB's own message ends with it.
    """

    def __init__(
        self, code: str, message: str, line: int = 0, column: int = 0, excerpt: str = ""
    ) -> None:
        place = f"line {line}:{column}: " if line else ""
        super().__init__(code, place + message)
        self.line = line
        self.column = column
        self.excerpt = excerpt
        self.bare_message = message
        self.statement = ""

    def _render_traceback_(self) -> list[str]:
        return [str(self), *self.excerpt.splitlines()]
