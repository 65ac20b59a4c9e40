"""The KSQL engine as one process, started as its command line says; never imported here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gradstream
from gradstream.stack.ports import HOST

NAME = "engine"


def command(port: int, bootstrap_servers: str, schema_registry_url: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gradstream.engine",
        "--listen",
        f"{HOST}:{port}",
        "--bootstrap-servers",
        bootstrap_servers,
        "--schema-registry-url",
        schema_registry_url,
    ]


def environment() -> dict[str, str]:
    """So that the child finds the same gradstream as we are, installed or not."""
    root = str(Path(gradstream.__file__).parent.parent)
    return {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
