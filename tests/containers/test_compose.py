"""docker-compose.yml, started for real: what comes up, in which order, what it does, and what it leaves behind."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import pytest
import yaml

from gradstream.errors import GradstreamError
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import end_offsets
from gradstream.wire.registry import Registry
from tests.containers.compose import ROOT, Stack, docker, environment, stack
from trainers.chain import WeightsRecord
from trainers.weights import newest

PROGRAMS = {"docker-compose": ["docker-compose"], "docker compose": ["docker", "compose"]}
SERVERS = {"ksqldb": "ksqldb-server", "embedded-ksql": "ksql-engine"}
TRAINERS = {"regression": "train-regression", "fraud": "train-fraud"}
HEALTHY = "health_status: healthy"
# What the KSQL server has no part in is tested beside one of the two.
once = pytest.mark.parametrize("profile", ["ksqldb"], indirect=True, scope="module")


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> list[str]:
    """Compose, version 1 and 2; skips where that one is not installed."""
    words = PROGRAMS[request.param]
    if (
        not shutil.which(words[0])
        or subprocess.run([*words, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{request.param} is not installed")
    return words


@pytest.fixture(scope="module", params=SERVERS)
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def up(
    program: list[str],
    profile: str,
    standins: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The whole stack with one of the two KSQL servers; shared by the tests, of which the last takes it down."""
    with stack(program, profile, standins, tmp_path_factory.mktemp("compose")) as started:
        yield started


