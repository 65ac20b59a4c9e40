"""Disks of memory, small enough to be filled. Only root can make them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGE = 1024  # MiB


@contextmanager
def small(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A new folder on a disk of so much memory, gone at the end."""
    folder.mkdir()
    _mount(folder, mebibytes)
    try:
        yield folder
    finally:
        _unmount(folder)
        folder.rmdir()


@contextmanager
def moved(folder: Path) -> Iterator[None]:
    """What a folder holds, on a disk of memory; nobody may have files of it open when this begins or ends."""
    kept = folder.with_name(f"{folder.name}-moved")
    folder.rename(kept)
    folder.mkdir(mode=0o700)
    _mount(folder, LARGE)
    try:
        _copy(kept, folder)
        yield
        shutil.rmtree(kept)
        kept.mkdir(mode=0o700)
        _copy(folder, kept)
    finally:
        _unmount(folder)
        folder.rmdir()
        kept.rename(folder)


def leave(folder: Path, mebibytes: int) -> None:
    """Gives the disk there so much more room than what is on it."""
    _mount(folder, shutil.disk_usage(folder).used // 2**20 + mebibytes, "remount,")


def _copy(source: Path, target: Path) -> None:
    """Holes stay holes: indexes of Kafka are files of 10 MiB with next to nothing in them."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/.", str(target)], check=True)


def _mount(folder: Path, mebibytes: int, how: str = "") -> None:
    options = f"{how}size={mebibytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=False)
