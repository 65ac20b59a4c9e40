"""The Java programs on this machine: where they are kept, and proof at every start that they are the pinned ones.

Files lie in the cache folder, shared by all stacks of a user. All of them are hashed at every start (220 MB, a fifth
of a second), so that a damaged or changed file never runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gradstream.errors import DataError, UnavailableError
from gradstream.stack.download import download
from gradstream.stack.folders import make
from gradstream.stack.lock import locked
from gradstream.stack.pins import Pin, pins, sha256, tree_sum


@dataclass(frozen=True, slots=True)
class Programs:
    """Verified files, ready to run.

    Attributes:
        kafka: the jars of Kafka's class path.
        registry: folder with Apicurio's ``quarkus-run.jar``.
        cache: the folder that both lie in.
    """

    kafka: tuple[Path, ...]
    registry: Path
    cache: Path


def cache_folder() -> Path:
    """``GRADSTREAM_CACHE``, else a folder of ours where the system keeps a user's caches."""
    if given := os.environ.get("GRADSTREAM_CACHE"):
        return Path(given).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gradstream"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradstream"


def provide(cache: Path | None = None) -> Programs:
    """The programs, downloaded and unpacked where missing, verified always.

    Raises:
        UnavailableError: ``DOWNLOAD_FAILED``, a file is missing and cannot be fetched.
        DataError: ``WRONG_CHECKSUM``, a file is not the pinned one.
    """
    cache = cache or cache_folder()
    folder = cache / "jars"
    make(cache)
    make(folder)
    kafka = pins()["kafka"]
    (archive,) = pins()["registry"]
    registry = cache / f"{archive.artifact}-{archive.version}"
    with _alone(cache):
        _fetch([*kafka, *([] if registry.is_dir() else [archive])], folder)
        if not registry.is_dir():
            unpack(archive, folder / archive.filename, registry)
    with ThreadPoolExecutor(2) as pool:
        checks = [pool.submit(verify_tree, archive, registry)]
        checks += [pool.submit(verify, pin, folder / pin.filename) for pin in kafka]
        for check in checks:
            check.result()
    return Programs(tuple(folder / pin.filename for pin in kafka), registry, cache)


def kafka_tools(programs: Programs) -> Path:
    """The jar of Kafka's command-line tools, which only container images have a use for; raises as provide does."""
    (pin,) = pins()["tools"]
    folder = programs.cache / "jars"
    with _alone(programs.cache):
        _fetch([pin], folder)
    verify(pin, folder / pin.filename)
    return folder / pin.filename


def _alone(cache: Path) -> AbstractContextManager[None]:
    return locked(cache / "jars.lock", 600.0, "another gradstream downloads into the same cache")


def _fetch(needed: Iterable[Pin], folder: Path) -> None:
    missing = [pin for pin in needed if not (folder / pin.filename).is_file()]
    for pin, part in download(missing, folder):
        verify(pin, part)
        part.rename(folder / pin.filename)


def verify(pin: Pin, file: Path) -> None:
    """Raises DataError ``WRONG_CHECKSUM`` unless ``file`` has the pinned size and sum; the file is left for a look."""
    try:
        size = file.stat().st_size
        found = sha256(file)
    except FileNotFoundError:
        raise UnavailableError(
            "FILE_MISSING", f"{file} has vanished; run gradstream up again to download it"
        ) from None
    if (size, found) != (pin.size, pin.sha256):
        raise DataError(
            "WRONG_CHECKSUM",
            f"{file} is not {pin.coordinates}: its SHA-256 is {found[:16]}… ({size:,} bytes), pinned is "
            f"{pin.sha256[:16]}… ({pin.size:,} bytes); it was not run; delete it and run gradstream up again",
        )


def verify_tree(pin: Pin, folder: Path) -> None:
    """Raises DataError ``WRONG_CHECKSUM`` unless the unpacked folder holds exactly the pinned files."""
    if tree_sum(folder) != pin.tree:
        raise DataError(
            "WRONG_CHECKSUM",
            f"{folder} is not {pin.coordinates} as pinned: files were changed, added or lost; it was not run; "
            "delete the folder and run gradstream up again",
        )


def unpack(pin: Pin, archive: Path, target: Path) -> None:
    """Unpack beside the target and rename, so that a folder with the right name is whole; the archive is deleted."""
    verify(pin, archive)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="unpacking-") as scratch:
        fresh = Path(scratch) / "fresh"
        with tarfile.open(archive) as packed:
            packed.extractall(fresh, filter="data")
        verify_tree(pin, fresh)
        shutil.move(fresh, target)
    archive.unlink()
