"""The line that one types into, keys through a pipe: when a statement is whole, what Tab does, what is remembered."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from gradstream.shell.names import Names, Source
from gradstream.shell.prompt import HISTORY, history, prompt

NAMES = Names(sources={"PAYMENTS": Source("stream", {"AMOUNT": "DOUBLE"})})
ENTER, CTRL_C, CTRL_D = "\r", "\x03", "\x04"
Ask = Callable[..., str]


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as made:
        yield made


@pytest.fixture
def ask(keyboard: PipeInput) -> Ask:
    """What the prompt returns to somebody who presses these keys."""

    def ask(keys: str, kept: History | None = None) -> str:
        asks = prompt(lambda: NAMES, kept or InMemoryHistory(), keyboard, DummyOutput())
        keyboard.send_text(keys)
        return asks.prompt()

    return ask


def test_a_statement_goes_on_until_its_semicolon(ask: Ask) -> None:
    keys = ENTER.join(["SELECT ';'", "  -- a ; b", "FROM payments", "EMIT CHANGES;", ""])
    assert ask(keys) == "SELECT ';'\n  -- a ; b\nFROM payments\nEMIT CHANGES;"


@pytest.mark.parametrize("word", ["exit", "help", "RUN SCRIPT 'a.sql'"])
def test_the_shells_own_statements_need_no_semicolon(ask: Ask, word: str) -> None:
    assert ask(word + ENTER) == word


def test_ctrl_c_drops_what_is_typed_and_ctrl_d_leaves(ask: Ask) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask("SELECT" + CTRL_C)
    with pytest.raises(EOFError):
        ask(CTRL_D)


def test_what_is_pasted_comes_at_once(ask: Ask) -> None:
    pasted = "SHOW STREAMS;\nSHOW TABLES;"
    assert ask(f"\x1b[200~{pasted}\x1b[201~" + ENTER) == pasted


def offered(text: str, asked: bool) -> list[str]:
    completer = prompt(lambda: NAMES, InMemoryHistory(), output=DummyOutput()).completer
    assert completer
    event = CompleteEvent(completion_requested=asked, text_inserted=not asked)
    return [of.text for of in completer.get_completions(Document(text), event)]


def test_names_come_unasked_where_only_names_can_stand() -> None:
    assert offered("SELECT * FROM ", asked=False) == ["PAYMENTS"]
    assert offered("select a", asked=False)[0] == "amount"
    assert offered("SELECT ", asked=False) == []
    assert "AMOUNT" in offered("SELECT ", asked=True)


def test_statements_are_remembered_where_only_their_owner_can_read(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSTREAM_HOME", str(tmp_path / "home"))
    statement = "SHOW\nSTREAMS;"
    ask(statement.replace("\n", ENTER) + ENTER, history(pytest.fail))
    file = tmp_path / "home" / HISTORY
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(history(pytest.fail).load_history_strings()) == [statement]


def test_a_home_that_cannot_be_written_costs_only_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADSTREAM_HOME", str(tmp_path / "file"))
    told: list[str] = []
    assert isinstance(history(told.append), InMemoryHistory)
    assert told[0].startswith("no history is kept: ")
