"""Every command of the README, run in its order as a newcomer would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import load_diabetes

from gradstream.stack import LocalStack

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """The lines of the README's sh blocks, comments taken off."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What a newcomer has: the checkout's files, a CSV file of their own, and no running stack."""
    (tmp_path / "ksql").symlink_to(ROOT / "ksql")
    data = load_diabetes()
    rows = [",".join([*data.feature_names, "progression"])]
    rows += [
        ",".join(map(repr, [*x, y]))
        for x, y in zip(data.data.tolist(), data.target.tolist(), strict=True)
    ]
    (tmp_path / "measurements.csv").write_text("\n".join(rows) + "\n")
    yield tmp_path
    LocalStack(home=tmp_path / "home").down()


@pytest.mark.integration
def test_every_command_of_the_readme_works(folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADSTREAM_")}
    if cache := os.environ.get("GRADSTREAM_CACHE"):
        environment["GRADSTREAM_CACHE"] = cache
    environment["GRADSTREAM_HOME"] = str(folder / "home")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    assert len(commands()) > 8
    for line in commands():
        done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_every_link_of_the_pages_leads_somewhere() -> None:
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (ROOT / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_of_the_pages_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"^\s*(?:- )?`?make (\w+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
