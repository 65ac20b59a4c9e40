"""Packages of somebody else's, as pip would have left them: an entry point in a .dist-info folder on the path."""

from __future__ import annotations

from pathlib import Path


def installed(folder: Path, group: str, name: str, value: str, version: str = "1.2") -> None:
    """Adds the entry point ``name = value`` of a group to those that are found with ``folder`` on the path."""
    info = folder / f"own_{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: own-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