@pytest.fixture(scope="module", params=SERVERS)
def configuration(
    request: pytest.FixtureRequest, program: list[str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The file as compose understands it, with all of its optional services; Docker is not asked."""
    token = tmp_path_factory.mktemp("secret") / "token"
    token.write_text("a-secret-that-nobody-may-read")
    variables = environment(f"{request.param},gpu,jupyter", {}, {})
    variables["GRADSTREAM_JUPYTER_TOKEN_FILE"] = str(token)
    done = subprocess.run(
        [*program, "config"], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_binds_loopback_limits_memory_and_shows_no_secret(configuration: str) -> None:
    assert "a-secret-that-nobody-may-read" not in configuration
    parsed = yaml.safe_load(configuration)
    assert len(parsed["services"]) > 8
    for name, service in parsed["services"].items():
        assert service.get("mem_limit"), name
        assert not service.get("privileged"), name
        for port in service.get("ports", []):
            host = port.get("host_ip") if isinstance(port, dict) else str(port).split(":")[0]
            assert host == "127.0.0.1", (name, port)


def test_all_are_healthy_and_came_up_in_order(up: Stack, profile: str) -> None:
    server = SERVERS[profile]
    for service in ("kafka", "schema-registry", server):
        up.until(f"a healthy {service}", partial(_is_healthy, up, service))
    broker, registry = up.first("kafka", HEALTHY), up.first("schema-registry", HEALTHY)
    assert broker < up.first("schema-registry", "start")
    assert broker < up.first("produce-regression", "start")
    assert broker < up.first("produce-fraud", "start")
    assert registry < up.first(server, "start")
    assert registry < up.first("statements", "start")
    for trainer in TRAINERS.values():
        assert up.first("statements", "die") < up.first(trainer, "start")
    assert up.container("statements")["State"]["ExitCode"] == 0
    (other,) = set(SERVERS.values()) - {server}
    assert other not in up.containers()


def test_rows_pass_the_statements(up: Stack) -> None:
    for topic in ("regression_training", "creditcardfraud_preprocessed_avro"):
        up.until(f"rows in {topic}", partial(_rows, up, topic))


@pytest.mark.parametrize("run", TRAINERS)
def test_weights_of_both_schemas_arrive_as_one_sound_chain(
    up: Stack, run: str, record_property: Callable[[str, object], None]
) -> None:
    found = up.until(f"weights of {run}", lambda: enough(chain(up, run), 3))
    assert_sound(found)
    assert all(record.loss is not None for record in found)
    learned = f"{run}: step {found[-1].step}, loss {found[0].loss:.4g} … {found[-1].loss:.4g}"
    record_property("shows", f"{up.timeline()}\n{learned}")


@once
def test_a_trainer_that_dies_is_started_again_and_goes_on(up: Stack) -> None:
    before = up.until("weights of fraud", lambda: chain(up, "fraud"))
    # All of the container's processes but the first, which ends then, as on a crash.
    crash = "import os, signal; os.kill(-1, signal.SIGKILL)"
    docker("exec", up.container("train-fraud")["Id"], "python", "-c", crash, check=False)
    up.until("a restart", lambda: up.container("train-fraud")["RestartCount"] > 0)
    assert_goes_on(up, "fraud", before)


@once
def test_a_killed_trainer_container_resumes(up: Stack) -> None:
    before = up.until("weights of regression", lambda: chain(up, "regression"))
    docker("kill", up.container("train-regression")["Id"])
    assert up.container("train-regression")["State"]["ExitCode"] == 137
    up.compose("start", "train-regression")
    assert_goes_on(up, "regression", before)


@once
def test_data_outlive_their_containers(up: Stack) -> None:
    before = up.until("weights of fraud", lambda: chain(up, "fraud"))
    up.down(data=False)
    assert not up.containers()
    up.up()
    assert_goes_on(up, "fraud", before)


def test_nobody_is_root_and_nobody_takes_all_memory(up: Stack) -> None:
    for service, found in up.containers().items():
        assert found["Config"]["User"] not in ("", "root", "0"), service
        assert found["HostConfig"]["Memory"] > 0, service
        if found["State"]["Running"]:
            users = docker("top", found["Id"], "-eo", "pid,uid").split()[3::2]
            assert users, service
            assert "0" not in users, service


def test_ports_are_open_on_this_machine_only(up: Stack) -> None:
    published = [
        binding
        for found in up.containers().values()
        for bindings in (found["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    ]
    assert len(published) == 3
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_down_leaves_nothing(up: Stack) -> None:
    assert up.left()
    up.down(data=True)
    assert up.left() == []


def _is_healthy(up: Stack, service: str) -> bool:
    return bool(up.container(service)["State"]["Health"]["Status"] == "healthy")


def _rows(up: Stack, topic: str) -> int:
    """Up to which offset the topic's partitions are filled, in all."""
    return sum(end_offsets(up.services, topic).values())


def chain(up: Stack, run: str, limit: int = 10**6) -> list[WeightsRecord]:
    """The run's newest weights records, read from this machine, oldest first; none while the topic is not there yet."""
    try:
        with closing(Registry(up.services.schema_registry_url)) as registry:
            decoder = AvroDecoder(registry)
            found = newest(up.services, decoder, "gradstream_weights", run, limit)
    except GradstreamError as error:
        if error.code == "UNKNOWN_TOPIC":
            return []
        raise
    return sorted(found, key=lambda record: record.step)


def enough(records: list[WeightsRecord], least: int) -> list[WeightsRecord]:
    return records if len(records) >= least else []


def assert_sound(records: list[WeightsRecord]) -> None:
    """One chain from the first record on: each names its parent's hash, and no offset is passed over or comes twice.

    That a record's content has the hash that it names was checked when it was read.
    """
    parent, positions = "", defaultdict[tuple[str, int], int](int)
    trained = 0
    for record in records:
        assert record.parent == parent, f"step {record.step}"
        parent = record.sha256
        for covered in record.inputs:
            at = (covered.topic, covered.partition)
            assert covered.start == positions[at], f"step {record.step}, {at}"
            positions[at] = covered.end
            trained += covered.records
        assert record.records_trained == trained, f"step {record.step}"


def assert_goes_on(up: Stack, run: str, before: list[WeightsRecord]) -> None:
    """Weights come that were made from now on, as links of the same chain."""
    now = datetime.now(UTC)

    def renewed() -> bool:
        found = chain(up, run, 2)
        return len(found) == 2 and found[0].created > now

    up.until(f"new weights of {run}", renewed)
    after = chain(up, run)
    assert {record.sha256 for record in before} < {record.sha256 for record in after}
    assert_sound(after)
