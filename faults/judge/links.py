"""Weights records of one run, and the hash that each should have.

Written anew from the description at the top of trainers/chain.py: each text as its length (8 bytes) and UTF-8, each
integer as 8 bytes, each number as float64, all little-endian, in this order: the words "gradstream.weights.1"; parent,
run, step, epoch, position, turn; the tensors by name; the inputs as listed; the commits by topic and partition.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

from faults.judge.avro import Reader
from faults.judge.topics import Message


class Span(NamedTuple):
    """Offsets of one partition that a record says it has learned from, the end not included."""

    partition: int
    start: int
    end: int
    records: int
    group: int


@dataclass(frozen=True)
class Link:
    """A weights record.

    Attributes:
        row: its fields.
    """

    row: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.row[name]
        except KeyError:
            raise AttributeError(name) from None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that decides the numbers."""
        found: dict[str, Any] = json.loads(self.row["configuration"] or "{}")
        return found

    @cached_property
    def spans(self) -> list[Span]:
        return [
            Span(i["partition"], i["start_offset"], i["end_offset"], i["records"], i["batch_group"])
            for i in self.row["inputs"]
        ]

    @cached_property
    def commits(self) -> dict[int, int]:
        return {p["partition"]: p["position"] for p in self.row["commits"]}

    @cached_property
    def goal(self) -> dict[int, int]:
        return {p["partition"]: p["position"] for p in self.row["goal"]}

    @cached_property
    def tensors(self) -> dict[str, list[float]]:
        return {t["name"]: t["values"] for t in self.row["tensors"]}

    @property
    def topics(self) -> set[str]:
        return {p["topic"] for p in (*self.row["commits"], *self.row["inputs"])}

    @property
    def in_epochs(self) -> bool:
        return bool(self.row["epochs"])

    @property
    def open_epochs(self) -> bool:
        """Whether the epochs over its log have not ended with it."""
        return self.in_epochs and any(at < self.goal[p] for p, at in self.commits.items())

    def digest(self) -> str:
        """What its hash should be."""
        row = self.row
        parts = [_text("gradstream.weights.1"), _text(row["parent"]), _text(row["run"])]
        parts += map(_whole, (row["step"], row["epoch"], row["position"], row["turn"]))
        parts.append(_whole(len(row["tensors"])))
        for tensor in sorted(row["tensors"], key=lambda one: str(one["name"])):
            parts += [_text(tensor["name"]), _whole(len(tensor["shape"]))]
            parts += map(_whole, tensor["shape"])
            parts += [struct.pack("<d", value) for value in tensor["values"]]
        parts.append(_whole(len(row["inputs"])))
        for part in row["inputs"]:
            parts += [_text(part["topic"]), _text(part["topic_id"])]
            fields = ("partition", "start_offset", "end_offset", "records", "batch_group")
            parts += [_whole(part[name]) for name in fields]
        parts.append(_whole(len(row["commits"])))
        for place in sorted(row["commits"], key=lambda one: (one["topic"], one["partition"])):
            parts += [_text(place["topic"]), _whole(place["partition"]), _whole(place["position"])]
        return sha256(b"".join(parts)).hexdigest()


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<q", len(raw)) + raw


def _whole(number: int) -> bytes:
    return struct.pack("<q", number)


def of_run(messages: Iterable[Message], reader: Reader, run: str) -> list[Link]:
    """The records of a run in the order of the log.

    Raises:
        Bad: a record under the run's key cannot be read.
    """
    found = [reader.read(message.value)[1] for message in messages if message.key == run.encode()]
    return [Link(row) for row in found]


def check_chain(links: list[Link], run: str) -> list[str]:
    """The faults of a chain: records that were changed, and parents that are not the record before."""
    faults, hashes = [], [""]
    for number, link in enumerate(links):
        name = f"record {number} (step {link.step})"
        if link.run != run:
            faults.append(f"BROKEN_CHAIN: {name} names run {link.run!r} under the key of {run!r}")
        if link.digest() != link.sha256:
            faults.append(f"CHANGED: {name} has another content than its sha256 {link.sha256[:12]}")
        if sha256(link.configuration.encode()).hexdigest() != link.configuration_sha256:
            faults.append(f"CHANGED: {name} has another configuration than its hash")
        if link.parent != hashes[-1]:
            faults.append(f"BROKEN_CHAIN: {name} {_kinship(link.parent, hashes)}")
        hashes.append(link.sha256)
    return faults


def _kinship(parent: str, hashes: list[str]) -> str:
    if parent not in hashes:
        return f"has parent {parent[:12]}, which is no record before it"
    at = len(hashes) - 1 - hashes[::-1].index(parent)
    whom = f"record {at - 1}" if at else "nothing"
    return f"goes on from {whom}, beside a record that does so already: there are two chains"
