"""What stands in the way of docker compose is told in one line each, with what to type."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parent.parent.parent
Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

# A docker that is well, for states into which no test can bring the real one.
FAKE_DOCKER = """#!/bin/sh
case "$*" in
  "version --format"*) echo 28.0.0 ;;
  "info --format"*) echo {memory} ;;
  "compose version --short") {compose} ;;
  "ps "* | "context "* | "image inspect "*) ;;
  *) echo "not expected: $*" >&2; exit 1 ;;
esac
"""
PLENTY = 64 * 2**30


@pytest.fixture
def free_ports() -> dict[str, str]:
    """Numbers that nobody has, by the variables that say which ports are published."""
    names = ("KAFKA", "REGISTRY", "KSQL", "JUPYTER")
    held = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    numbers = [str(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return {f"GRADSTREAM_{name}_PORT": number for name, number in zip(names, numbers, strict=True)}


@pytest.fixture
def run(tmp_path: Path, free_ports: dict[str, str]) -> Run:
    """Runs the preflight with a faked docker, as ``make`` would."""

    def run(
        *flags: str,
        memory: int = PLENTY,
        compose: str = "echo 2.39.1",
        old: str = "",
        **settings: str,
    ) -> subprocess.CompletedProcess[str]:
        program(tmp_path / "docker", FAKE_DOCKER.format(memory=memory, compose=compose))
        if old:
            program(tmp_path / "docker-compose", f"#!/bin/sh\necho {old}\n")
        environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), **free_ports, **settings}
        return preflight_run(*flags, environment=environment)

    return run


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def preflight_run(*flags: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-S",
            ROOT / "docker" / "preflight.py",
            *flags,
        ],  # -S: no installed package
        env=environment,
        capture_output=True,
        text=True,
    )


def test_when_all_is_well_it_says_how_to_start(run: Run) -> None:
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "docker compose\n", "")
    done = run("--profile", "embedded-ksql", compose="exit 1", old="1.29.2")
    assert done.stdout == "docker-compose --profile embedded-ksql\n"


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The codes of the lines."""
    assert done.returncode in (69, 78)
    assert done.stdout == ""
    return [line.split(":")[0] for line in done.stderr.splitlines()]


def test_no_docker(tmp_path: Path) -> None:
    done = preflight_run(environment={"PATH": str(tmp_path)})
    assert told(done) == ["NO_DOCKER"]
    assert "gradstream up" in done.stderr


def test_an_engine_that_does_not_answer(docker: str, tmp_path: Path) -> None:
    nobody = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    done = preflight_run(environment=nobody)
    assert told(done) == ["NO_DOCKER"]
    assert "start Docker" in done.stderr


def test_a_compose_that_would_start_both_servers_is_old(run: Run) -> None:
    done = run(compose="echo 2.6.1", old="")
    assert told(done) == ["OLD_COMPOSE"]
    assert "docker compose 2.6" in done.stderr


@pytest.mark.parametrize(("compose", "old"), [("exit 1", ""), ("exit 1", "1.27.4"), ("echo", "")])
def test_no_compose_or_an_old_one(run: Run, compose: str, old: str) -> None:
    done = run(compose=compose, old=old)
    assert told(done) == ["OLD_COMPOSE"]
    assert (f"docker-compose {old[:4]}" if old else "there is none") in done.stderr


def test_a_port_that_another_has_is_named_with_its_variable_and_a_free_one(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        done = run(GRADSTREAM_REGISTRY_PORT=str(taken))
        assert told(done) == ["PORT_IN_USE"]
        (proposal,) = [
            word for word in done.stderr.split() if word.startswith("GRADSTREAM_REGISTRY_PORT=")
        ]
        name, number = proposal.split("=")
        assert run(**{name: number}).returncode == 0
    assert run(GRADSTREAM_REGISTRY_PORT=str(taken)).returncode == 0


def test_ports_that_are_none_or_the_same(run: Run, free_ports: dict[str, str]) -> None:
    same = free_ports["GRADSTREAM_KAFKA_PORT"]
    done = run(GRADSTREAM_REGISTRY_PORT=same, GRADSTREAM_KSQL_PORT="x")
    assert told(done) == ["PORT_IN_USE", "BAD_PORT"]
    assert "GRADSTREAM_KAFKA_PORT" in done.stderr


def test_a_port_of_a_service_that_is_off_does_not_matter(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert run(GRADSTREAM_JUPYTER_PORT=str(other.getsockname()[1])).returncode == 0


def test_too_little_memory_for_ksqldb_but_enough_for_the_engine(run: Run) -> None:
    done = run(memory=3 * 2**30)
    assert told(done) == ["LOW_MEMORY"]
    assert "--profile embedded-ksql" in done.stderr
    assert run("--profile", "embedded-ksql", memory=3 * 2**30).returncode == 0
    assert told(run("--profile", "embedded-ksql", memory=2**30)) == ["LOW_MEMORY"]


@pytest.mark.parametrize("profiles", ["jupyter", "ksqldb,embedded-ksql", ""])
def test_exactly_one_ksql_server(run: Run, profiles: str) -> None:
    done = run(COMPOSE_PROFILES=profiles)
    assert told(done) == ["ONE_KSQL"]
    assert "--profile ksqldb" in done.stderr


def test_an_unknown_profile(run: Run) -> None:
    done = run("--profile", "ksql")
    assert told(done) == ["UNKNOWN_PROFILE"]
    assert "embedded-ksql" in done.stderr


def test_an_image_that_is_not_here_and_cannot_be_pulled(docker: str, preflight: ModuleType) -> None:
    image = "127.0.0.1:1/nothing:1"  # a registry that cannot be there
    service = preflight.Service("kafka", image=image, variable="GRADSTREAM_KAFKA_IMAGE")
    (problem,) = preflight.check_images([service], {})
    assert problem.code == "NO_IMAGE"
    assert "\n" not in str(problem)
    for word in (image, "GRADSTREAM_KAFKA_IMAGE", preflight.STANDINS):
        assert word in str(problem)
    assert (ROOT / preflight.STANDINS).exists()


def test_a_token_is_made_once_readable_in_a_folder_that_is_not(
    preflight: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "ROOT", tmp_path)
    monkeypatch.setattr(preflight, "TOKEN", token := tmp_path / "secrets" / "jupyter_token")
    assert list(preflight.check_token(token)) == []
    first = token.read_text()
    assert len(first.strip()) >= 32
    assert stat.S_IMODE(token.stat().st_mode) == 0o644
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert list(preflight.check_token(token)) == []
    assert token.read_text() == first
    (problem,) = preflight.check_token(tmp_path / "elsewhere")
    assert problem.code == "NO_TOKEN"
