"""What docker-compose.yml promises, read from the file, and by compose itself where there is one."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from gradstream.cli import COMMANDS
from gradstream.sql_files import sql_file
from gradstream.stack import broker
from producers import __main__ as producers
from trainers.flags import job, parser

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = FILE["services"]
OURS = {name for name, service in SERVICES.items() if "GRADSTREAM_IMAGE" in service["image"]}
BUILT = {"gradstream-image", "train-gpu", "jupyter"}
ONE_SHOT = {"gradstream-image", "produce-regression", "produce-fraud", "statements"}

every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def default(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_no_word_that_one_of_the_two_composes_does_not_know() -> None:
    assert (
        "version" not in FILE
    )  # compose v2 warns; 1.29 takes a file without it for the newest form
    assert "required:" not in TEXT  # of depends_on: v2 only
    assert "start_interval" not in TEXT
    assert "!reset" not in TEXT
    assert not re.search(r"\$\{[^}]*\$\{", TEXT)  # 1.29 fills no default inside a default


@every_service
def test_a_service_is_bounded_and_reached_from_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", default(service["mem_limit"]))
    assert service["logging"]["options"]["max-size"]
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{GRADSTREAM_\w+_PORT:-\d+\}:\d+", port)
    assert "network_mode" not in service
    assert "privileged" not in service
    if name in OURS:
        assert service["cap_drop"] == ["ALL"]
        assert service["init"] is True


@every_service
def test_what_stays_says_whether_it_is_well_and_what_ends_does_not_start_again(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert "restart" not in service
        return
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or name.startswith("train-")


def test_each_starts_after_what_it_needs() -> None:
    healthy, done = "service_healthy", "service_completed_successfully"
    stores = {"kafka": healthy, "schema-registry": healthy}
    after = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    for name in ("kafka", "gradstream-image"):
        assert after.pop(name) == {}
    assert after.pop("schema-registry") == {"kafka": healthy}
    for name in ("produce-regression", "produce-fraud"):
        assert after.pop(name) == {"kafka": healthy, "gradstream-image": done}
    for name in ("ksql-engine", "statements"):
        assert after.pop(name) == {**stores, "gradstream-image": done}
    for name in ("train-regression", "train-fraud", "train-gpu"):
        assert after.pop(name) == {**stores, "statements": done}
    assert after == dict.fromkeys(("ksqldb-server", "jupyter"), stores)


def test_each_image_is_built_by_one_service() -> None:
    """Compose v2 builds all at once, and two builds that give one name get in each other's way."""
    built = [name for name, service in SERVICES.items() if "build" in service]
    assert set(built) == BUILT
    names = [default(SERVICES[name]["image"]) for name in built]
    assert len(set(names)) == len(names)
    for name in OURS:  # nor does it ask the registry for what is built here
        assert SERVICES[name]["pull_policy"] == "never"
        assert (
            name in BUILT
            or default(SERVICES[name]["image"]) == names[built.index("gradstream-image")]
        )


def test_the_two_ksql_servers_stand_in_one_place() -> None:
    servers = [SERVICES["ksqldb-server"], SERVICES["ksql-engine"]]
    assert [one["profiles"] for one in servers] == [["ksqldb"], ["embedded-ksql"]]
    assert servers[0]["ports"] == servers[1]["ports"]
    for one in servers:
        assert one["networks"]["default"]["aliases"] == ["ksql"]
    assert "COMPOSE_PROFILES=ksqldb\n" in (ROOT / ".env").read_text()


def test_the_broker_keeps_what_the_local_stacks_broker_keeps() -> None:
    given = SERVICES["kafka"]["environment"]
    # Where it is, and how much of a small machine it takes, differ.
    own = re.compile(r"listener|voters|log\.dirs|threads|metadata\.max\.idle")
    for line in broker.server_properties(1, 2, Path("/data")).splitlines():
        name, _, value = line.partition("=")
        if not value or name.startswith("#") or own.search(name):
            continue
        variable = f"KAFKA_{name.upper().replace('.', '_')}"
        assert str(given[variable]) == value, variable
    assert "KAFKA_LISTENERS" in given


