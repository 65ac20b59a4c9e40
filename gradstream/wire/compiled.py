"""Loops that Numba compiles once per machine and keeps on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_announced: set[str] = set()


def announce(loop: Any, what: str) -> None:
    """Say, before the first call of a loop, when it must be compiled.

    Args:
        loop: what numba.njit made.
        what: whose loop it is, such as ``DELIMITED codec``.
    """
    if what in _announced:
        return
    _announced.add(what)
    module = loop.py_func.__module__.rpartition(".")[2]
    cache = Path(loop.stats.cache_path or ".")
    if not any(cache.glob(f"{module}.{loop.py_func.__name__}-*.nbi")):
        # A warning only so that it is seen: a first start that takes seconds longer has to say why.
        log.warning("compiling the %s, once on this machine (some seconds)", what)
