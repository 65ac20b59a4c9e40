"""The machine that figures are from, for the records that benchmarks write."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


def describe(packages: Sequence[str]) -> dict[str, object]:
    """When and on what; ``versions`` of those packages that are installed; how busy the machine was."""
    versions = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    """Its name as sold, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists() and (
        found := re.search(r"^model name\s*: (.*)$", information.read_text(), re.MULTILINE)
    ):
        return found[1]
    return platform.processor() or platform.machine()
