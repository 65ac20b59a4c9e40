"""The project's docker-compose.yml, started for a test: under a name and on ports of its own, with the images given."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gradstream.config import Services
from gradstream.stack.ports import choose

ROOT = Path(__file__).parent.parent.parent
PROJECT = "com.docker.compose.project"
IMAGE = "gradstream-standin/gradstream:local"
PATIENCE = 400.0  # seconds; an idle machine needs a tenth of it
# A stream that does not end while a test looks: whatever is killed is killed in the middle. Each row is a transaction of
# the engine and one of the trainer, so a fast one would take the machine from all tests beside these.
STREAM = {"ROWS": "1000000", "RATE": "5"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a container.

    Attributes:
        at: nanoseconds since 1970.
        service: whose container.
        what: ``start``, ``die``, ``health_status: healthy`` and the like.
    """

    at: int
    service: str
    what: str


@dataclass(frozen=True)
class Stack:
    """One project of compose.

    Attributes:
        program: words that compose is called with.
        project: its unique name.
        environment: variables for compose.
        services: the addresses as published on this machine.
        events_file: where Docker's events are written to.
    """

    program: Sequence[str]
    project: str
    environment: Mapping[str, str]
    services: Services
    events_file: Path
    volumes: set[str] = field(default_factory=set)

    def compose(self, *words: str, seconds: float = 900.0) -> str:
        """What compose said; it must have succeeded."""
        command = [*self.program, "--project-name", self.project, *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            pytest.fail(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{self.logs()}"
            )
        return done.stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """All containers, ended ones too, as docker inspect shows them, by service."""
        ids = docker(
            "ps", "--all", "--quiet", "--filter", f"label={PROJECT}={self.project}"
        ).split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def container(self, service: str) -> dict[str, Any]:
        return self.containers()[service]

    def events(self) -> list[Event]:
        """What happened so far, in order."""
        rows = [line.split(" ", 2) for line in self.events_file.read_text().splitlines()]
        return sorted(
            (Event(int(at), service, what) for at, service, what in rows), key=lambda e: e.at
        )

    def first(self, service: str, what: str) -> int:
        """When that happened first; fails where it has not."""
        found = [
            event.at for event in self.events() if (event.service, event.what) == (service, what)
        ]
        if not found:
            pytest.fail(f"{service} has seen no {what}:\n{self.timeline()}\n{self.logs()}")
        return found[0]

    def timeline(self) -> str:
        events = self.events()
        return "\n".join(
            f"{(e.at - events[0].at) / 1e9:7.1f} s  {e.service:20} {e.what}" for e in events
        )

    def logs(self, lines: int = 25) -> str:
        """The last lines of every container, and how it is."""
        parts = []
        for service, found in self.containers().items():
            state = {
                key: found["State"].get(key)
                for key in ("Status", "ExitCode", "OOMKilled", "Health")
            }
            said = docker("logs", "--tail", str(lines), found["Id"], check=False)
            parts.append(f"---- {service}: {state}\n{said}")
        return "\n".join(parts)

    def until(self, what: str, ask: Callable[[], T], seconds: float = PATIENCE) -> T:
        """What ``ask`` gives as soon as it gives something; fails with all logs after the deadline."""
        deadline = time.monotonic() + seconds
        while not (found := ask()):
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:.0f} s for {what}\n{self.timeline()}\n{self.logs()}")
            time.sleep(0.5)
        return found

    def left(self) -> list[str]:
        """Containers, volumes and networks of the project that are still there."""
        mine = ("--quiet", "--filter", f"label={PROJECT}={self.project}")
        found = (
            docker("ps", "--all", *mine)
            + docker("volume", "ls", *mine)
            + docker("network", "ls", *mine)
        )
        return found.split() + sorted(self.volumes & set(docker("volume", "ls", "--quiet").split()))

    def up(self) -> str:
        """Everything is started, with an image of the code as it is."""
        return self.compose("up", "--detach", "--build")

    def down(self, *, data: bool) -> None:
        """All containers and networks of the project go, and the volumes with its data if told."""
        for found in self.containers().values():
            mounts = [mount["Name"] for mount in found["Mounts"] if mount["Type"] == "volume"]
            self.volumes.update(mounts)
        volumes = ["--volumes"] if data else []
        self.compose("down", *volumes, "--remove-orphans", "--timeout", "20")


@contextmanager
def stack(
    program: Sequence[str], profile: str, images: Mapping[str, str], folder: Path
) -> Iterator[Stack]:
    """A project that is up: ``compose up`` has returned. Gone at the end, however that comes."""
    taken: set[int] = set()
    ports = {name: choose("", None, None, taken) for name in ("KAFKA", "REGISTRY", "KSQL")}
    project = f"gradstream-{uuid.uuid4().hex[:8]}"
    started = Stack(
        program,
        project,
        environment(profile, images, ports),
        Services(
            f"127.0.0.1:{ports['KAFKA']}",
            f"http://127.0.0.1:{ports['REGISTRY']}",
            f"http://127.0.0.1:{ports['KSQL']}",
        ),
        folder / "events",
    )
    with watched(started):
        try:
            began = time.monotonic()
            said = started.up()
            print(f"{said}\n{started.timeline()}\nup after {time.monotonic() - began:.0f} s")
            yield started
        finally:
            started.down(data=True)
            docker("image", "rm", f"{IMAGE}-slim", check=False)


def environment(
    profile: str, images: Mapping[str, str], ports: Mapping[str, int]
) -> dict[str, str]:
    """Compose's variables: ours, and none that the developer has set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GRADSTREAM_", "COMPOSE_"))}
    return {
        **kept,
        **{f"GRADSTREAM_{role.upper()}_IMAGE": image for role, image in images.items()},
        **{f"GRADSTREAM_{name}_PORT": str(port) for name, port in ports.items()},
        **{
            f"GRADSTREAM_{which}_{k}": v
            for which in ("REGRESSION", "FRAUD")
            for k, v in STREAM.items()
        },
        "GRADSTREAM_IMAGE": IMAGE,
        "COMPOSE_PROFILES": profile,
        "DOCKER_BUILDKIT": "0",  # both versions then build as docker/standins/build has built, and find its layers
        "COMPOSE_HTTP_TIMEOUT": "600",  # on a busy machine the engine takes longer to answer than the usual minute
    }


@contextmanager
def watched(stack: Stack) -> Iterator[None]:
    """Docker's events of the project go to its file."""
    shown = '{{.TimeNano}} {{index .Actor.Attributes "com.docker.compose.service"}} {{.Action}}'
    kinds = [f"--filter=event={kind}" for kind in ("start", "health_status", "kill", "die")]
    command = [
        "docker",
        "events",
        f"--filter=label={PROJECT}={stack.project}",
        *kinds,
        "--format",
        shown,
    ]
    with stack.events_file.open("w") as file, subprocess.Popen(command, stdout=file) as process:
        try:
            yield
        finally:
            process.terminate()


def docker(*words: str, check: bool = True) -> str:
    """What the docker program said."""
    return subprocess.run(
        ["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=check
    ).stdout
