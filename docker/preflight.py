#!/usr/bin/env python3
"""What docker compose needs, asked before it starts: engine, compose, profiles, memory, ports, images, a token.

    python3 docker/preflight.py [--profile NAME ...]

What is wrong is told on stderr, a line each: what, where, what to type. When all is well, stdout gets the command that
is to be followed by ``up``, such as ``docker compose --profile embedded-ksql``. Nothing but Python itself is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from errno import EADDRINUSE
from pathlib import Path
from typing import Iterator, Mapping, NamedTuple, Sequence  # noqa: UP035  for the system's Python 3.8

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gradstream.errors import (  # noqa: E402  of this checkout, installed or not
    ConfigError,
    GradstreamError,
    UnavailableError,
)

OLDEST = (1, 29)  # of docker-compose: conditions of one-shot services, profiles, devices
MERGING = (
    (2, 0),
    (2, 12),
)  # from, until: takes the profiles of .env besides those of the command line
GIB = 2**30
NEEDED = {"ksqldb": 3.5 * GIB, "embedded-ksql": 2.0 * GIB}  # by a whole stack, with room to breathe
SERVERS = tuple(NEEDED)
TOKEN = ROOT / "docker" / "secrets" / "jupyter_token"
STANDINS = "docker/standins/build"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


class Port(NamedTuple):
    """A port of this machine, and the variable that says which."""

    variable: str
    number: str


@dataclass
class Service:
    """What docker-compose.yml says of a service, as far as it can be in the way of a start.

    Attributes:
        image: its name, filled in.
        variable: that says the image; empty for those that are built here.
    """

    name: str
    profiles: list[str] = field(default_factory=list)
    image: str = ""
    variable: str = ""
    ports: list[Port] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="docker/preflight.py", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--profile", action="append", default=[], help="instead of COMPOSE_PROFILES"
    )
    given = parser.parse_args(argv)
    settings = {**dotenv(ROOT / ".env"), **os.environ}
    problems = []
    try:
        engine()
        compose, version = newest_compose()
        profiles = given.profile or words(settings.get("COMPOSE_PROFILES", ""))
        found = services((ROOT / "docker-compose.yml").read_text("utf-8"), settings)
        problems = list(check(found, profiles, settings, version))
    except GradstreamError as error:
        problems = [error]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        return problems[0].exit_code
    flags = [word for name in given.profile for word in ("--profile", name)]
    sys.stdout.write(" ".join(map(shlex.quote, [*compose, *flags])) + "\n")
    return 0


def check(
    found: list[Service], profiles: list[str], settings: Mapping[str, str], version: tuple[int, ...]
) -> Iterator[GradstreamError]:
    """Everything that stands in the way of a start, cheap questions first; images only where nothing else does."""
    check_profiles(found, profiles)
    active = [one for one in found if not one.profiles or set(one.profiles) & set(profiles)]
    ours = published(settings)
    problems: list[GradstreamError] = []
    if not elsewhere():
        problems += check_ports([port for one in active for port in one.ports], ours)
    if not ours:  # else the memory is taken by what is to run
        problems += check_memory(next(name for name in SERVERS if name in profiles))
    if "jupyter" in profiles or version < (
        2,
    ):  # 1.29 grumbles about the missing file of a service that is off
        problems += check_token(Path(settings.get("GRADSTREAM_JUPYTER_TOKEN_FILE") or TOKEN))
    yield from problems
    if not problems:
        yield from check_images(active, settings)


# What compose will read


def dotenv(file: Path) -> dict[str, str]:
    """The settings of an .env file."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def filled(text: str, settings: Mapping[str, str]) -> str:
    """The text with ``${NAME:-default}`` as compose fills it."""
    return VARIABLE.sub(lambda found: settings.get(found[1]) or found[2], text)


def services(text: str, settings: Mapping[str, str]) -> list[Service]:
    """The services of our own compose file, which is written so that its lines can be read one by one."""
    found: list[Service] = []
    built = re.search(r"(?m)^  image: (\S+)$", text)
    for line in text.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0].splitlines():
        if name := re.fullmatch(r"  ([\w-]+):", line):
            found.append(Service(name[1]))
        elif line.startswith("    <<: *") and built:
            found[-1].image = filled(built[1], settings)
        elif profiles := re.fullmatch(r"    profiles: \[(.*)\]", line):
            found[-1].profiles = words(profiles[1])
        elif image := re.fullmatch(r"    image: (\S+)", line):
            if not found[-1].image:
                found[-1].variable = VARIABLE.match(image[1])[1]  # type: ignore[index]
            found[-1].image = filled(image[1], settings)
        elif line.startswith("    ports: "):
            ports = (VARIABLE.search(port) for port in re.findall(r'"([^"]+)"', line))
            found[-1].ports = [Port(one[1], filled(one[0], settings)) for one in ports if one]
    return found


# What is there


