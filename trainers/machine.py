"""What computed: versions and processor, since equal bits are promised on equal ones only.

    made_by("numpy")     # {"gradstream": "0.1.0", "python": "3.13.1", "numpy": "2.3.5", …, "processor": "… avx2 fma"}

A weights record carries this as JSON; ``gradstream rebuild`` tells where its own differs.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainers import backends

LIBRARIES = ("gradstream", "numpy", "numba")  # whatever the backend: metrics and scaler are Numba's
# What libraries choose their loops by, where a processor has it.
EXTENSIONS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve", "sve2")
CPUINFO = Path("/proc/cpuinfo")


def made_by(backend: str) -> dict[str, str]:
    """The versions of what decides the bits, and the processor with its extensions."""
    entry = backends.BACKENDS.get(backend)
    names = dict.fromkeys([*LIBRARIES, *([entry.needs] if entry and entry.needs else [])])
    found = {name: _version(name) for name in names}
    return {**found, "python": platform.python_version(), "processor": processor()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@cache
def processor() -> str:
    """Kind of processor and extensions, such as ``x86_64 AMD EPYC 7B13 (avx2 fma)``."""
    told: dict[str, str] = {}
    if CPUINFO.is_file():
        for line in CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip().lower(), value.strip())
    flags = (told.get("flags") or told.get("features") or "").split()
    has = [name for name in EXTENSIONS if name in flags]
    name = told.get("model name") or platform.processor()
    parts = [platform.machine(), "" if name == platform.machine() else name]
    return " ".join(filter(None, [*parts, f"({' '.join(has)})" if has else ""]))
