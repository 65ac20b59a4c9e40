"""KSQL from notebooks: pandas frames, NumPy batches, a cell magic, and the package ``ksql`` made to work.

    import gradstream.ksql                       # `from ksql import KSQLAPI` works from here on
    from gradstream.ksql import query_frame, stream
    %load_ext gradstream.ksql                    # %%ksql

docs/jupyter.md is the page about it.
"""

from __future__ import annotations

import warnings
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from gradstream.ksql.columns import MissingPackageError
from gradstream.ksql.frames import query_frame, stream
from gradstream.ksql.sticky import settings

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "query_frame", "settings", "stream"]

VERSION = "0.10.2"  # of ksql, whose faults we know
_THEIRS = ("KSQLAPI", "SQLBuilder", "FileUpload")


def _installed() -> str | None:
    try:
        return metadata.version("ksql")
    except metadata.PackageNotFoundError:
        return None


def _prepare() -> None:
    """Makes the installed ksql work, where it is the version that does not work by itself."""
    found = _installed()
    if found == VERSION:
        try:
            from gradstream.ksql import patches

            patches.apply()
        except ModuleNotFoundError as error:  # it is installed without its dependencies
            told = f"ksql is installed without {error.name}, so KSQLAPI cannot be used; type: pip install {error.name}"
            warnings.warn(told, stacklevel=3)
    elif found is not None:
        warnings.warn(
            f"ksql {found} is installed; gradstream.ksql repairs {VERSION} only and leaves it as it is",
            stacklevel=3,
        )


def __getattr__(name: str) -> Any:
    if name not in _THEIRS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _installed() is None:
        raise MissingPackageError(
            "NO_KSQL",
            f"{name} is of the package ksql, which is not installed; type: pip install setuptools requests six && "
            f"pip install --no-build-isolation --no-deps ksql=={VERSION}",
        )
    return getattr(import_module("ksql"), name)


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """``%load_ext gradstream.ksql``."""
    from gradstream.ksql import magic

    magic.register(ipython)


_prepare()
