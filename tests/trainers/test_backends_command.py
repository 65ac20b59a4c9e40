"""``gradstream backends``: what is here, what is missing and how to get it, what is broken and why."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.trainers.plug_ins import installed
from trainers import backends
from trainers.backends import Entry
from trainers.backends.__main__ import Found, main, table


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Light backends, one that is missing, and three plug-ins: one works, one cannot be imported, one ends."""
    absent = Entry("trainers.backends.on_absent", "Absent", "no_such_package", "pip install 'x[y]'")
    light = {name: backends.BACKENDS[name] for name in ("python", "numpy")}
    monkeypatch.setattr(backends, "BACKENDS", {**light, "absent": absent})
    monkeypatch.setattr("trainers.backends.__main__.BACKENDS", backends.BACKENDS)
    (tmp_path / "mine.py").write_text(
        "from trainers.backends.on_numpy import NumpyBackend\n"
        "class Mine(NumpyBackend):\n"
        "    name = 'mine'\n"
        "    dtypes = ('float64',)\n"
        "    @classmethod\n"
        "    def devices(cls):\n"
        "        print('a framework that talks')\n"
        "        return {'cpu': '', 'gpu:0': 'Abacus 3000'}\n"
    )
    (tmp_path / "ended.py").write_text("import sys; sys.exit(3)\n")
    for name, module in (("mine", "mine:Mine"), ("lost", "no_such:Lost"), ("ended", "ended:End")):
        installed(tmp_path, backends.ENTRY_POINTS, name, module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("few")
def test_what_is_here_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    found = {
        (each := json.loads(line))["name"]: each for line in capsys.readouterr().out.splitlines()
    }
    assert set(found) == {"python", "numpy", "absent", "mine", "lost", "ended"}
    assert found["numpy"]["installed"]
    assert found["numpy"]["devices"] == {"cpu": ""}
    assert found["numpy"]["dtypes"] == ["float64", "float32"]
    assert found["numpy"]["version"]
    assert found["python"]["dtypes"] == ["float64"]
    assert not found["absent"]["installed"]
    assert found["absent"]["install"] == "pip install 'x[y]'"
    assert found["mine"]["devices"] == {"cpu": "", "gpu:0": "Abacus 3000"}
    assert (found["mine"]["version"], found["mine"]["error"]) == ("1.2", "")
    assert found["lost"]["error"] == "ModuleNotFoundError: No module named 'no_such'"
    assert found["ended"]["error"] == "ended with 3"


SEVERAL = [
    Found("python", True, "3.11.7", {"cpu": ""}, ("float64",)),
    Found("tensorflow", False, install="pip install 'gradstream[tensorflow]'"),
    Found(
        "torch",
        True,
        "2.13.0+cu130",
        {
            "cpu": "",
            "gpu:0": "NVIDIA H200",
            "gpu:1": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        },
        ("float64", "float32"),
    ),
    Found("jax", True, "0.10.2", error="ImportError: libcudart.so.13: no [such] file"),
]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_can_be_read_in_a_terminal(width: int) -> None:
    screen = Console(width=width, record=True, file=io.StringIO())
    screen.print(table(SEVERAL))
    shown = screen.export_text()
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert max(map(len, shown.splitlines())) <= width
    assert "tensorflow missing pip install 'gradstream[tensorflow]'" in lines
    assert "torch 2.13.0+cu130 cpu float64, float32" in lines
    assert "gpu:0 NVIDIA H200" in lines
    assert "no [such] file" in " ".join(lines)
