"""A stack of containers that all processes of a run use: what runs is written down in the run's folder."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from docker.errors import NotFound
from testcontainers.core.config import testcontainers_config

from gradstream.config import Services
from gradstream.stack.lock import locked
from gradstream.testing.containers import engine
from gradstream.testing.containers.stack import ContainerStack

PATIENCE = 600.0  # seconds for another process to start the stack, images pulled


def started(home: Path) -> Services:
    """The addresses of the folder's stack; started now if it is not yet."""
    record = home / "containers.json"
    with locked(home / "containers.lock", PATIENCE, "another process starts the containers"):
        if not record.exists():
            # The reaper ends with the process that began it, which here is not the last to use the containers.
            testcontainers_config.ryuk_disabled = True
            stack = ContainerStack()
            stack.up()
            assert stack.network is not None
            ids = [container.get_container_id() for container in stack.containers]
            running = {"containers": ids, "network": stack.network.name}
            record.write_text(json.dumps({**running, "services": asdict(stack.services)}))
        return Services(**json.loads(record.read_text())["services"])


def stop(home: Path) -> None:
    """Remove the folder's containers and their network."""
    running = json.loads((home / "containers.json").read_text())
    client = engine.connected()
    try:
        for container in running["containers"]:
            with suppress(NotFound):
                client.containers.get(container).remove(force=True, v=True)
        with suppress(NotFound):
            client.networks.get(running["network"]).remove()
    finally:
        client.close()
