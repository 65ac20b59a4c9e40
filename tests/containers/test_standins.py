"""The stand-ins take the variables that the real images take; building them says what is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gradstream.errors import UnavailableError

STANDINS = Path(__file__).parent.parent.parent / "docker" / "standins"


def module(path: str) -> ModuleType:
    """A script as a module; scripts that only images have are no packages."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), STANDINS / path)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_kafka_takes_its_settings_from_variables_as_the_real_image_does() -> None:
    found = module("kafka/run.py").properties(
        {
            "KAFKA_NODE_ID": "7",
            "KAFKA_LISTENER_NAME_INNER_SASL__X___Y": "z",
            "KAFKA_ADVERTISED_LISTENERS": "INNER://kafka:9092,OUTER://127.0.0.1:19092",
            "KAFKA_HEAP_OPTS": "-Xmx1g",
            "CLUSTER_ID": "abc",
            "PATH": "/bin",
        }
    )
    assert found == {
        "node.id": "7",
        "listener.name.inner.sasl_x-y": "z",
        "advertised.listeners": "INNER://kafka:9092,OUTER://127.0.0.1:19092",
        "listeners": "INNER://0.0.0.0:9092,OUTER://0.0.0.0:19092",
    }


def test_kafka_without_variables_is_one_node() -> None:
    kafka = module("kafka/run.py")
    assert kafka.properties({"PATH": "/bin"}) == kafka.SINGLE_NODE


def test_the_registry_takes_confluents_variables() -> None:
    registry = module("schema-registry/run.py")
    given = {
        "SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS": "PLAINTEXT://a:9092,PLAINTEXT://b:9092",
        "SCHEMA_REGISTRY_LISTENERS": "http://0.0.0.0:9081",
        "SCHEMA_REGISTRY_HEAP_OPTS": "-Xms64m -Xmx128m",
        "SCHEMA_REGISTRY_SCHEMA_COMPATIBILITY_LEVEL": "full",
    }
    command = registry.java(given)
    assert "-Dapicurio.kafkasql.bootstrap.servers=a:9092,b:9092" in command
    assert command[1:3] == ["-Xms64m", "-Xmx128m"]
    assert registry.address(given) == "0.0.0.0:9081"
    assert registry.level(given) == "FULL"
    assert (registry.address({}), registry.level({})) == ("0.0.0.0:8081", "BACKWARD")


def test_the_engine_takes_ksqldbs_variables() -> None:
    command = module("ksqldb-server/run.py").command(
        {
            "KSQL_BOOTSTRAP_SERVERS": "kafka:9092",
            "KSQL_LISTENERS": "http://0.0.0.0:9088",
            "KSQL_KSQL_SCHEMA_REGISTRY_URL": "http://schema-registry:8081",
            "KSQL_KSQL_SERVICE_ID": "id_",
            "KSQL_KSQL_STREAMS_AUTO_OFFSET_RESET": "earliest",
            "KSQL_HEAP_OPTS": "-Xmx1g",
            "HOSTNAME": "c0ffee",
        }
    )
    assert command[:2] == ["gradstream", "engine"]
    for flag, value in (
        ("--listen", "0.0.0.0:9088"),
        ("--bootstrap-servers", "kafka:9092"),
        ("--schema-registry-url", "http://schema-registry:8081"),
        ("--service-id", "id_"),
    ):
        assert command[command.index(flag) + 1] == value
    assert [word for word in command if word.startswith("--property")] == [
        "--property=ksql.streams.auto.offset.reset=earliest"
    ]
    assert "--insecure-listen" in command
    hosts = [command[at + 1] for at, word in enumerate(command) if word == "--allow-host"]
    assert {"ksql", "c0ffee"} <= set(hosts)


@pytest.mark.parametrize(
    ("script", "variable"),
    [("schema-registry/run.py", "KAFKASTORE_BOOTSTRAP_SERVERS"), ("ksqldb-server/run.py", "KSQL_BOOTSTRAP_SERVERS")],
)  # fmt: skip
def test_a_missing_broker_is_told_by_the_variables_name(script: str, variable: str) -> None:
    loaded = module(script)
    with pytest.raises(SystemExit, match=f"{variable} is required"):
        (loaded.java if "registry" in script else loaded.command)({})


@pytest.mark.parametrize(
    ("change", "code"),
    [({"PATH": "/nowhere"}, "NO_DOCKER"), ({"DOCKER_HOST": "unix:///nowhere.sock"}, "NO_ENGINE")],
)
def test_without_an_engine_building_is_one_line(change: dict[str, str], code: str) -> None:
    done = subprocess.run(
        [sys.executable, STANDINS / "build.py"],
        env={**os.environ, **change},
        capture_output=True,
        text=True,
        check=False,
    )
    if code == "NO_ENGINE" and "NO_DOCKER" in done.stderr:
        pytest.skip("there is no program docker")
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith(f"{code}: ")
    assert "docker/engine up" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_root_or_debootstrap_there_is_no_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian = module("debian.py")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(debian.shutil, "which", lambda name, path: f"/usr/sbin/{name}")
    with pytest.raises(UnavailableError, match=r"NO_ROOT.*run docker/standins/build as root"):
        debian.base(tmp_path, pytest.fail)
    monkeypatch.setattr(debian.shutil, "which", lambda name, path: None)
    with pytest.raises(UnavailableError, match=r"NO_DEBOOTSTRAP.*apt-get install debootstrap"):
        debian.base(tmp_path, pytest.fail)
    assert not list(tmp_path.iterdir())


def test_a_base_that_was_made_before_is_taken(tmp_path: Path) -> None:
    debian = module("debian.py")
    kept = tmp_path / f"debian-{debian.SUITE}-{debian.KEY}.tar"
    kept.write_bytes(b"made before")
    assert debian.base(tmp_path, pytest.fail) == kept


def test_the_script_for_an_engine_tells_its_words() -> None:
    script = STANDINS.parent / "engine"
    done = subprocess.run([script, "start"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("USAGE: say docker/engine up")
