"""The statements of a test: from a text or a file, with variables, under names of the test's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from gradstream.config import Services
from gradstream.engine.catalog import Catalog, Column, Format
from gradstream.engine.language import plan
from gradstream.engine.language.actions import CreateSource
from gradstream.engine.language.lexer import tokens
from gradstream.engine.rows.serdes import columns_from_registry
from gradstream.errors import DataError, SqlError
from gradstream.shell import script
from gradstream.shell.settings import Settings
from gradstream.sql_files import sql_file
from gradstream.testing.names import Names
from gradstream.wire.registry import Registry


def text_of(sql: str | Path, folder: Path) -> tuple[str, str]:
    """(name, text) of statements, or of the file of that name: as it is given, else beside the test, else one that
    comes with gradstream.

    Raises:
        DataError: NO_FILE, BAD_UTF8.
    """
    if isinstance(sql, str) and (not sql.strip().endswith(".sql") or len(sql.split()) > 1):
        return "sql()", sql
    try:
        return str(sql), _file(Path(sql), folder).read_text("utf-8")
    except OSError as error:
        raise DataError(
            "NO_FILE",
            f"cannot read {sql}: {error.strerror}; neither from {Path.cwd()} nor from {folder}",
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            "BAD_UTF8", f"{sql} is not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from None


def _file(path: Path, folder: Path) -> Path:
    for place in (path, folder / path):
        if place.exists():
            return place
    if path.name == str(path):
        with suppress(FileNotFoundError):
            return sql_file(path.name)
    return path


def own(
    text: str, names: Names, settings: Settings, given: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(first word, statement) in order, ready for the server: variables put in, names the test's own, each behind as
    much white space as puts it at its place in the text.

    Args:
        settings: what SET and DEFINE change on the way.
        given: values that go before those of DEFINE.
    """
    settings.variables.update(given)
    for piece in script.split(text, finish=True):
        if settings.remember(piece):
            settings.variables.update(given)
        else:
            yield piece.verb, names.statement(settings.substituted(piece.placed))


@contextmanager
def told(name: str, text: str) -> Iterator[None]:
    """Within it, errors of statements tell which text they come from, and show the line with a caret."""
    try:
        yield
    except SqlError as error:
        shown = error.excerpt or script.excerpt(text, error.line, error.column)
        message = f"{name}: {error.bare_message}"
        made = SqlError(error.code, message, error.line, error.column, shown)
        if shown:
            made.add_note(shown)
        raise made from None


def target_of(statement: str) -> str | None:
    """The name, as written, of the stream that an INSERT INTO … SELECT fills; None for other statements."""
    found = tokens(statement)
    words = [text if kind == "word" else "" for kind, text, *_ in found]
    if words[:2] != ["INSERT", "INTO"] or "SELECT" not in words:
        return None
    return statement[found[2][2] : found[2][3]]


def declared(text: str, services: Services) -> CreateSource | None:
    """What CREATE STREAM or TABLE over a topic declares; None for other statements, and for those that only the
    server understands.
    """
    with closing(Registry(services.schema_registry_url)) as registry:

        def infer(topic: str, is_key: bool, format_: Format) -> tuple[Column, ...]:
            return columns_from_registry(registry, topic, is_key, format_)

        try:
            (statement,) = plan.parse(text)
            action = plan.plan_statement(statement, Catalog(), {}, infer=infer)
        except (SqlError, ValueError):
            return None
    return action if isinstance(action, CreateSource) else None
