"""What all commands share: wrong flags get the nearest right one, bars leave the screen to errors."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gradstream import console
from gradstream.command import Parser, parser
from gradstream.errors import UsageError

ROOT = Path(__file__).parent.parent


def made() -> Parser:
    top = parser("x", "")
    below: Parser = top.add_subparsers().add_parser("regression")
    below.add_argument("--rows")
    below.add_argument("--mode", choices=["bounded", "live"])
    return top


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("regression --row 3", "unknown flag --row; did you mean --rows?"),
        ("regresion", "did you mean 'regression'?"),
        ("regression --mode lives", "did you mean 'live'?"),
        ("regression --mode zzz", "see gradstream x regression --help"),
        ("--xyzzy", "unknown flag --xyzzy; see gradstream x --help"),
    ],
)
def test_the_nearest_right_word_is_offered(words: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        made().parse_args(words.split())
    assert str(error.value).endswith(said)


@pytest.mark.parametrize("terminal", [False, True])
def test_an_error_finds_no_bar_on_the_screen(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "notes", Console(file=screen, force_terminal=terminal, width=80))

    def fail() -> None:
        with console.progress("records") as bar:
            bar.add_task("to t", total=10)
            raise UsageError("USAGE", "wrong")

    with pytest.raises(UsageError):
        fail()
    left = screen.getvalue()
    # On a terminal the last that is said to it is to erase the line of the bar.
    assert left.rstrip().endswith("\x1b[2K") if terminal else not left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_a_library_loads_cannot_be_swallowed(tmp_path: Path, number: int) -> None:
    # As the start of a module in Cython does.
    (tmp_path / "swallows.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {number})\n    for _ in range(1000): pass\nexcept: pass\n"
        "def main(argv): return 0\n"
    )
    program = "from gradstream import cli; cli.COMMANDS['train'] = ('swallows', (), ''); cli.main()"
    done = subprocess.run([sys.executable, "-c", program, "train"], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "stopped"


def test_ctrl_c_where_python_cannot_raise_comes_again() -> None:
    program = """
import os, signal
from gradstream.command import run

class Loud:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

def main(argv):
    Loud()  # its end swallows the interrupt
    for _ in range(10**8):
        pass
    return 0

run(main, [])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "stopped"


def test_commands_leave_pandas_alone() -> None:
    """Arrow would load it with the first array."""
    program = """
import sys
from gradstream.command import loading, run

def main(argv):
    with loading():
        import pyarrow
    pyarrow.array([1.0])
    assert "pandas" not in sys.modules
    print(type(pyarrow.array([1.0]).to_pandas()))  # who asks for it gets it
    return 0

run(main, [])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Series" in done.stdout
