"""The line that somebody types into: completion, history, several lines until a semicolon."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output

from gradstream import config
from gradstream.shell.completion import complete
from gradstream.shell.names import Names
from gradstream.shell.typed import is_whole

MARK = "ksql> "
HISTORY = "ksql_history"


def history(hint: Callable[[str], None]) -> History:
    """The statements of former shells, in a file that only its owner can read; where none can be kept, this one's."""
    path = config.home() / HISTORY
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        hint(f"no history is kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(path)


class _Completer(Completer):
    """Completion for prompt_toolkit."""

    def __init__(self, names: Callable[[], Names]) -> None:
        self._names = names

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        choice = complete(document.text, document.cursor_position, self._names())
        typed = document.cursor_position - choice.start
        if not (typed or event.completion_requested or choice.expected):
            return
        for of in choice.candidates:
            yield Completion(of.text, -typed, display_meta=of.about)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @Condition
    def chosen() -> bool:
        state = get_app().current_buffer.complete_state
        return bool(state and state.current_completion)

    @keys.add("enter", filter=~chosen)
    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_whole(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    @keys.add("enter", filter=chosen)
    def take(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    return keys


def prompt(
    names: Callable[[], Names],
    kept: History,
    input: Input | None = None,
    output: Output | None = None,
) -> PromptSession[str]:
    """What asks for statements: ``prompt()`` returns whole ones, raises KeyboardInterrupt and EOFError.

    Args:
        names: gives those that the server knows at the moment.
        input, output: the terminal, unless it is another than the process's. It is asked there even where the results
            go into a file.
    """
    return PromptSession(
        MARK,
        multiline=True,
        prompt_continuation=lambda width, line, wraps: " " * width,
        completer=_Completer(names),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        history=kept,
        key_bindings=_keys(),
        lexer=PygmentsLexer.from_filename("statement.sql"),
        reserve_space_for_menu=6,
        input=input,
        output=output or create_output(always_prefer_tty=True),
    )
