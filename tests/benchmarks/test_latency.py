"""The whole path in processes of its own: each record is found in exactly one weights record."""

from __future__ import annotations

import pytest

from benchmarks import effort, latency, tables, topics
from benchmarks.effort import Effort
from benchmarks.journeys import FIRST, LIMITS, SECOND, WHOLE
from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import list_topics

pytestmark = pytest.mark.integration
ROWS = 3_000


def test_every_record_is_followed_to_its_weights(services: Services) -> None:
    found = latency.follow(services, ROWS)
    topics.drop(services)
    assert len(found.created) == ROWS
    assert (found.until_visible > 0).all()
    assert (found.whole > 0).all()
    assert not [topic for topic in list_topics(services) if topic.startswith(topics.RUN)]
    with KsqlClient(services.ksql_url) as client:
        (shown,) = client.execute("SHOW STREAMS;")
    names = [stream["name"].lower() for stream in shown["streams"]]
    assert not [name for name in names if name.startswith(topics.RUN)]


def test_figures_have_goals_and_a_line_for_each_part(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "NOW", Effort(quick=True, say=lambda text: None))
    found = latency.measure(services)
    topics.drop(services)
    assert {each.limit for each in found if each.limit} == set(LIMITS.values())
    lines = tables.lines(found)
    assert set(lines) == {WHOLE, FIRST, SECOND}
    for points in lines.values():
        taken = [point.best for point in points]
        assert taken == sorted(taken)
