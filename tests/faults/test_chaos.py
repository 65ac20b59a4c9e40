"""A sample of the laboratory on the tests' services: only trainers are harmed. `make faults` does all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.__main__ import perform
from faults.lab import Lab
from faults.record import Record
from gradstream.config import Services
from gradstream.errors import ConfigError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # each attempt is a process


@pytest.mark.parametrize(
    ("scenario", "attempts"), [("kills", 6), ("zombies", 2), ("rebalances", 1)]
)
def test_a_sample(scenario: str, attempts: int, services: Services, tmp_path: Path) -> None:
    record = Record(tmp_path / "faults.jsonl", {})
    with Lab(services) as lab:
        perform([scenario], lab, True, attempts, 1, record)
    (account,) = record.accounts
    assert account.faults == []
    assert account.counted >= attempts
    same, runs = account.hashes
    assert same == runs > 0
    assert all(
        ending.counted["trained, once for each epoch"] > 10_000 for ending in account.endings
    )


def test_services_of_others_are_not_harmed(services: Services) -> None:
    with Lab(services) as lab, pytest.raises(ConfigError, match="NO_OWN_STACK"):
        lab.broker.kill()
