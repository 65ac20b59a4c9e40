"""``gradstream bench --quick`` on real services: every file measures, the record says what, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import effort, scaling, topics
from benchmarks.effort import Effort
from benchmarks.record import Record
from gradstream.config import Services
from gradstream.errors import UsageError
from gradstream.wire.kafka import end_offsets, list_topics

# Without those that are whole pipelines and take their time.
FILES = [name for name in bench.PLAN if name not in ("engine", "stateful", "pulls", "latency")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "NOW", Effort(quick=True, say=lambda text: None))
    monkeypatch.setattr(scaling, "FEATURES", (2, 1000))
    monkeypatch.setattr(scaling, "BATCH_SIZES", (1,))
    monkeypatch.setattr(scaling, "PARTITIONS", (3,))


@pytest.mark.integration
def test_every_file_measures_and_leaves_nothing_behind(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GRADSTREAM_BOOTSTRAP_SERVERS", services.bootstrap_servers)
    monkeypatch.setenv("GRADSTREAM_SCHEMA_REGISTRY_URL", services.schema_registry_url)
    code = bench.main([*FILES, "--quick", "--out", str(tmp_path)])
    shown = capsys.readouterr()
    record = Record.read(tmp_path / "benchmarks.json")
    assert code == 0, shown.err
    assert (record.quick, record.failed, list(record.figures)) == (True, {}, FILES)
    assert all(len(figures) > 0 for figures in record.figures.values())
    assert all(
        rate > 0 for found in record.figures.values() for each in found for rate in each.rates
    )
    assert {each.series for each in record.figures["scaling"]} == {
        "features",
        "batch size",
        "partitions",
    }
    assert record.figures["memory"][-1].at == effort.rows(10_000_000)
    assert "topic → trained, exactly once" in shown.out
    assert not [topic for topic in list_topics(services) if topic.startswith(topics.RUN)]


@pytest.mark.integration
def test_a_file_that_fails_does_not_cost_the_others(
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GRADSTREAM_BOOTSTRAP_SERVERS", services.bootstrap_servers)
    monkeypatch.setenv("GRADSTREAM_SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
    assert bench.main(["startup", "decode", "--quick", "--out", str(tmp_path)]) == 1
    told = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(told["figures"]) == ["startup"]
    assert told["failed"]["decode"].startswith("UnavailableError: ")
    assert "decode has failed: UnavailableError" in capsys.readouterr().err


@pytest.mark.integration
def test_topics_are_filled_once_and_evenly(services: Services) -> None:
    topic = topics.regression(services, 3001, 2, 3)
    try:
        assert topics.regression(services, 3001, 2, 3) == topic
        ends = end_offsets(services, topic)
        assert sorted(ends.values()) == [1000, 1000, 1001]
    finally:
        topics.drop(services)


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^USAGE: .*'train'"):
        bench.main(["trian"])


def test_the_plan_leaves_time_for_the_backends() -> None:
    assert sum(bench.PLAN.values()) + 300 <= 900
