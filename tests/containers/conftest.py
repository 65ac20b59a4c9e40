"""What tests with containers need: a Docker engine that answers, and images to run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradstream.errors import UnavailableError

ROOT = Path(__file__).parent.parent.parent
ROLES = ("python", "kafka", "registry", "ksqldb")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs an engine is no fast test; the first of them waits for images, which takes minutes to build."""
    for item in items:
        if (
            "docker" in getattr(item, "fixturenames", ())
            and Path(__file__).parent in item.path.parents
        ):
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def docker() -> str:
    """The version of the Docker engine that answers; skips, with the reason, where none does."""
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no program docker; as root on Debian, docker/engine up installs it")
    if done.returncode:
        pytest.skip(f"no Docker engine answers: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def standins(docker: str) -> dict[str, str]:
    """Images by role (python, kafka, registry, ksqldb): the real ones where all of them are here, else stand-ins.

    Skips, with the reason, where the real ones are not here and stand-ins cannot be built.
    """
    real = real_images()
    if all(_is_here(image) for image in real.values()):
        return real
    build = [sys.executable, str(ROOT / "docker" / "standins" / "build.py")]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    print(done.stderr)
    if done.returncode not in (0, UnavailableError.exit_code):  # our own image, or a bug
        pytest.fail(done.stderr)
    if done.returncode:
        missing = next(image for image in real.values() if not _is_here(image))
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        pytest.skip(f"the image {missing} is not here, and no stand-in could be built: {reason}")
    names = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return {role: names[f"GRADSTREAM_{role.upper()}_IMAGE"] for role in ROLES}


def real_images() -> dict[str, str]:
    """The images that docker-compose.yml names where nothing else is told, by role."""
    text = (ROOT / "docker-compose.yml").read_text()
    named = dict(re.findall(r"\$\{GRADSTREAM_(\w+)_IMAGE:-([^}]+)\}", text))
    return {role: named[role.upper()] for role in ROLES}


def _is_here(image: str) -> bool:
    asked = ["docker", "image", "inspect", image]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0
