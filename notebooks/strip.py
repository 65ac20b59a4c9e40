"""Notebooks as they are kept: cells and their tags, no outputs, no counts, nothing of the machine that ran them.

python -m notebooks.strip                # all of this folder; or name some
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def stripped(text: str) -> str:
    """The text of a notebook, in the form in which it is kept: Jupyter's own, so that saving changes nothing else."""
    notebook = json.loads(text)
    notebook["metadata"] = KERNEL
    for cell in notebook["cells"]:
        cell["metadata"] = {key: kept for key, kept in cell["metadata"].items() if key == "tags"}
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(names: list[str]) -> None:
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        before = path.read_text("utf-8")
        if (after := stripped(before)) != before:
            path.write_text(after, "utf-8")
            print(f"stripped {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
