"""Python processes of our own modules."""

from __future__ import annotations

import sys


def running(module: str, *arguments: str) -> list[str]:
    """The command that runs ``main(arguments)`` of a module of this package.

    Not ``python -m``: a package of the same name in the user's folder would be found first.
    """
    package, _, name = module.rpartition(".")
    program = f"import sys; sys.path[:] = {sys.path!r}; from {package} import {name}; {name}.main(sys.argv[1:])"
    return [sys.executable, "-c", program, *arguments]


# As gradstream train sets them. OpenMP's are PyTorch's too.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
