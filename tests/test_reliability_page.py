"""docs/reliability.md names tests, error codes and phases: all of them are there."""

from __future__ import annotations

import re
from pathlib import Path

from gradstream.failpoints import PHASES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_each_test_that_shows_a_promise_exists() -> None:
    rows = [row for row in PAGE.splitlines() if "tests/" in row and row.startswith("|")]
    assert len(rows) > 8
    for row in rows:
        files = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\)", row)
        assert files, row
        told = "".join((ROOT / file).read_text() for file in files)
        for name in re.findall(r"`(test_\w+)`", row):
            assert f"def {name}(" in told, name


def test_each_code_is_raised_somewhere() -> None:
    table = PAGE.split("## What stops a run")[1].split("\n## ")[0]
    codes = {
        code
        for row in table.splitlines()
        if row.startswith("| `")
        for code in re.findall(r"`([A-Z_]{4,})`", row.split(" | ")[0])
    }
    assert len(codes) > 20
    rooms = [ROOT / "trainers", ROOT / "gradstream" / "wire"]
    source = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    assert [code for code in sorted(codes) if f'"{code}"' not in source] == []


def test_the_phases_are_those_that_there_are() -> None:
    table = PAGE.split("| phase | what has happened |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` ", table, re.MULTILINE)) == PHASES
