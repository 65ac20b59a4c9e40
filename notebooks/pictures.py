"""The README's pictures of the notebooks, drawn anew by running them on the services that Services.find() finds.

gradstream up && python -m notebooks.pictures

A cell with the tag ``picture:NAME`` gives docs/NAME.png. The notebooks themselves stay as they are.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, TypeAlias

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
TAG = "picture:"

Node: TypeAlias = (
    Any  # a dictionary whose keys are attributes too, of which nbformat tells no types
)


def read(path: Path) -> Node:
    """The notebook of a file."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def execute(path: Path, timeout: float = 300) -> Node:
    """The notebook with its outputs, run from top to bottom in a kernel of its own.

    Args:
        timeout: seconds that one cell may take.

    Raises:
        CellExecutionError: a cell failed; its text has the cell and the error.
    """
    notebook = read(path)
    where = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=timeout, resources=where).execute()
    return notebook


def pictures(notebook: Node) -> dict[str, Node]:
    """The cells that give pictures, by the name of the file."""
    return {
        tag.removeprefix(TAG): cell
        for cell in notebook.cells
        for tag in cell.metadata.get("tags", [])
        if tag.startswith(TAG)
    }


def png(cell: Node) -> bytes:
    """What an executed cell has drawn last."""
    drawn = [output.data["image/png"] for output in cell.outputs if "data" in output]
    return base64.b64decode(drawn[-1])


def main() -> None:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if not pictures(read(path)):
            continue
        for name, cell in pictures(execute(path)).items():
            target = ROOT / "docs" / f"{name}.png"
            target.write_bytes(png(cell))
            print(f"{path.name} → {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
