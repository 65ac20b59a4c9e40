"""A small Debian with Python, made by debootstrap from signed packages; kept as one file for the next time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gradstream.errors import UnavailableError

SUITE = "bookworm"
# No more than the image of Python has: what a stand-in has beyond it would hide what is missing there.
PACKAGES = ("ca-certificates", "netbase", "python3", "python3-pip", "python3-venv", "tzdata")
LITTER = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
KEY = hashlib.sha256(f"{SUITE} {PACKAGES} {LITTER}".encode()).hexdigest()[:12]


def base(cache: Path, logged: Callable[[Sequence[str], str], None]) -> Path:
    """The Debian as a tar file in ``cache``.

    Args:
        cache: folder for the file, and for the tree while it is made.
        logged: runs a command; raises UnavailableError where it fails.

    Raises:
        UnavailableError: ``NO_DEBOOTSTRAP`` or ``NO_ROOT``.
    """
    file = cache / f"debian-{SUITE}-{KEY}.tar"
    if file.exists():
        return file
    command = _debootstrap()
    # Not below /tmp, which may be mounted without devices.
    tree = Path(tempfile.mkdtemp(dir=cache, prefix="debian-"))
    part = file.with_name(f"{file.name}.part")
    try:
        logged([*command, SUITE, str(tree)], "Debian")
        for litter in LITTER:
            shutil.rmtree(tree / litter, ignore_errors=True)
            (tree / litter).mkdir()
        logged(["tar", "--create", "--file", str(part), "--directory", str(tree), "."], "Debian")
    finally:
        _remove(tree)
    part.replace(file)
    return file


def _debootstrap() -> list[str]:
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not program:
        raise UnavailableError(
            "NO_DEBOOTSTRAP",
            "debootstrap, which makes the base of the stand-ins, was not found; on Debian and Ubuntu: "
            "apt-get install debootstrap",
        )
    if os.geteuid() != 0:
        raise UnavailableError(
            "NO_ROOT",
            "debootstrap, which makes the base of the stand-ins, must be run by root; run docker/standins/build as "
            "root, or use the real images where they can be pulled",
        )
    signed = "--force-check-gpg"  # else it goes on without, where it lacks Debian's keys
    return [program, "--variant=minbase", signed, f"--include={','.join(PACKAGES)}"]


def _remove(tree: Path) -> None:
    """Delete the tree, but nothing below what a debootstrap that was stopped has left mounted in it."""
    for mount in ("proc", "sys"):
        subprocess.run(["umount", "--lazy", tree / mount], capture_output=True, check=False)
        if os.path.ismount(tree / mount):
            return
    shutil.rmtree(tree, ignore_errors=True)
