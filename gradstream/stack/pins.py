"""Which Java files may run: the table ``pins.toml`` as values."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

PINS = Path(__file__).with_name("pins.toml")


@dataclass(frozen=True, slots=True)
class Pin:
    """One file that may run.

    Attributes:
        group, artifact, version, classifier, extension: Maven coordinates; classifier may be empty.
        size: bytes.
        sha256: of the file, hexadecimal.
        tree: for an archive, the sum of its unpacked files (see tree_sum), else empty.
    """

    group: str
    artifact: str
    version: str
    size: int
    sha256: str
    classifier: str = ""
    extension: str = "jar"
    tree: str = ""

    @property
    def coordinates(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def filename(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.extension}"

    @property
    def path(self) -> str:
        """Where every Maven repository has the file, below its own address."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.filename}"


def pins() -> dict[str, tuple[Pin, ...]]:
    """All pins by program, ``kafka`` and ``registry``."""
    listed = tomllib.loads(PINS.read_text())
    return {program: tuple(Pin(**fields) for fields in rows) for program, rows in listed.items()}


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def tree_sum(folder: Path) -> str:
    """SHA-256 over the lines ``sum name`` of all files below ``folder``, sorted by name."""
    total = hashlib.sha256()
    files = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    for name in sorted(files):
        total.update(f"{sha256(files[name])} {name}\n".encode())
    return total.hexdigest()
