"""The plugin as a project of users has it: in a pytest of its own, with workers of xdist, one of which is killed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.testing import stacks
from gradstream.wire.kafka import check_broker, list_topics

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_test"

# xdist hands two tests to each of two workers: the first and the third have both begun before either goes on.
MEET = """
import os, time
from pathlib import Path

def meet(name, services, pipeline, config):
    here = Path(os.environ["MEET"])
    home = config.workerinput["gradstream_home"]
    (here / name).write_text(f"{services.bootstrap_servers} {home} {pipeline.topic(name)}")
    while len(list(here.iterdir())) < 2:
        time.sleep(0.05)

def test_one(gradstream_services, gradstream, pytestconfig):
    meet("one", gradstream_services, gradstream, pytestconfig)

def test_a(gradstream):
    assert gradstream.topic()

def test_two(gradstream_services, gradstream, pytestconfig):
    meet("two", gradstream_services, gradstream, pytestconfig)
    os._exit(9)

def test_b(gradstream):
    assert gradstream.topic()
"""


def run_pytest(folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A user's pytest in a folder, without settings of ours."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("GRADSTREAM_", "PYTEST_"))
    }
    if cache := os.environ.get("GRADSTREAM_CACHE"):
        inherited["GRADSTREAM_CACHE"] = cache
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        *flags,
    ]
    return subprocess.run(
        command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False, timeout=280
    )  # fmt: skip


def addresses(services: Services) -> dict[str, str]:
    return {f"GRADSTREAM_{name.upper()}": value for name, value in asdict(services).items()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example, as a user's own folder."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project"))


def test_the_plugin_weighs_nothing() -> None:
    program = (
        "import sys, pytest, tempfile, uuid; before = set(sys.modules); import gradstream.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["gradstream", "gradstream.testing", "gradstream.testing.plugin"]


@pytest.mark.integration
def test_the_example_passes_on_what_runs(services: Services, project: Path) -> None:
    before = set(list_topics(services))
    done = run_pytest(project, "test_payments.py", **addresses(services))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    marked = re.compile(
        r"(?i)payments.*_[0-9A-F]{8}"
    )  # other tests make topics of like names meanwhile
    assert not [name for name in set(list_topics(services)) - before if marked.fullmatch(name)]


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_workers_share_a_stack_that_outlives_each_of_them(project: Path, tmp_path: Path) -> None:
    meet = tmp_path / "meet"
    meet.mkdir()
    (project / "test_meet.py").write_text(MEET)
    done = run_pytest(
        project, "-n2", "--gradstream-stack=local", "--gradstream-keep", "test_meet.py", MEET=str(meet)
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert "crashed while running" in done.stdout
    seen = [(meet / name).read_text().split() for name in ("one", "two")]
    bootstrap, home, topic = seen[0]
    assert seen[1][:2] == [bootstrap, home]
    services = Services(bootstrap, "", "")
    try:
        assert f"GRADSTREAM_HOME={home} gradstream status" in done.stdout
        assert topic in list_topics(services)  # it was asked to keep all
    finally:
        stacks.stop(Path(home))
    assert not Path(home).exists()
    with pytest.raises(UnavailableError):
        check_broker(services)


def test_the_main_process_stops_the_stack(tmp_path: Path) -> None:
    (tmp_path / "test_home.py").write_text(
        "from pathlib import Path\n"
        "def test_home(pytestconfig):\n"
        "    home = Path(pytestconfig.workerinput['gradstream_home'])\n"
        "    home.mkdir()\n"
        "    Path('home').write_text(str(home))\n"
    )
    done = run_pytest(tmp_path, "-n1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not Path((tmp_path / "home").read_text()).exists()


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_the_example_without_pytest_passes(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "test_with_unittest"],
        cwd=project, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


@pytest.mark.parametrize(
    ("flags", "environment", "line"),
    [
        (["--gradstream-stack=running"], {"GRADSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "BROKER_UNREACHABLE: .* gradstream up"),
        ([], {"GRADSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "BROKER_UNREACHABLE: "),
        (["--gradstream-stack=containers"], {"DOCKER_HOST": "unix:///nowhere"}, "NO_DOCKER: .* --gradstream-stack local"),
        (["-o", "gradstream_stack=docker"], {}, "gradstream_stack = docker: give one of auto, running"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line(
    tmp_path: Path, flags: list[str], environment: dict[str, str], line: str
) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(gradstream): pass\n")
    done = run_pytest(tmp_path, *flags, **environment)
    assert done.returncode == 1
    said = [found for found in done.stdout.splitlines() if re.search(line, found)]
    assert len([found for found in said if not found.startswith("ERROR ")]) == 1, done.stdout
    assert "Traceback" not in done.stdout
