"""Numba's compiler with its cache on disk, which here knows all that the machine code was made from.

Numba looks for changes in a function's own file only, while numbers of other files are constants in its machine code.
So each cached function carries a stamp of every file that it depends on in its name.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

_announced: set[str] = set()


def stamp(*modules: ModuleType) -> str:
    """Names the present text of these modules."""
    text = "\0".join(inspect.getsource(module) for module in modules)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def compiled(made_from: str, *, nogil: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compiles the function on its first call, unless that is on disk.

    Where nothing can be written on disk, each process compiles anew.
    """

    import numba  # slow, and whoever only asks what is on disk does without

    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ = f"{function.__qualname__}_{made_from}"
        for cache in (True, False):
            try:
                return numba.njit(cache=cache, nogil=nogil)(function)
            except RuntimeError as error:
                if not cache or "cannot cache" not in str(error):
                    raise
        raise AssertionError("unreachable")

    return decorate


def on_disk(dispatcher: Any) -> bool:
    """Whether a compiled function's machine code, for some signature, was kept by an earlier process."""
    if not (folder := dispatcher.stats.cache_path):
        return False
    name = f"{Path(dispatcher.py_func.__code__.co_filename).stem}.{dispatcher.py_func.__qualname__}"
    return any(Path(folder).glob(f"{name}-*.nbi"))


def announce(loop: Any, what: str) -> None:
    """Say, before the first call of a loop, when it must be compiled.

    Args:
        loop: what numba.njit made.
        what: whose loop it is, such as ``DELIMITED codec``.
    """
    if what in _announced:
        return
    _announced.add(what)
    if not on_disk(loop):
        # A warning only so that it is seen: a first start that takes seconds longer has to say why.
        log.warning("compiling the %s, once on this machine (some seconds)", what)
