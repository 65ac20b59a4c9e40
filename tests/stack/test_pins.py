"""Only the pinned files run; whatever else lies in the cache is refused by name."""

from __future__ import annotations

import hashlib
import re
import tarfile
from pathlib import Path

import pytest

from gradstream.errors import DataError, UnavailableError
from gradstream.stack import download, jars
from gradstream.stack.pins import PINS, Pin, pins, sha256, tree_sum


def pin_of(file: Path, **more: str) -> Pin:
    return Pin("org.example", "thing", "1.0", file.stat().st_size, sha256(file), **more)


def test_the_table_names_kafka_and_the_registry_without_any_address() -> None:
    table = pins()
    coordinates = {pin.coordinates for pin in table["kafka"]}
    assert "org.apache.kafka:kafka-clients:4.3.1" in coordinates
    assert "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4" in coordinates
    assert len(coordinates) == len(table["kafka"]) == 46
    (registry,) = table["registry"]
    assert registry.filename == "apicurio-registry-app-3.3.3-all.tar.gz"
    (tools,) = table["tools"]
    assert tools.coordinates == "org.apache.kafka:kafka-tools:4.3.1"
    assert registry.path.startswith("io/apicurio/apicurio-registry-app/3.3.3/apicurio-")
    assert all(
        re.fullmatch("[0-9a-f]{64}", pin.sha256) and pin.size > 0
        for row in table.values()
        for pin in row
    )
    assert "://" not in PINS.read_text()


def test_a_file_with_the_right_sum_passes(tmp_path: Path) -> None:
    file = tmp_path / "thing-1.0.jar"
    file.write_bytes(b"good")
    jars.verify(pin_of(file), file)


@pytest.mark.parametrize("content", [b"evil", b"good+", b""])
def test_a_changed_file_is_refused_by_name_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "thing-1.0.jar"
    file.write_bytes(b"good")
    pin = pin_of(file)
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        jars.verify(pin, file)
    assert caught.value.code == "WRONG_CHECKSUM"
    assert caught.value.exit_code == 65
    for word in (str(file), "org.example:thing:1.0", "delete it", pin.sha256[:16]):
        assert word in caught.value.message


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    pin = Pin("org.example", "thing", "1.0", 4, hashlib.sha256(b"good").hexdigest())
    with pytest.raises(UnavailableError, match=r"FILE_MISSING.*lost.jar"):
        jars.verify(pin, tmp_path / "lost.jar")


def test_a_tree_differs_by_content_name_and_number_of_files(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.jar").write_bytes(b"a")
    first = tree_sum(tmp_path)
    assert tree_sum(tmp_path) == first
    (tmp_path / "lib" / "b.jar").write_bytes(b"b")
    second = tree_sum(tmp_path)
    (tmp_path / "lib" / "b.jar").rename(tmp_path / "lib" / "c.jar")
    third = tree_sum(tmp_path)
    (tmp_path / "lib" / "c.jar").write_bytes(b"c")
    assert len({first, second, third, tree_sum(tmp_path)}) == 4


def archive(tmp_path: Path) -> tuple[Pin, Path]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "run.jar").write_bytes(b"program")
    packed = tmp_path / "thing-1.0.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(source / "run.jar", "run.jar")
    return pin_of(packed, extension="tar.gz", tree=tree_sum(source)), packed


def test_an_archive_is_unpacked_whole_and_removed(tmp_path: Path) -> None:
    pin, packed = archive(tmp_path)
    jars.unpack(pin, packed, tmp_path / "thing")
    assert (tmp_path / "thing" / "run.jar").read_bytes() == b"program"
    jars.verify_tree(pin, tmp_path / "thing")
    assert not packed.exists()
    assert not list(tmp_path.glob("unpacking-*"))


def test_a_changed_archive_is_not_unpacked(tmp_path: Path) -> None:
    pin, packed = archive(tmp_path)
    packed.write_bytes(packed.read_bytes() + b"x")
    with pytest.raises(DataError, match="WRONG_CHECKSUM"):
        jars.unpack(pin, packed, tmp_path / "thing")
    assert not (tmp_path / "thing").exists()


def test_an_unpacked_folder_that_was_changed_is_refused(tmp_path: Path) -> None:
    pin, packed = archive(tmp_path)
    jars.unpack(pin, packed, tmp_path / "thing")
    (tmp_path / "thing" / "extra.jar").write_bytes(b"evil")
    with pytest.raises(DataError, match=r"WRONG_CHECKSUM.*delete the folder"):
        jars.verify_tree(pin, tmp_path / "thing")


def test_files_of_a_local_maven_repository_are_taken_only_with_the_right_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"good")
    pin = pin_of(good)
    known = tmp_path / "m2" / pin.path
    known.parent.mkdir(parents=True)
    known.write_bytes(b"good")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
    folder = tmp_path / "jars"
    folder.mkdir()
    jars._fetch([pin], folder)
    assert (folder / pin.filename).read_bytes() == b"good"
    assert not list(folder.glob("*.part"))


def test_no_network_is_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    pin = Pin("org.example", "thing", "1.0", 4, "0" * 64)
    with pytest.raises(UnavailableError) as caught:
        list(download.download([pin], tmp_path))
    assert caught.value.code == "DOWNLOAD_FAILED"
    assert "org.example:thing:1.0" in caught.value.message
    assert "HTTPS_PROXY" in caught.value.message
    assert "\n" not in str(caught.value)
