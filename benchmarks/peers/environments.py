"""An environment for each set of peers, made once from a list with hashes and kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gradstream.errors import UnavailableError
from gradstream.stack.jars import cache_folder

REQUIREMENTS = Path(__file__).parent / "requirements"
MEGABYTES = {"learners": 130, "quix": 60, "bytewax": 50, "pathway": 300}  # to download, about
# The lists are complete, so nothing is left for pip to decide. What is imported compiles itself when it first is.
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "2", "--timeout", "20")
INSTALL = (
    "install",
    "--no-compile",
    "--no-deps",
    "--require-hashes",
    "--only-binary",
    ":all:",
    "-r",
)


def requirements(name: str) -> Path:
    return REQUIREMENTS / f"{name}.txt"


def folder(name: str) -> Path:
    """Where an environment lies: for this Python and this list, so that a new list makes a new one."""
    listed = hashlib.sha256(requirements(name).read_bytes()).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache_folder() / "peers" / f"{name}-{version}-{listed}"


def python(name: str) -> Path:
    """The interpreter of an environment."""
    return folder(name) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ready(name: str) -> bool:
    return (folder(name) / "complete").exists()


def make(name: str) -> None:
    """Makes an environment where it is missing or was left half done.

    Raises:
        UnavailableError: NO_ENVIRONMENT, with what pip said last.
    """
    if ready(name):
        return
    made = folder(name)
    shutil.rmtree(made, ignore_errors=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    _run(name, sys.executable, "-m", "venv", str(made))
    _run(name, str(python(name)), *PIP, *INSTALL, str(requirements(name)))
    (made / "complete").touch()


def _run(name: str, *words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        why = said[-1].removeprefix("ERROR: ") if said else f"exit code {done.returncode}"
        raise UnavailableError("NO_ENVIRONMENT", f"{name} cannot be installed: {why}")
