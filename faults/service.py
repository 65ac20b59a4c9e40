"""The services of the laboratory's stack, to be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil

from faults.attempt import Hang
from gradstream.stack import LocalStack, process, state


class Service:
    """The broker, the registry or the engine of a stack."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.stack, self.name = stack, name

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        found = state.read(self.stack.folders)
        if found is None or self.name not in found.children:
            raise Hang(f"no {self.name} has been started")
        return found.children[self.name].pid

    @property
    def log(self) -> Path:
        return self.stack.folders.log(self.name)

    @property
    def alive(self) -> bool:
        found = state.read(self.stack.folders)
        child = found.children.get(self.name) if found else None
        return child is not None and process.find(child, self.stack.folders.home) is not None

    def kill(self) -> None:
        """SIGKILL; returns when it is gone.

        Raises:
            Hang: it was not alive, or does not die.
        """
        if not self.alive:
            raise Hang(f"the {self.name} was not alive when it was to be killed")
        victim = psutil.Process(self.pid)
        victim.kill()
        try:
            victim.wait(10.0)
        except psutil.TimeoutExpired:
            raise Hang(f"the {self.name} does not die of SIGKILL") from None

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def start(self) -> None:
        """Starts it again, at the same address and with its data; returns when the whole stack answers."""
        self.stack.up()