def ask(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
    return lines[-1].strip().rstrip(".")


def engine() -> None:
    """Raises UnavailableError NO_DOCKER unless a Docker engine answers."""
    if not shutil.which("docker"):
        raise UnavailableError(
            "NO_DOCKER",
            "there is no program docker; install Docker Engine or Docker Desktop (as root on Debian: docker/engine up), "
            "or do without: gradstream up",
        )
    done = ask("docker", "version", "--format", "{{.Server.Version}}")
    if done.returncode:
        hint = "start Docker, and see with 'docker info' whether it runs"
        if "permission denied" in done.stderr:
            hint = "you may not use it: sudo usermod -aG docker $USER, then log in again"
        raise UnavailableError("NO_DOCKER", f"no Docker engine answers ({said(done)}); {hint}")


def newest_compose() -> tuple[list[str], tuple[int, ...]]:
    """The words that start compose, and its version.

    Raises:
        UnavailableError: OLD_COMPOSE, there is none or one that is too old.
    """
    older = []
    for command in (["docker", "compose"], ["docker-compose"]):
        if not shutil.which(command[0]):
            continue
        number = re.match(r"v?(\d+)\.(\d+)", ask(*command, "version", "--short").stdout)
        version = (int(number[1]), int(number[2])) if number else (0, 0)
        if version >= OLDEST and not MERGING[0] <= version < MERGING[1]:
            return command, version
        if number:
            older.append(f"{' '.join(command)} {number[1]}.{number[2]}")
    raise UnavailableError(
        "OLD_COMPOSE",
        f"docker compose is needed, {MERGING[1][0]}.{MERGING[1][1]} or newer, or docker-compose {OLDEST[0]}.{OLDEST[1]}; "
        f"there is {', '.join(older) or 'none'}; install the package docker-compose-plugin (Docker's) or docker-compose",
    )


def elsewhere() -> bool:
    """Whether the engine publishes its ports on another machine than this."""
    host = ask("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").stdout
    return host.startswith(("tcp:", "ssh:"))


def published(settings: Mapping[str, str]) -> set[str]:
    """Ports of this machine that our own containers have already."""
    name = settings.get("COMPOSE_PROJECT_NAME") or re.sub("[^-_a-z0-9]", "", ROOT.name.lower())
    label = f"label=com.docker.compose.project={name}"
    return set(re.findall(r":(\d+)->", ask("docker", "ps", "--filter", label, "--format", "{{.Ports}}").stdout))  # fmt: skip


# What may be wrong


def check_profiles(found: list[Service], profiles: list[str]) -> None:
    """Raises ConfigError: an unknown profile, or not exactly one KSQL server."""
    known = {name for one in found for name in one.profiles}
    for name in profiles:
        if name not in known:
            raise ConfigError("UNKNOWN_PROFILE", f"no profile {name!r}; there are: {', '.join(sorted(known))}")  # fmt: skip
    if sum(name in profiles for name in SERVERS) != 1:
        raise ConfigError(
            "ONE_KSQL",
            f"profiles {', '.join(profiles) or 'none'}: give one KSQL server, ksqldb or embedded-ksql; flags take the "
            "place of those in .env, so say --profile ksqldb --profile jupyter",
        )


def check_ports(ports: list[Port], ours: set[str]) -> Iterator[GradstreamError]:
    seen: dict[str, str] = {}
    for variable, number in ports:
        if not (number.isdigit() and 0 < int(number) < 2**16):
            yield ConfigError("BAD_PORT", f"{variable}={number}: give a number from 1 to 65535")
        elif other := seen.get(number):
            yield ConfigError(
                "PORT_IN_USE", f"{variable} and {other} are both {number}; change one"
            )
        elif number not in ours and in_use(int(number)):
            free = next(port for port in range(int(number) + 1, 2**16) if not in_use(port))
            yield ConfigError(
                "PORT_IN_USE",
                f"port {number} of 127.0.0.1 is another program's; free it, or take another: {variable}={free}",
            )
        seen[number] = variable


def in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == EADDRINUSE  # what only root may take, the engine may
    return False


def check_memory(server: str) -> Iterator[GradstreamError]:
    there = memory()
    if there < NEEDED[server]:
        remedy = "free some, or give Docker more"
        if server == "ksqldb":
            remedy += "; gradstream's own engine is content with less: --profile embedded-ksql"
        yield UnavailableError(
            "LOW_MEMORY",
            f"the profile {server} needs {NEEDED[server] / GIB:.1f} GiB of memory, and {there / GIB:.1f} GiB are left; {remedy}",
        )


def memory() -> float:
    """Bytes that containers may take: what is left here, or all of the machine that the engine has for itself."""
    engines = float(ask("docker", "info", "--format", "{{.MemTotal}}").stdout.strip() or "inf")
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return engines
    here = {name: int(kib) * 1024 for name, kib in re.findall(r"(?m)^(\w+): +(\d+) kB", text)}
    return float(here["MemAvailable"]) if here["MemTotal"] == engines else engines


def check_token(file: Path) -> Iterator[GradstreamError]:
    """Makes Jupyter's token where there is none yet."""
    if file.exists():
        return
    if file != TOKEN:
        yield ConfigError("NO_TOKEN", f"GRADSTREAM_JUPYTER_TOKEN_FILE={file}: there is no such file; write a token into it")  # fmt: skip
        return
    # Compose hands a file over as it is: the container's user must be able to read it, and nobody else here.
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(secrets.token_urlsafe(24) + "\n")
    file.chmod(0o644)
    sys.stderr.write(f"made a token for Jupyter: {file.relative_to(ROOT)}\n")


def check_images(active: list[Service], settings: Mapping[str, str]) -> Iterator[GradstreamError]:
    needed = {one.variable: one.image for one in active if one.variable}
    if not all(here(one.image) for one in active if not one.variable):
        python = re.search(r"PYTHON_IMAGE: (\S+)", (ROOT / "docker-compose.yml").read_text("utf-8"))
        needed["GRADSTREAM_PYTHON_IMAGE"] = filled(python[1], settings) if python else ""
    for variable, image in needed.items():
        if here(image):
            continue
        sys.stderr.write(f"pulling {image} ...\n")
        done = ask("docker", "pull", "--quiet", image)
        if done.returncode:
            yield UnavailableError(
                "NO_IMAGE",
                f"{image} is not here and cannot be pulled ({said(done)}); name one that is here by {variable}, "
                f"or build stand-ins: {STANDINS}",
            )


def here(image: str) -> bool:
    return ask("docker", "image", "inspect", image).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
