"""docs/jupyter.md and the README: their cells, run in a kernel in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.sql_files import sql_file

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "jupyter.md"


def cells(page: str) -> list[tuple[str, str]]:
    """The page's code cells: what is noted of each, and its text."""
    return re.findall(r"^```python3 ?(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def run(texts: list[str]) -> Any:
    """A notebook of these cells with its outputs; a cell that fails does not stop the others."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(t.rstrip()) for t in texts]
    )
    where = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=120, allow_errors=True, resources=where).execute()
    return notebook


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_cells_of_the_page_work(
    services: Services, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSTREAM_BOOTSTRAP_SERVERS", services.bootstrap_servers)
    monkeypatch.setenv("GRADSTREAM_SCHEMA_REGISTRY_URL", services.schema_registry_url)
    monkeypatch.setenv("GRADSTREAM_KSQL_URL", engine.url)
    page = PAGE.read_text()
    blocks = cells(page)
    assert len(blocks) > 8
    notebook = run([text for _, text in blocks])
    for (note, text), cell in zip(blocks, notebook.cells, strict=True):
        errors = [of for of in cell.outputs if of.output_type == "error"]
        assert bool(errors) == (note == "refused"), (text, errors)
        for error in errors:  # which the page shows below the cell
            assert "".join(f"    {line}\n" for line in error.traceback) in page
    shown = "\n".join(str(of.get("data", of)) for cell in notebook.cells for of in cell.outputs)
    assert "'V28':" in shown
    assert "100 rows" in shown


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_cells_of_the_readme_work(
    services: Services, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSTREAM_BOOTSTRAP_SERVERS", services.bootstrap_servers)
    monkeypatch.setenv("GRADSTREAM_SCHEMA_REGISTRY_URL", services.schema_registry_url)
    monkeypatch.setenv("GRADSTREAM_KSQL_URL", engine.url)
    with KsqlClient(engine.url) as client:  # the page's earlier commands
        client.execute(sql_file("fraud.sql").read_text())
    (text,) = (text for _, text in cells((ROOT / "README.md").read_text()))
    notebook = run([*text.splitlines(), "len(payments.columns)"])
    errors = [of for cell in notebook.cells for of in cell.outputs if of.output_type == "error"]
    assert not errors
    shown = str(notebook.cells[-2].outputs)
    assert "CREDITCARDFRAUD_PREPROCESSED_AVRO" in shown
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "31"
