"""docker/preflight.py as a module, since it is a program and in no package; a Docker engine, or the reason to skip."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def preflight() -> ModuleType:
    spec = importlib.util.spec_from_file_location("preflight", ROOT / "docker" / "preflight.py")
    assert spec
    assert spec.loader
    module = sys.modules["preflight"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def docker() -> str:
    """The version of the Docker engine that answers."""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no program docker")
    if done.returncode:
        pytest.skip(f"no Docker engine answers: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()
