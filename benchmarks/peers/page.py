"""The record of a comparison, and what a page says, made from it alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import plot, tables
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.outcome import Outcome, figures


def write(path: Path, machine: Mapping[str, Any], quick: bool, outcomes: Sequence[Outcome]) -> None:
    """Machine, every repeat, goals and whether they were reached, as JSON."""
    judged = [
        {"against": each.reference, "goal": each.goal, "ratio": each.ratio, "reached": each.reached}
        for each in figures(outcomes)
    ]
    told = {
        "machine": machine,
        "quick": quick,
        "goals": judged,
        "peers": [each.record() for each in outcomes],
    }
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def outcomes_of(told: Mapping[str, Any]) -> list[Outcome]:
    """Those of a record whose peers there still are."""
    names = {peer.name for peer in PEERS}
    return [Outcome.of(each) for each in told["peers"] if each["name"] in names]


def markdown(told: Mapping[str, Any]) -> Iterator[str]:
    """Both tables of a record."""
    outcomes = outcomes_of(told)
    return tables.markdown(outcomes, figures(outcomes))


def draw(told: Mapping[str, Any], path: Path, metadata: Mapping[str, str]) -> None:
    """The picture of a record, with metadata inside."""
    plot.draw(outcomes_of(told), told["machine"], path, metadata)
