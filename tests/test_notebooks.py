"""Every notebook runs from top to bottom, says what it misses, and is kept without outputs."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError

from gradstream.config import Services
from notebooks.pictures import Node, execute, pictures, png, read
from notebooks.strip import main, stripped

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITH_SERVICES = [path for path in NOTEBOOKS if "Services.find()" in path.read_text("utf-8")]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Of nbclient's and Jupyter's own making: sockets and loops that they leave to the garbage collector.
quiet = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def told(notebook: Node, stream: str) -> str:
    """All that its cells wrote to stdout or stderr."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == stream)


@quiet
@pytest.mark.integration
@pytest.mark.timeout(
    600
)  # of this suite's tests they have most to do, in a process that loads every framework
@every_notebook
def test_notebook_runs(path: Path, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, address in asdict(services).items():
        monkeypatch.setenv(f"GRADSTREAM_{name.upper()}", address)
    done = execute(path)  # what a notebook claims, it asserts itself
    assert "Warning" not in told(done, "stderr")
    for cell in pictures(done).values():
        assert png(cell).startswith(b"\x89PNG")


def answers(port: int) -> bool:
    with socket.socket() as trial:
        trial.settimeout(1)
        return trial.connect_ex(("127.0.0.1", port)) == 0


@quiet
@pytest.mark.parametrize("path", WITH_SERVICES, ids=lambda path: path.stem)
def test_notebook_without_services_says_what_to_type(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(map(answers, (9092, 8088))):
        pytest.skip("somebody's services answer at the usual ports of this machine")
    for name in Services.__dataclass_fields__:
        monkeypatch.delenv(f"GRADSTREAM_{name.upper()}", raising=False)
    monkeypatch.setenv("GRADSTREAM_HOME", str(tmp_path))
    with pytest.raises(CellExecutionError) as failed:
        execute(path)
    last = re.sub(r"\x1b\[[0-9;]*m", "", str(failed.value)).rstrip().splitlines()[-1]
    assert re.match(r"[A-Z_]+: .*127\.0\.0\.1:\d+.*gradstream up", last), str(failed.value)
    assert "Traceback" not in str(failed.value)


MISSING = """
from trainers import backends
found = backends._installed
backends._installed = lambda entry: entry.needs in (None, "numpy", "numba") and found(entry)
"""


@quiet
def test_backends_notebook_names_what_is_not_installed_and_goes_on(tmp_path: Path) -> None:
    saved = json.loads((ROOT / "notebooks" / "03_backends.ipynb").read_text("utf-8"))
    first = next(cell for cell in saved["cells"] if cell["cell_type"] == "code")
    saved["cells"].insert(0, {**first, "id": "hides", "source": MISSING})
    path = tmp_path / "without.ipynb"
    path.write_text(json.dumps(saved), "utf-8")
    out = told(execute(path), "stdout")
    left_out = re.findall(r"left out: BACKEND_MISSING: .* 'gradstream\[(\w+)\]'", out)
    assert left_out == ["jax", "tensorflow", "torch"]


@every_notebook
def test_notebook_is_kept_stripped_and_opens_with_its_question(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == stripped(text), "type: python -m notebooks.strip"
    assert read(path).cells[0].source.splitlines()[0].endswith("?")


def test_stripping_takes_outputs_and_leaves_cells_and_tags(tmp_path: Path) -> None:
    saved = json.loads(NOTEBOOKS[0].read_text("utf-8"))
    cell = next(cell for cell in saved["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["seen\n"]}]
    cell["metadata"] = {"execution": {"iopub.status.idle": "2026-11-21"}}
    cell["execution_count"] = 3
    saved["metadata"]["language_info"]["version"] = "3.13.1"
    path = tmp_path / "saved.ipynb"
    path.write_text(json.dumps(saved, indent=1), "utf-8")
    main([str(path)])
    assert path.read_text("utf-8") == NOTEBOOKS[0].read_text("utf-8")

    cell["metadata"]["tags"] = ["picture:one"]
    assert '"picture:one"' in stripped(json.dumps(saved))


def test_pictures_of_the_pages_are_there() -> None:
    """Each tagged cell has been drawn: python -m notebooks.pictures."""
    found = [name for path in NOTEBOOKS for name in pictures(read(path))]
    assert found
    assert all((ROOT / "docs" / f"{name}.png").is_file() for name in found)
