"""What runs, written down: ``stack.json`` while it runs, ``ports.json`` for the next time."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gradstream.config import Services
from gradstream.stack.folders import Folders
from gradstream.stack.process import Child


@dataclass(frozen=True, slots=True)
class State:
    """One stack, starting (no services yet) or running.

    Attributes:
        services: the three addresses, None until all are ready; clients read them from the file.
        children: started processes by service name.
        ports: by listener: broker, controller, registry, engine.
    """

    services: Services | None
    children: dict[str, Child] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)


def read(folders: Folders) -> State | None:
    """The state on file, or None where there is none or it cannot be read (then it is as good as none)."""
    try:
        found = json.loads(folders.stack_file.read_text())
        children = {name: Child(**child) for name, child in found["children"].items()}
        ports = {name: int(port) for name, port in found["ports"].items()}
        names = Services.__dataclass_fields__
        known = all(name in found for name in names)
        services = Services(**{name: str(found[name]) for name in names}) if known else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return State(services, children, ports)


def write(folders: Folders, state: State) -> None:
    """Put the state on file in one step; the addresses only when the stack is ready, since clients take them."""
    services = asdict(state.services) if state.services else {}
    children = {name: asdict(child) for name, child in state.children.items()}
    _replace(folders.stack_file, {**services, "ports": state.ports, "children": children})
    if state.services:
        _replace(folders.ports_file, state.ports)


def last_ports(folders: Folders) -> dict[str, int]:
    try:
        return {
            str(name): int(port)
            for name, port in json.loads(folders.ports_file.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def forget(folders: Folders) -> None:
    folders.stack_file.unlink(missing_ok=True)


def _replace(file: Path, content: object) -> None:
    part = file.with_name(file.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        json.dump(content, opened, indent=2)
    part.replace(file)
