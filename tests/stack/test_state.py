"""What is written down, and that nobody else writes at the same time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradstream import config
from gradstream.config import Services
from gradstream.errors import ConfigError, RetryError, UnavailableError
from gradstream.stack import LocalStack, state
from gradstream.stack.folders import Folders
from gradstream.stack.lock import locked
from gradstream.stack.process import Child
from gradstream.stack.state import State
from tests.crowd import in_time

PORTS = {"broker": 20_001, "controller": 20_002, "registry": 20_003}
SERVICES = Services(
    "127.0.0.1:20001", "http://127.0.0.1:20003/apis/ccompat/v7", "http://127.0.0.1:8088"
)
# A pid above every system's limit: nobody has it.
GONE = Child(2**22 + 1, 1.0)


def test_clients_find_the_addresses_of_a_running_stack_and_only_of_a_ready_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "KSQL_URL"):
        monkeypatch.delenv(f"GRADSTREAM_{name}", raising=False)
    monkeypatch.setenv("GRADSTREAM_HOME", str(tmp_path))
    folders = Folders(tmp_path)
    assert folders.stack_file == config.stack_file()
    usual = Services.find()
    state.write(folders, State(None, {"broker": GONE}, PORTS))
    assert Services.find() == usual
    state.write(folders, State(SERVICES, {"broker": GONE}, PORTS))
    assert Services.find() == SERVICES
    assert state.read(folders) == State(SERVICES, {"broker": GONE}, PORTS)
    state.forget(folders)
    assert Services.find() == usual
    assert state.last_ports(folders) == PORTS


def test_the_record_is_private(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    state.write(folders, State(SERVICES, {}, PORTS))
    assert folders.stack_file.stat().st_mode & 0o777 == 0o600
    assert folders.ports_file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ports.json", "stack.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"children": {"broker": 1}, "ports": {}}'])
def test_a_record_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    folders = Folders(tmp_path)
    folders.stack_file.write_text(text)
    folders.ports_file.write_text(text)
    assert state.read(folders) is None
    assert state.last_ports(folders) == {} or text == '{"children": {"broker": 1}, "ports": {}}'


def test_a_record_left_by_a_crash_or_reboot_is_cleaned(tmp_path: Path) -> None:
    stack = LocalStack(home=tmp_path)
    state.write(stack.folders, State(SERVICES, {"broker": GONE, "registry": GONE}, PORTS))
    assert stack.status() == []
    assert not stack.folders.stack_file.exists()
    with pytest.raises(UnavailableError, match="NOT_RUNNING"):
        _ = stack.services


def test_down_without_a_stack_does_nothing_and_makes_nothing(tmp_path: Path) -> None:
    assert LocalStack(home=tmp_path / "none").down() == 0
    assert not (tmp_path / "none").exists()


def test_down_deletes_only_what_the_stack_has_written(tmp_path: Path) -> None:
    stack = LocalStack(home=tmp_path, cache=tmp_path / "cache")
    stack.folders.make()
    state.write(stack.folders, State(SERVICES, {}, PORTS))
    (tmp_path / "mine.txt").write_text("keep")
    assert stack.down(delete_data=True) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "stack.lock"}


def test_the_lock_is_waited_for_and_free_when_its_holder_dies(tmp_path: Path) -> None:
    file = tmp_path / "stack.lock"
    program = (
        "import sys, time; from pathlib import Path; from gradstream.stack.lock import locked\n"
        "with locked(Path(sys.argv[1]), 1.0, 'it'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        with pytest.raises(RetryError, match="BUSY: another up"), locked(file, 0.3, "another up"):
            pass
        waited = time.monotonic() - began
        assert waited > 0.2
        assert in_time(waited, 3)
        holder.kill()
        with locked(file, 5.0, "another up"):
            assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["a,b", "a;b", "a:b", "a$b"])
def test_a_home_whose_name_java_would_split_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="BAD_FOLDER"):
        LocalStack(home=tmp_path / name)


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="FOLDER_REFUSED"):
        LocalStack(home=tmp_path / "file" / "home", cache=tmp_path / "cache").up()
