"""Accidents of the laboratory that show themselves in seconds, on the tests' services."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from faults.attempt import Attempt
from faults.lab import Lab
from faults.scenarios import poison, signals
from faults.scenarios.poison import BATCH, ROWS, Place
from gradstream.config import Services

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]  # each attempt is a process


@pytest.fixture
def lab(services: Services) -> Iterator[Lab]:
    with Lab(services) as made:
        yield made


def held(attempt: Attempt) -> bool:
    """Whether it happened as was meant and nothing was wrong."""
    assert attempt.fault == ""
    return attempt.counted


def test_bad_records_at_all_places_leave_the_weights_as_they_are(lab: Lab) -> None:
    bad = [
        ("TOMBSTONE", Place(0)),
        ("BAD_UTF8", Place(0)),
        ("TRUNCATED", Place(BATCH, BATCH)),
        ("TOO_DEEP", Place(700)),
        ("BAD_DECIMAL", Place(ROWS)),
        ("UNKNOWN_SCHEMA_ID", Place(ROWS)),
    ]
    assert held(poison.attempted(lab, bad, poison.unharmed(lab)))


def test_a_run_goes_on_after_a_signal_and_after_it_has_found_no_memory(lab: Lab) -> None:
    topic = lab.topic(rows=6000)
    run = lab.run(topic, **signals.FLAGS)
    assert held(signals.asked(run, "after_send_offsets", signal.SIGTERM))
    if sys.platform == "linux":  # which can take memory away from a process
        assert signals.starved(run, "after_fetch").fault == ""  # it may have all that it needs
    assert run.ending(lab.reference(topic, **signals.FLAGS)).faults == []
