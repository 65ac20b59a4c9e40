"""Real stacks of their own: up, down and up again, and every way in which that can go wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pyarrow as pa
import pytest

from gradstream.errors import ConfigError, UnavailableError
from gradstream.stack import LocalStack, jars, process, state
from gradstream.stack.folders import Folders
from gradstream.stack.start import Start
from gradstream.wire.kafka import end_offsets, ensure_topics, topic_config
from gradstream.wire.writer import Writer
from tests.crowd import in_time

pytestmark = pytest.mark.integration

SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}
WORSE = {"type": "record", "name": "r", "fields": [{"name": "b", "type": "int"}]}


def gradstream(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gradstream.cli", *argv],
        env={**os.environ, "GRADSTREAM_HOME": str(home)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def register(url: str, subject: str, schema: object) -> int:
    request = Request(
        f"{url}/subjects/{subject}/versions",
        json.dumps({"schema": json.dumps(schema)}).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    return int(json.load(urlopen(request))["id"])


def listening(pids: set[int]) -> set[str]:
    """The addresses on which these processes listen."""
    return {
        connection.laddr[0].removeprefix("::ffff:")
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }


@contextmanager
def cleaned(home: Path) -> Iterator[Path]:
    try:
        yield home
    finally:
        process.stop(process.marked(home), 1.0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(home=tmp_path_factory.mktemp("stack")) as running:
        yield running


def test_all_three_run_healthy_within_a_gibibyte(stack: LocalStack) -> None:
    found = {status.service: status for status in stack.status()}
    assert set(found) == {"broker", "registry", "engine"}
    assert all(status.healthy for status in found.values())
    assert sum(status.memory or 0 for status in found.values()) < 2**30
    assert found["broker"].address == stack.services.bootstrap_servers
    assert found["engine"].address == stack.services.ksql_url


def test_nothing_listens_beyond_loopback(stack: LocalStack) -> None:
    pids = {status.pid for status in stack.status() if status.pid}
    assert listening(pids) == {"127.0.0.1"}


def test_files_are_private(stack: LocalStack) -> None:
    home = stack.folders.home
    assert home.stat().st_mode & 0o077 == 0
    loose = [
        path
        for path in home.rglob("*")
        if path.stat().st_mode & 0o077 and stack.folders.scratch not in path.parents
    ]
    assert loose == []


def test_the_status_command_agrees(stack: LocalStack) -> None:
    shown = gradstream(stack.folders.home, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    assert {row["service"]: row["healthy"] for row in json.loads(shown.stdout)} == {
        "broker": True,
        "registry": True,
        "engine": True,
    }
    table = gradstream(stack.folders.home, "status").stdout
    assert stack.services.bootstrap_servers in table


def test_a_second_up_finds_the_first(stack: LocalStack) -> None:
    before = stack.status()
    again = gradstream(stack.folders.home, "up")
    assert again.returncode == 0, again.stderr
    assert "Runs already" in again.stderr
    assert f"GRADSTREAM_BOOTSTRAP_SERVERS={stack.services.bootstrap_servers}" in again.stdout
    assert [status.pid for status in stack.status()] == [status.pid for status in before]
    assert LocalStack(home=stack.folders.home).up() is False


def test_what_runs_does_not_move_to_another_port(stack: LocalStack) -> None:
    with pytest.raises(ConfigError, match="ALREADY_RUNNING"):
        LocalStack(home=stack.folders.home, registry_port=20_500).up()


def test_an_incompatible_schema_is_refused_from_the_start(stack: LocalStack) -> None:
    url = stack.services.schema_registry_url
    assert json.load(urlopen(f"{url}/config")) == {"compatibilityLevel": "BACKWARD"}
    register(url, "refuse-value", SCHEMA)
    with pytest.raises(OSError, match="409"):
        register(url, "refuse-value", WORSE)


def test_weights_of_eight_megabytes_fit_in_one_record(stack: LocalStack) -> None:
    ensure_topics(stack.services, {"large": 1})
    with Writer(stack.services, transactional_id="large", **{"message.max.bytes": 9_000_000}) as to:
        to.begin()
        to.send("large", pa.array([os.urandom(8_000_000)], pa.binary()))
        to.commit(None, None)
    assert end_offsets(stack.services, "large")["large", 0] == 2  # the record and the commit's mark


def test_a_log_is_kept_for_ever(stack: LocalStack) -> None:
    ensure_topics(stack.services, {"kept": 1})
    assert topic_config(stack.services, "kept")["retention.ms"] == "-1"


def test_a_life_down_and_up_twice_at_once_killed_and_deleted(tmp_path: Path) -> None:
    with cleaned(tmp_path):
        stack = LocalStack(home=tmp_path, with_engine=False)
        assert stack.up()
        services = stack.services
        ensure_topics(services, {"kept": 2})
        with Writer(services) as to:
            to.send("kept", pa.array([b"1", b"2", b"3"], pa.binary()))
            to.flush()
        schema = register(services.schema_registry_url, "kept-value", SCHEMA)
        pids = [status.pid for status in stack.status()]

        assert stack.down() == 2
        assert process.marked(tmp_path) == []
        assert not any(psutil.pid_exists(pid) for pid in pids if pid)
        assert stack.status() == []
        assert gradstream(tmp_path, "status").returncode == 69

        started_once_by_two(stack)
        assert stack.services == services
        assert sum(end_offsets(services, "kept").values()) == 3
        assert register(services.schema_registry_url, "kept-value", SCHEMA) == schema

        killed_broker_comes_back(stack)
        assert stack.services == services

        deleted = gradstream(tmp_path, "down", "--delete-data", "--yes")
        assert deleted.returncode == 0, deleted.stderr
        assert process.marked(tmp_path) == []
        assert {path.name for path in tmp_path.iterdir()} <= {"stack.lock"}


def started_once_by_two(stack: LocalStack) -> None:
    """Two ups at once start one stack."""
    both = [stack, LocalStack(home=stack.folders.home, with_engine=False)]
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(LocalStack.up, both)) == [False, True]
    assert len(process.marked(stack.folders.home)) == 2


def killed_broker_comes_back(stack: LocalStack) -> None:
    """Another up starts what is missing and leaves the rest alone."""
    before = {status.service: status for status in stack.status()}
    killed = before["broker"].pid
    assert killed
    psutil.Process(killed).kill()
    psutil.Process(killed).wait(10)
    now = {status.service: status.healthy for status in stack.status()}
    assert now == {"broker": False, "registry": True}

    assert stack.up()
    after = {status.service: status for status in stack.status()}
    assert after["registry"].pid == before["registry"].pid
    assert after["broker"].pid != killed
    assert all(status.healthy for status in after.values())


def test_a_broken_data_folder_is_reported_with_exit_code_and_log(tmp_path: Path) -> None:
    with cleaned(tmp_path):
        folders = Folders(tmp_path)
        folders.make()
        folders.broker_data.mkdir()
        (folders.broker_data / "meta.properties").write_text("version=1\ncluster.id=x\n")
        began = time.monotonic()
        said = gradstream(tmp_path, "up", "--no-engine")
        assert in_time(time.monotonic() - began, 30)  # died at once, not after the deadline
        assert said.returncode == 69
        *log, last = said.stderr.strip().splitlines()
        assert last.startswith("SERVICE_DIED: the broker ended with exit code 1 after ")
        assert str(folders.log("broker")) in last
        assert any("node.id" in line for line in log)
        assert process.marked(tmp_path) == []
        assert not folders.stack_file.exists()


def test_a_port_that_is_stolen_between_choice_and_start_is_reported(tmp_path: Path) -> None:
    with cleaned(tmp_path), socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen(1)
        stack = LocalStack(home=tmp_path, with_engine=False)
        stack.folders.make()
        chosen = {**stack._ports(None, {}), "registry": thief.getsockname()[1]}
        with pytest.raises(UnavailableError, match="SERVICE_DIED: the registry") as caught:
            Start(stack.folders, jars.provide(), chosen, {}, 60.0).run()
        assert "in use by another process" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__notes__
        assert process.marked(tmp_path) == []
        assert state.read(stack.folders) is None


def test_a_deadline_that_is_too_short_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with cleaned(tmp_path):
        with pytest.raises(UnavailableError, match=r"NOT_READY: .* --timeout"):
            LocalStack(home=tmp_path, with_engine=False, timeout=0.5).up()
        assert process.marked(tmp_path) == []


@pytest.mark.parametrize("after", [0.5, 2.5])
def test_ctrl_c_stops_what_was_started_within_two_seconds(tmp_path: Path, after: float) -> None:
    with cleaned(tmp_path):
        up = subprocess.Popen(
            [sys.executable, "-m", "gradstream.cli", "up"],
            env={**os.environ, "GRADSTREAM_HOME": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        while not process.marked(tmp_path):
            assert up.poll() is None
            time.sleep(0.05)
        time.sleep(after)
        began = time.monotonic()
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=20)
        assert in_time(time.monotonic() - began, 3)
        assert up.returncode == 130
        assert said.splitlines()[-1] == "stopped"
        assert process.marked(tmp_path) == []
        assert not Folders(tmp_path).stack_file.exists()
        # Nothing is half-written: the next start is an ordinary one.
        if after > 1:
            with LocalStack(home=tmp_path, with_engine=False) as stack:
                assert all(status.healthy for status in stack.status())
