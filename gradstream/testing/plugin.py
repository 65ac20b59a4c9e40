"""The plugin of pytest: ``gradstream`` and ``gradstream_services``.

pytest imports this file in every run beside which gradstream is installed, so it imports nothing else before a test
asks for a fixture.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradstream.config import Services
    from gradstream.testing.pipeline import Pipeline
    from gradstream.testing.stacks import Kind

KINDS = ("auto", "running", "local", "containers")
_STACK_HELP = (
    "services for the fixtures gradstream and gradstream_services: running (GRADSTREAM_* variables, else what "
    "gradstream up has started), local (a stack of the run's own, without Docker), containers (a stack of the run's "
    "own, in Docker), auto (running if a GRADSTREAM_* address is set, else local)"
)
_HOME = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gradstream")
    group.addoption("--gradstream-stack", choices=KINDS, help=_STACK_HELP)
    group.addoption(
        "--gradstream-keep",
        action="store_true",
        help="leave what tests have made, and the run's own stack, to look at them",
    )
    parser.addini("gradstream_stack", _STACK_HELP, default="auto")


def pytest_configure(config: pytest.Config) -> None:
    told = getattr(config, "workerinput", {}).get("gradstream_home")  # we are a worker of xdist
    name = f"gradstream-tests-{uuid.uuid4().hex[:12]}"
    config.stash[_HOME] = Path(told or Path(tempfile.gettempdir()) / name)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist's: all workers share the main process's stack."""
    node.workerinput["gradstream_home"] = str(node.config.stash[_HOME])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    home = config.stash[_HOME]
    if config.getoption("--gradstream-keep") and home.exists():
        terminalreporter.write_line(
            f"gradstream: kept; see it with GRADSTREAM_HOME={home} gradstream status, "
            f"stop it with GRADSTREAM_HOME={home} gradstream down"
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    home = config.stash.get(_HOME, None)  # a wrong option ends the run before it is configured
    if home is None or hasattr(config, "workerinput"):
        return
    if config.getoption("--gradstream-keep") or not home.exists():
        return
    from gradstream.testing import stacks

    stacks.stop(home)


def _kind(config: pytest.Config) -> Kind:
    kind: Kind = config.getoption("--gradstream-stack") or config.getini("gradstream_stack")
    if kind not in KINDS:
        raise pytest.UsageError(f"gradstream_stack = {kind}: give one of {', '.join(KINDS)}")
    return kind


@pytest.fixture(scope="session")
def gradstream_services(pytestconfig: pytest.Config) -> Iterator[Services]:
    """Addresses of a real Kafka, schema registry and KSQL server; see --gradstream-stack.

    GRADSTREAM_* variables name them too while the tests run, so that programs which a test starts find them.
    """
    from dataclasses import asdict

    services = _services(pytestconfig)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in asdict(services).items():
            patch.setenv(f"GRADSTREAM_{name.upper()}", value)
        yield services


def _services(config: pytest.Config) -> Services:
    """The run's services; without them tests fail with one line, and the log of what did not start."""
    from gradstream.errors import GradstreamError
    from gradstream.testing import stacks

    try:
        return stacks.needed(_kind(config), config.stash[_HOME])
    except GradstreamError as error:
        why = "\n".join([str(error), *getattr(error, "__notes__", ())])
    pytest.fail(why, pytrace=False)


@pytest.fixture
def gradstream(gradstream_services: Services, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """A pipeline of this test's own: topic(), produce(), sql(), rows(), train(); dropped when the test ends."""
    from gradstream.testing.pipeline import Pipeline

    keep = bool(request.config.getoption("--gradstream-keep"))
    with Pipeline(gradstream_services, folder=request.path.parent, keep=keep) as pipeline:
        yield pipeline