def test_secrets_are_files_of_their_own() -> None:
    for service in SERVICES.values():
        assert not any("TOKEN" in name or "PASSWORD" in name for name in service.get("environment", {}))  # fmt: skip
    assert SERVICES["jupyter"]["secrets"] == ["jupyter_token"]
    assert set(FILE["secrets"]) == {"jupyter_token"}
    ignored = subprocess.run(
        ["git", "check-ignore", "docker/secrets/jupyter_token"], cwd=ROOT, capture_output=True
    )
    assert ignored.returncode in (
        0,
        128,
    )  # 128: not a checkout, so there is nothing to commit it to


@pytest.mark.parametrize("name", sorted(OURS - {"jupyter", "gradstream-image"}))
def test_our_commands_are_understood(name: str) -> None:
    word, *flags = shlex.split(default(SERVICES[name]["command"]))
    assert word in COMMANDS
    if word == "train":
        found = job(parser().parse_args(flags))
        found.check()
        assert found.mode == "live"
        assert found.run == name.removeprefix("train-").replace("gpu", "fraud-gpu")
    elif word == "produce":
        assert producers._parser().parse_args(flags).rows
    elif word == "sql":
        files = flags[: flags.index("--server-timeout")]
        assert {sql_file(file).name for file in files} == {p.name for p in ROOT.glob("ksql/*.sql")}


def test_the_dockerfile_has_the_same_python_and_every_backend() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    python = FILE["x-build"]["args"]["PYTHON_IMAGE"]
    assert f"ARG PYTHON_IMAGE={default(python)}\n" in dockerfile
    for path in (ROOT / "requirements" / "images").glob("*.txt"):
        assert re.search(rf"BACKEND is .*\b{path.stem}\b", dockerfile)
    assert "--mount" not in dockerfile  # BuildKit only
    assert "# syntax=" not in dockerfile  # it would be pulled


def composes() -> list[list[str]]:
    found = []
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
            if re.match(r"v?\d+\.\d+", done.stdout):
                found.append(command)
    return found


@pytest.mark.parametrize("profile", ["ksqldb", "embedded-ksql", "gpu", "jupyter"])
def test_compose_takes_it(profile: str) -> None:
    if not (commands := composes()):
        pytest.skip("neither docker compose nor docker-compose is here")
    for command in commands:
        done = subprocess.run(
            [*command, "--profile", profile, "config"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        rendered = yaml.safe_load(done.stdout)["services"]
        active = {
            name for name, one in SERVICES.items() if profile in one.get("profiles", [profile])
        }
        assert active <= rendered.keys()
        assert "${" not in json.dumps(rendered)


def test_the_preflights_reading_is_that_of_yaml(preflight: ModuleType) -> None:
    read = {one.name: one for one in preflight.services(TEXT, {})}
    assert read.keys() == SERVICES.keys()
    for name, service in SERVICES.items():
        assert read[name].profiles == service.get("profiles", [])
        assert read[name].image == default(service["image"])
        assert bool(read[name].variable) == (name not in OURS)
        ports = [default(port).split(":")[1] for port in service.get("ports", [])]
        assert [port.number for port in read[name].ports] == ports


def test_the_page_names_only_errors_and_variables_that_exist() -> None:
    page = (ROOT / "docs" / "docker.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "gradstream").rglob("*.py"))
    sources += (ROOT / "docker" / "preflight.py").read_text()
    codes = [code for code in re.findall(r"`([A-Z]+_[A-Z]+)`", page) if "GRADSTREAM" not in code]
    assert len(codes) >= 10
    for code in codes:
        assert f'"{code}"' in sources, code
    for variable in re.findall(r"GRADSTREAM_[A-Z_]+", page):
        assert f"${{{variable}:-" in TEXT, variable
    for image in re.findall(r"^\| `([\w./-]+:[\w.-]+)`", page, re.MULTILINE):
        assert f":-{image}}}" in TEXT, image
