"""Every command of the pages, run in its order as a newcomer would; what needs more than is here is at least parsed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from sklearn.datasets import load_diabetes

from gradstream.cli import COMMANDS
from gradstream.stack import LocalStack
from tests.trainers.plug_ins import installed
from trainers.flags import job, parser

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = ROOT / "examples"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path, kind: str) -> list[tuple[str, str]]:
    """The fenced blocks of a kind: what stands behind it, such as ``needs a GPU``, and the text."""
    found = re.findall(
        rf"^```{kind}\b([^\n]*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [(note.strip(), text) for note, text in found]


def commands(page: Path, *, all_of_them: bool = False) -> list[str]:
    """The lines of the page's sh blocks, comments taken off; without those that need more than is here."""
    texts = [text for note, text in blocks(page, "sh") if all_of_them or not note]
    joined = [re.sub(r"\\\n\s*", " ", text) for text in texts]
    lines = [line.split("  #")[0].strip() for text in joined for line in text.splitlines()]
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


def owned(line: str) -> set[str]:
    """What no other trainer may use at the same time: its run, and the file of its job."""
    words = shlex.split(line)
    flags = dict(pairwise(words))
    run = flags.get("--run") or f"{flags.get('--source')}-{flags.get('--model', 'linear')}"
    return {run, *(flags[flag] for flag in ("--job", "--write-job") if flag in flags)}


def steps(lines: list[str]) -> Iterator[list[str]]:
    """The lines in their order; trainers that follow each other and share nothing are one step."""
    step: list[str] = []
    for line in lines:
        trains = line.startswith("gradstream train ")
        taken = set().union(*map(owned, step)) if trains else set()
        if step and not (
            trains and step[0].startswith("gradstream train ") and not taken & owned(line)
        ):
            yield step
            step = []
        step.append(line)
    yield step


@pytest.mark.integration
@pytest.mark.timeout(900)  # each command is a process of its own
@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/training.md", "docs/dead-letters.md", "docs/lineage.md", "docs/shell.md"],
)
def test_every_command_of_a_page_works(name: str, folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADSTREAM_")}
    if cache := os.environ.get("GRADSTREAM_CACHE"):
        environment["GRADSTREAM_CACHE"] = cache
    environment["GRADSTREAM_HOME"] = str(folder / "home")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)  # fmt: skip

    lines = commands(ROOT / name)
    assert len(lines) > 8
    with ThreadPoolExecutor(3) as pool:
        for step in steps(lines):
            for line, done in zip(step, pool.map(run, step), strict=True):
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                if line.startswith("gradstream train") and "--write-job" not in line:
                    assert "no weights were published" not in done.stderr, line


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples, as if they were installed."""
    installed(tmp_path, "gradstream.models", "mlp", "own_model:mlp")
    installed(tmp_path, "gradstream.backends", "blas", "own_backend:BlasBackend")
    for each in (tmp_path, EXAMPLES / "own_model", EXAMPLES / "own_backend"):
        monkeypatch.syspath_prepend(each)
    yield
    for name in ("own_model", "own_backend"):
        sys.modules.pop(name, None)


@every_page
@pytest.mark.usefixtures("plugged")
def test_every_command_of_the_pages_is_understood(page: Path) -> None:
    for line in commands(page, all_of_them=True):
        program, word, *flags = shlex.split(line)
        if program != "gradstream":
            continue
        assert word in COMMANDS, line
        if word == "train":
            given = parser().parse_args(flags)
            if not given.job:  # else its file is written by another command
                job(given).check()


@every_page
def test_every_file_that_a_page_shows_is_right(page: Path, tmp_path: Path) -> None:
    projects = [path.read_text() for path in EXAMPLES.glob("*/pyproject.toml")]
    sources = [path.read_text() for path in EXAMPLES.glob("*/*.py")]
    for _, text in blocks(page, "toml"):
        if "entry-points" in text:
            assert any(text in project for project in projects), text
            continue
        (tmp_path / "train.toml").write_text(text)
        job(parser().parse_args(["--job", str(tmp_path / "train.toml")]))
    for _, text in blocks(page, "python"):
        assert any(text in source for source in sources), text


@pytest.mark.parametrize(
    ("name", "least"), [("training.md", 16), ("dead-letters.md", 8), ("lineage.md", 8)]
)
def test_the_errors_that_the_pages_name_exist(name: str, least: int) -> None:
    sources = "".join(
        path.read_text()
        for room in ("gradstream", "trainers")
        for path in (ROOT / room).rglob("*.py")
    )
    codes = re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", (ROOT / "docs" / name).read_text())
    assert len(codes) >= least
    for code in codes:
        assert f'"{code}"' in sources, code


@every_page
def test_every_link_of_the_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    for anchor in re.findall(r"\]\(#([^)]+)\)", page.read_text()):
        assert anchor in anchors, f"{page.name} links to #{anchor}"


def test_every_make_target_of_the_pages_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"^\s*(?:- )?`?make (\w+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
