"""Where the library is looked for, and what is said where it is not the right one."""

from __future__ import annotations

import ctypes
import logging
import sys
from pathlib import Path

import confluent_kafka
import pytest

from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.wire import librdkafka, reader
from gradstream.wire.kafka import log

# As in confluent-kafka 2.16.0's wheels.
IN_WHEELS = {
    "manylinux": "confluent_kafka.libs/librdkafka-1e1b45fc.so.1",
    "macosx": "confluent_kafka/.dylibs/librdkafka.dylib",
    "win_amd64": "confluent_kafka.libs/librdkafka-c22ebd06abd15eecc66d013d8d759906.dll",
}
BESIDE = """
    confluent_kafka.libs/librdkafka++-1e1b45fc.so.1 confluent_kafka.libs/libcurl-27b092410bc9226a.dll
    confluent_kafka.libs/zstd-c5410852e9a232d4.dll confluent_kafka.libs/libsasl2-1e1b45fc.so.3
"""


def laid_out(folder: Path, names: list[str]) -> Path:
    """A package as a wheel leaves it."""
    for name in [*names, "confluent_kafka/__init__.py"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder / "confluent_kafka" / "__init__.py"


@pytest.mark.parametrize("wheel", IN_WHEELS)
def test_the_library_in_each_systems_wheel_is_the_first_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str
) -> None:
    package = laid_out(tmp_path, [IN_WHEELS[wheel], *BESIDE.split()])
    monkeypatch.setattr(confluent_kafka, "__file__", str(package))
    assert librdkafka._in_wheel(package.parent) == [tmp_path / IN_WHEELS[wheel]]
    assert next(librdkafka._candidates()) == str(tmp_path / IN_WHEELS[wheel])


@pytest.mark.parametrize(
    ("system", "names"),
    [
        ("linux", ["lib/librdkafka.so.1", "librdkafka.so.1"]),
        ("darwin", ["lib/librdkafka.1.dylib", "librdkafka.1.dylib"]),
        ("win32", ["Library/bin/librdkafka.dll", "librdkafka.dll"]),
    ],
)
def test_without_one_the_systems_library_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, names: list[str]
) -> None:
    package = laid_out(tmp_path, names[:1])
    monkeypatch.setattr(confluent_kafka, "__file__", str(package))
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"found-{name}")
    found = list(librdkafka._candidates())
    assert found[:2] == [str(tmp_path / names[0]), names[1]]
    assert found[-1] == "found-rdkafka"


@pytest.fixture
def forgotten() -> object:
    """The library is looked for anew, in the test and after it."""
    librdkafka.load.cache_clear()
    yield
    librdkafka.load.cache_clear()
    reader._tell_once.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_another_version_than_confluents_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka, "libversion", lambda: ("2.99.0", 0x026300FF))
    with pytest.raises(
        UnavailableError, match=r"LIBRDKAFKA_MISSING.*confluent-kafka's is 2\.99\.0"
    ):
        librdkafka.load()


@pytest.mark.usefixtures("forgotten")
def test_a_library_that_lacks_a_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(librdkafka._SIGNATURES, "of_tomorrow", (None, []))
    with pytest.raises(UnavailableError, match=r"LIBRDKAFKA_MISSING.*rd_kafka_of_tomorrow"):
        librdkafka.load()


@pytest.mark.usefixtures("forgotten")
def test_the_stand_in_is_told_once_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GRADSTREAM_CLIENT", raising=False)
    monkeypatch.setattr(librdkafka, "_candidates", lambda: iter(["/nowhere/librdkafka.so"]))
    reader._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING, log.name):
        for _ in range(2):
            assert reader._reader_class(None).__name__ == "ConfluentReader"
    assert len(caplog.records) == 1
    assert "/nowhere/librdkafka.so" in caplog.text
    with pytest.raises(UnavailableError, match="LIBRDKAFKA_MISSING"):
        reader._reader_class("librdkafka")


@pytest.mark.integration
def test_a_setting_that_librdkafka_refuses_is_named(services: Services) -> None:
    settings = reader.consumer_settings(services, "g", "read_committed", {})
    callbacks = (
        librdkafka.RebalanceCallback(lambda *_: None),
        librdkafka.ErrorCallback(lambda *_: None),
        librdkafka.StatisticsCallback(lambda *_: 0),
    )
    with pytest.raises(Exception, match=r"BAD_SETTING.*fetch\.max\.bytes"):
        librdkafka.new_consumer({**settings, "fetch.max.bytes": -5}, *callbacks)
