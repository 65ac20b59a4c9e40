"""Which services the tests of a run use, and one stack of their own for all its processes.

A stack of one's own lies in a folder that all processes of the run know. Whoever needs it first starts it: under the
folder's lock, so the others wait, then find it running. The run's main process stops it, after all others have ended:
whatever became of them, it is the last by construction, and nobody has to count.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from gradstream.config import Services

Kind: TypeAlias = Literal["auto", "running", "local", "containers"]


def needed(kind: Kind, home: Path) -> Services:
    """The addresses of services that answer; started now if nobody has yet.

    Args:
        home: folder of this run's own stack; made when one is started.

    Raises:
        GradstreamError: in one line, what is missing and what to do.
    """
    if kind == "auto":
        given = [f"GRADSTREAM_{name.upper()}" for name in Services.__dataclass_fields__]
        kind = "running" if any(name in os.environ for name in given) else "local"
    starts: dict[Kind, Callable[[Path], Services]] = {
        "running": _running,
        "local": _local,
        "containers": _containers,
    }
    return starts[kind](home)


def _running(home: Path) -> Services:
    from gradstream.wire.kafka import check_broker

    services = Services.find()
    check_broker(services)
    return services


def _local(home: Path) -> Services:
    from gradstream.stack import LocalStack

    stack = LocalStack(home)
    stack.up()
    return stack.services


def _containers(home: Path) -> Services:
    from gradstream.testing.containers import shared

    return shared.started(home)


def stop(home: Path) -> None:
    """Stop what was started for this folder, and delete it; without one nothing is done."""
    if not home.exists():
        return
    if (home / "containers.json").exists():
        from gradstream.testing.containers import shared

        shared.stop(home)
    else:
        from gradstream.stack import LocalStack

        LocalStack(home).down()
    shutil.rmtree(home, ignore_errors=True)
