"""docs/jupyter.md: its cells, run in a kernel in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from gradstream.config import Services

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "jupyter.md"


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_cells_of_the_page_work(
    services: Services, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSTREAM_BOOTSTRAP_SERVERS", services.bootstrap_servers)
    monkeypatch.setenv("GRADSTREAM_SCHEMA_REGISTRY_URL", services.schema_registry_url)
    monkeypatch.setenv("GRADSTREAM_KSQL_URL", engine.url)
    page = PAGE.read_text()
    blocks = re.findall(r"^```python3 ?(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    cells = [nbformat.v4.new_code_cell(text.rstrip()) for _, text in blocks]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(
        notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    for (note, text), cell in zip(blocks, notebook.cells, strict=True):
        errors = [of for of in cell.outputs if of.output_type == "error"]
        assert bool(errors) == (note == "refused"), (text, errors)
        for error in errors:  # which the page shows below the cell
            assert "".join(f"    {line}\n" for line in error.traceback) in page
    shown = "\n".join(str(of.get("data", of)) for cell in notebook.cells for of in cell.outputs)
    assert "'V28':" in shown
    assert "100 rows" in shown
