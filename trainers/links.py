"""A run's chain as it lies in the weights topic: every record, the way from one back to the first, and how to name one.

chain = links.read(services, registry, "gradstream_weights", "mine")
way = chain.to(chain.find("2000"))        # the records from the first to that of step 2000, each the next's parent
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from gradstream.config import Services
from gradstream.errors import DataError
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import begin_offsets, end_offsets, list_topics, require_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.records import Records
from gradstream.wire.registry import Registry
from trainers.chain import WeightsRecord
from trainers.checkpoint import between, read_weights

HASH = re.compile(r"[0-9a-f]{4,64}")
AT_ONCE = 64  # records decoded at a time: weights may be large


@dataclass(frozen=True, slots=True)
class Link:
    """A weights record without its tensors, which may be large; its hash was checked when it still had them."""

    record: WeightsRecord
    sha256: str


class Chain:
    """All records of a run.

    Args:
        links: in the order of the topic.
    """

    def __init__(self, run: str, links: list[Link]) -> None:
        self.run, self.links = run, links
        self._by_hash = {link.sha256: link for link in links}

    @property
    def newest(self) -> Link:
        """Where a trainer would go on."""
        return max(self.links, key=lambda link: (link.record.step, link.record.created))

    def parent(self, link: Link) -> Link | None:
        return self._by_hash.get(link.record.parent)

    def to(self, link: Link) -> list[Link]:
        """The records from the first to this one; the first of them has a parent where the chain is broken."""
        way = [link]
        while (before := self.parent(way[-1])) is not None:
            way.append(before)
        return way[::-1]

    def find(self, asked: str) -> Link:
        """The record of a step or of a hash that begins so; the newest for nothing. Where records share a step, the
        last of them on the way to the newest.

        Raises:
            DataError: UNKNOWN_STEP, with the nearest; AMBIGUOUS_HASH.
        """
        if not asked:
            return self.newest
        if asked.isdecimal():
            candidates = [*self.links, *self.to(self.newest)]
            if found := [link for link in candidates if link.record.step == int(asked)]:
                return found[-1]
        found = [link for link in self.links if link.sha256.startswith(asked.lower())]
        if not found or not HASH.fullmatch(asked.lower()):
            raise self._unknown(asked)
        if len(found) > 1:
            steps = ", ".join(f"{link.sha256[:16]} (step {link.record.step})" for link in found[:3])
            raise DataError(
                "AMBIGUOUS_HASH", f"{len(found)} records begin with {asked}: {steps}; give more"
            )
        return found[0]

    def _unknown(self, asked: str) -> DataError:
        steps = sorted({link.record.step for link in self.links})
        if asked.isdecimal():
            near = sorted(steps, key=lambda step: abs(step - int(asked)))[:4]
            what, shown = f"step {asked}", ", ".join(map(str, sorted(near)))
        else:
            what, shown = f"step or hash {asked!r}", f"{steps[0]} to {steps[-1]}"
        return DataError(
            "UNKNOWN_STEP",
            f"run {self.run!r} has no weights record of {what}; there are steps {shown}, or give the "
            "first letters of a hash (4 at least)",
        )


def read(services: Services, registry: Registry, topic: str, run: str) -> Chain:
    """The records of a run, their tensors left out.

    Raises:
        DataError: UNKNOWN_RUN, with the nearest name; WEIGHTS_HASH_MISMATCH where a record is not what was hashed.
    """
    require_topics(services, [topic])
    names: set[bytes] = set()
    links = [
        Link(replace(record, tensors={}), record.sha256)
        for record in records(services, registry, topic, run, names)
    ]
    if not links:
        known = sorted(name.decode(errors="replace") for name in names)
        near = get_close_matches(run, known, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else "gradstream weights shows the runs there are"
        )
        raise DataError("UNKNOWN_RUN", f"topic {topic!r} has no weights of run {run!r}; {hint}")
    return Chain(run, links)


def records(
    services: Services, registry: Registry, topic: str, run: str, names: set[bytes] | None = None
) -> Iterator[WeightsRecord]:
    """The weights records of a run with all that they hold, in the order of the topic.

    Args:
        names: takes in the runs that are met.
    """
    decoder = AvroDecoder(registry)
    for values in _values(services, topic, run, names if names is not None else set()):
        for first in range(0, len(values), AT_ONCE):
            yield from read_weights(decoder, values.slice(first, AT_ONCE))


def _values(
    services: Services, topic: str, run: str, names: set[bytes]
) -> Iterator[pa.BinaryArray]:
    for found in forwards(services, topic):
        names.update(filter(None, pc.unique(found.key).to_pylist()))
        mine = pc.equal(found.key, pa.scalar(run.encode(), found.key.type))
        yield found.value.filter(pc.fill_null(mine, False))


def forwards(services: Services, topic: str) -> Iterator[Records]:
    """The committed records of a topic from its beginning to its present end, one partition after another."""
    ends = end_offsets(services, topic)
    for at, first in sorted(begin_offsets(services, topic).items()):
        if ends[at] > first:
            with open_log_reader(services, {at: first}) as reader:
                yield from between(reader, at, ends[at])


class Letter(NamedTuple):
    """A dead letter as far as it tells of a record: where it lay, what was wrong, the hash of its value."""

    topic: str
    partition: int
    offset: int
    code: str
    sha256: str | None


def letters(services: Services, registry: Registry, topic: str, run: str) -> set[Letter]:
    """The dead letters that a run's trainers have written; none where there is no such topic."""
    found: set[Letter] = set()
    decoder = AvroDecoder(registry)
    if topic not in list_topics(services):
        return found
    for read in forwards(services, topic):
        batch = decoder.columns(read.value, [*Letter._fields, "found_by"]).batch
        mine = batch.filter(pc.equal(batch["found_by"], f"trainer:{run}"))
        columns = [mine[name].to_pylist() for name in Letter._fields]
        found.update(map(Letter._make, zip(*columns, strict=True)))
    return found
