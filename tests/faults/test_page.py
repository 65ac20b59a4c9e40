"""The page of the laboratory's results says what its records say."""

from __future__ import annotations

from faults.attempt import Attempt, Ending
from faults.page import PAGE, RESULTS, page, runs
from faults.record import Account

MACHINE = {
    "time": "2030-01-02T03:04:05+00:00",
    "processor": "Abacus",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux 6",
    "python": "3.11.0",
    "versions": {"numpy": "2.0"},
}


def test_the_page_is_that_of_the_records() -> None:
    found = runs(RESULTS)
    assert found, "no run has been kept"
    assert (RESULTS / PAGE).read_text() == page(found)


def test_faults_stand_on_the_page() -> None:
    account = Account("kills", "does it hold?", 3, finished=True, seconds=90.0)
    account.attempts += [
        Attempt("numpy", "after_flush", "SIGKILL", "r", counted=True, restart_seconds=2.5),
        Attempt("numpy", "after_begin", "SIGKILL", "r", counted=True, fault="Hang: no end"),
    ]
    account.endings.append(Ending("r", ["offset 3 is lost"], lost=1, sha256="a", expected="b"))
    made = page([{**MACHINE, "scenarios": [account.to_row()]}])
    assert "| [kills](#kills) | 2 | 2 of 3 | 2 | 1 | 0 | 0 | 0 of 1 | 2.5 ≤ 2.5 s |" in made
    assert "- by phase: after_begin 1, after_flush 1" in made
    assert "- **failed**: numpy after_begin SIGKILL: Hang: no end" in made
    assert "- **failed**: run r: offset 3 is lost" in made
    assert "- 2030-01-02: Abacus, 2 cores, 8.0 GiB, Linux 6, Python 3.11.0, numpy 2.0" in made
