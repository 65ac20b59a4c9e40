"""``gradstream lineage``: which records, SQL, schema, configuration and parent made a weights record."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradstream import command
from gradstream.config import Services
from gradstream.console import results
from gradstream.errors import GradstreamError
from gradstream.wire.codec_avro import schema_columns
from gradstream.wire.kafka import begin_offsets, end_offsets, list_topics, topic_ids
from gradstream.wire.records import TopicPartition
from gradstream.wire.registry import Registry
from trainers import links, origin
from trainers.batches import Range
from trainers.chain import WeightsRecord
from trainers.links import Chain, Letter, Link

ABOUT = """Show where weights come from: which records, SQL, schema, configuration and parent made a weights record.

STEP is the step of a record, or the beginning of its hash; without it the newest. gradstream rebuild proves it: it
learns the same weights once more. Scripts take --json."""
ELSEWHERE = ("source", "model", "dtype")  # settings that have been shown
NOTHING: tuple[Any, ...] = (None, "", [], ())


@dataclass(frozen=True, slots=True)
class Covered:
    """What was taken from one partition.

    Attributes:
        start, end: half-open offsets.
        records: trained on. letters: dead letters in between.
        ranges: into which it is cut, where batches were short or partitions passed over.
        held: how much of it the log still has.
    """

    partition: int
    start: int
    end: int
    records: int
    letters: int
    ranges: int
    held: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """A weights record and all that made it.

    Attributes:
        way: the records from the first to this one.
        beside: records of the run that do not lie on it or after it.
        topic_id_now: of the source; None where there is no such topic any more.
        fields: name and kind of the schema's columns; None where the registry does not know it.
        newest_schema: id; None where the registry does not tell.
        changed: settings that differ from the parent's, before and now.
        sql: the statements that made the source; None where nobody knows.
        sql_now: those that make it today.
        machine: what computed; empty where an older version does not tell.
    """

    link: Link
    way: Sequence[Link]
    newest: Link
    records: int
    beside: int
    covered: Sequence[Covered]
    topic_id_now: str | None
    fields: Mapping[str, str] | None
    newest_schema: int | None
    configuration: Mapping[str, Any]
    changed: Mapping[str, tuple[Any, Any]]
    sql: str | None
    sql_now: str | None
    machine: Mapping[str, str]

    @property
    def parent(self) -> Link | None:
        return self.way[-2] if len(self.way) > 1 else None

    @property
    def missing_parent(self) -> str:
        """Hash of the record at which the chain breaks; empty where it reaches back to the first."""
        return self.way[0].record.parent


def main(argv: list[str]) -> int:
    parser = command.parser("lineage", ABOUT)
    parser.add_argument("run", metavar="RUN", help="the chain of weights (gradstream train --run)")
    parser.add_argument(
        "step", metavar="STEP", nargs="?", default="", help="or a hash's beginning [the newest]"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with everything in it")
    add_topics(parser)
    command.add_services(parser, ksql=True)
    given = parser.parse_args(argv)
    services = command.services(given)
    found = lineage(
        services,
        given.run,
        given.step,
        weights_topic=given.weights_topic,
        dead_letters_topic=given.dead_letters_topic,
    )
    if given.json:
        sys.stdout.write(json.dumps(plain(found)) + "\n")
    else:
        results.print(page(found))
    return 0


def add_topics(parser: argparse.ArgumentParser) -> None:
    """Flags for the topics that a trainer has written."""
    for name, default, what in (
        ("--weights-topic", "gradstream_weights", "where the weights are"),
        ("--dead-letters-topic", "gradstream_dead_letters", "where unusable records are"),
    ):
        parser.add_argument(name, default=default, metavar="TOPIC", help=f"{what} [{default}]")


def lineage(
    services: Services,
    run: str,
    step: str = "",
    *,
    weights_topic: str = "gradstream_weights",
    dead_letters_topic: str = "gradstream_dead_letters",
) -> Lineage:
    """What made a weights record.

    Args:
        step: or the beginning of a hash; the newest record for nothing.

    Raises:
        DataError: UNKNOWN_RUN, UNKNOWN_STEP, AMBIGUOUS_HASH, WEIGHTS_HASH_MISMATCH.
    """
    with closing(Registry(services.schema_registry_url)) as registry:
        registry.check()
        chain = links.read(services, registry, weights_topic, run)
        link = chain.find(step)
        way = chain.to(link)
        record, parent = link.record, chain.parent(link)
        source = source_of(record)
        letters = links.letters(services, registry, dead_letters_topic, run)
        there = source in list_topics(services)
        configuration = settings(record)
        before = settings(parent.record) if parent else configuration
        fields, newest_schema = schemas(registry, record, source)
        return Lineage(
            link=link,
            way=way,
            newest=chain.newest,
            records=len(chain.links),
            beside=len(chain.links) - len(_line(chain, link)),
            covered=covered(services if there else None, record.inputs, letters),
            topic_id_now=topic_ids(services, [source])[source] if there else None,
            fields=fields,
            newest_schema=newest_schema,
            configuration=configuration,
            changed={
                key: (before.get(key), configuration.get(key))
                for key in sorted(before.keys() | configuration.keys())
                if before.get(key) != configuration.get(key)
            },
            sql=sql_of(way),
            sql_now=origin.statements(services, source),
            machine=machine_of(way),
        )


def _line(chain: Chain, link: Link) -> set[str]:
    """Hashes of the records that lie on the way to a record or follow from it."""
    following = {link.sha256}
    for each in chain.links:  # parents come first
        if each.record.parent in following:
            following.add(each.sha256)
    return following | {each.sha256 for each in chain.to(link)}


def source_of(record: WeightsRecord) -> str:
    """The topic that was trained on."""
    return next(iter(record.commits))[0] if record.commits else ""


def settings(record: WeightsRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record.configuration or "{}")
    return found


def schemas(
    registry: Registry, record: WeightsRecord, source: str
) -> tuple[dict[str, str] | None, int | None]:
    """Columns of the schema that was the newest, and the id of the one that is."""
    fields = newest = None
    try:
        if record.schema_id is not None:
            schema = registry.schema(record.schema_id)
            fields = schema_columns(schema.text, schema.references)
        newest = registry.latest(f"{source}-value")[0]
    except GradstreamError:
        pass  # gone, or not to be had now: the page says so
    return fields, newest


def sql_of(way: Sequence[Link]) -> str | None:
    """The statements of the last record: their text stands where it was new."""
    wanted = way[-1].record.sql_sha256
    texts = [link.record.sql for link in way[::-1] if link.record.sql is not None]
    return next((text for text in texts if origin.sha256(text) == wanted), None)


def machine_of(way: Sequence[Link]) -> dict[str, str]:
    """What computed the last record: told by the first record of its process."""
    told = (link.record.machine for link in way[::-1])
    found: dict[str, str] = json.loads(next(filter(None, told), "{}"))
    return found


def covered(
    services: Services | None, ranges: Sequence[Range], letters: set[Letter]
) -> list[Covered]:
    """The ranges by partition; ``services`` None where the topic is gone."""
    found = []
    lows: dict[TopicPartition, int] = {}
    ends: dict[TopicPartition, int] = {}
    if services is not None and ranges:
        lows, ends = (
            begin_offsets(services, ranges[0].topic),
            end_offsets(services, ranges[0].topic),
        )
    for at in sorted({(r.topic, r.partition) for r in ranges}):
        mine = [r for r in ranges if (r.topic, r.partition) == at]
        start, end = min(r.start for r in mine), max(r.end for r in mine)
        bad = [x for x in letters if (x.topic, x.partition) == at and start <= x.offset < end]
        held = _held(start, end, lows.get(at, end), ends.get(at, end))
        records = sum(r.records for r in mine)
        found.append(Covered(at[1], start, end, records, len(bad), len(mine), held))
    return found


def _held(start: int, end: int, low: int, high: int) -> str:
    """How much of a range the log still has."""
    if low >= end or high <= start:
        return "gone"
    parts = [f"from {low:,}"] if low > start else []
    parts += [f"up to {high:,}"] if high < end else []
    return ", ".join(parts) or "all"


# What is shown


def page(found: Lineage) -> RenderableType:
    """Everything, in as many columns as the terminal has."""
    record = found.link.record
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, lines in (
        ("hash", [found.link.sha256]),
        ("parent", _parent(found)),
        ("created", _created(found)),
        ("by", _by(found)),
        ("trained on", _trained_on(found)),
    ):
        grid.add_row(label, Text("\n".join(lines)))
    rest = Table.grid(padding=(0, 2))
    rest.add_column(style="bold", no_wrap=True, min_width=10)
    rest.add_column(overflow="fold")
    for label, lines in (
        ("schema", _schema(found)),
        ("settings", _settings(found)),
        ("sql", _sql(found)),
        ("chain", _chain(found)),
    ):
        rest.add_row(label, Text("\n".join(lines)))
    head = Text(f"run {record.run}, step {record.step:,}", style="bold")
    head.append(_epoch(record), "not bold")
    return Group(head, "", grid, Padding(_partitions(found), (0, 0, 0, 12)), rest)


def _epoch(record: WeightsRecord) -> str:
    at = ""
    if record.epochs:
        at = f", epoch {record.epoch} of {record.epochs}"
        at += f" and {record.position:,} batches" if record.position else ""
    return f"{at}: {record.reason}" if record.reason else at


def _parent(found: Lineage) -> list[str]:
    if found.parent is not None:
        return [found.parent.sha256, f"step {found.parent.record.step:,}"]
    if found.missing_parent:
        return [found.missing_parent, "which is not in the topic"]
    return ["none: this is the first record of the run"]


def _created(found: Lineage) -> list[str]:
    record = found.link.record
    time = record.created.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
    after = ""
    if found.parent is not None:
        seconds = (record.created - found.parent.record.created).total_seconds()
        after = f", {seconds:,.3f} s after its parent"
    return [f"{time} UTC{after}"]


def _by(found: Lineage) -> list[str]:
    record = found.link.record
    told = dict(found.machine)
    processor = told.pop("processor", "")
    versions = ", ".join(f"{name} {version}" for name, version in told.items())
    computed = (
        f"model {record.model} by backend {record.backend} on {record.device}, {record.dtype}"
    )
    return (
        [computed, *filter(None, [versions, processor])]
        if told
        else [computed, "versions: not told"]
    )


def _trained_on(found: Lineage) -> list[str]:
    record, parent = found.link.record, found.parent
    rejected = record.records_rejected - (parent.record.records_rejected if parent else 0)
    source = source_of(record)
    if found.topic_id_now is None:
        topic = f"topic {source}, which is gone"
    elif not record.topic_id or found.topic_id_now == record.topic_id:
        topic = f"topic {source}, still the same"
    else:
        topic = f"topic {source}, which was deleted and created again since"
    since = f"{record.records_since:,} records and {rejected:,} dead letters"
    lines = [
        topic,
        *([f"id {record.topic_id}"] if record.topic_id else []),
        f"{since} since the {'parent' if parent else 'beginning'}",
    ]
    if parent:
        whole = f"{record.records_trained:,} records and {record.records_rejected:,} dead letters"
        lines.append(f"{whole} since the beginning")
    return [*lines, *(["each epoch goes over:"] if record.epochs else [])]


def _partitions(found: Lineage) -> RenderableType:
    if not found.covered:
        return Text("no offsets since the parent\n")
    cut = any(each.ranges > 1 for each in found.covered)
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for heading in ("partition", "from", "to", "records", "dead letters"):
        table.add_column(heading, justify="right", no_wrap=True, header_style="not bold")
    if cut:
        table.add_column("ranges", justify="right", no_wrap=True, header_style="not bold")
    table.add_column("in the log", header_style="not bold")
    for c in found.covered:
        numbers = (c.start, c.end, c.records, c.letters, *([c.ranges] if cut else []))
        table.add_row(str(c.partition), *(f"{n:,}" for n in numbers), c.held)
    return table


def _schema(found: Lineage) -> list[str]:
    record = found.link.record
    if record.schema_id is None:
        return ["not told"]
    now = "still its newest" if found.newest_schema == record.schema_id else ""
    if found.newest_schema not in (None, record.schema_id):
        now = f"its newest now is {found.newest_schema}"
    head = f"id {record.schema_id} of subject {source_of(record)}-value"
    if found.fields is None:
        return [f"{head}, which the registry does not know any more"]
    columns = ", ".join(f"{name} {kind}" for name, kind in found.fields.items())
    return [", ".join(filter(None, [head, now])), columns]


def _settings(found: Lineage) -> list[str]:
    """Those in effect, and what the parent's were where they differ."""
    shown = {
        key: value
        for key, value in found.configuration.items()
        if value not in NOTHING and value is not False and key not in ELSEWHERE
    }
    lines = [", ".join(f"{key} {_value(value)}" for key, value in shown.items()) or "not told"]
    if found.parent is not None:
        changes = [f"{key} was {_value(old)}" for key, (old, _) in found.changed.items()]
        lines.append("unlike the parent: " + ", ".join(changes) if changes else "the parent's, too")
    return lines


def _value(value: Any) -> str:
    if value in NOTHING:
        return "none"
    if value is True:
        return "on"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _sql(found: Lineage) -> list[str]:
    record = found.link.record
    now = origin.sha256(found.sql_now)
    if record.sql_sha256 is None:
        lines = ["not known: no KSQL server told of a query that writes the topic"]
        return lines + ([f"one runs now, sha256 {now}"] if now else [])
    state = "no query that writes the topic runs now, as far as a KSQL server tells"
    if now is not None:
        same = now == record.sql_sha256
        state = "it is still what runs" if same else f"another runs now, sha256 {now}"
    text = found.sql.splitlines() if found.sql else ["its text is in no record of the chain"]
    return [record.sql_sha256, state, *text]


def _chain(found: Lineage) -> list[str]:
    number = len(found.way)
    if found.missing_parent:
        length = f"broken: {_counted(number)} back to step {found.way[0].record.step:,}, whose parent is not there"
    else:
        length = f"unbroken, {_counted(number)} back to the first"
    if found.newest.sha256 == found.link.sha256:
        length += "; this is the newest"
    else:
        length += f"; the newest is step {found.newest.record.step:,}"
    return [
        length,
        *([f"{_counted(found.beside)} of the run beside it"] if found.beside else []),
    ]


def _counted(records: int) -> str:
    return f"{records:,} record{'' if records == 1 else 's'}"


def plain(found: Lineage) -> dict[str, Any]:
    """Everything, as plain values that JSON can hold; offsets range by range."""
    record = found.link.record
    summary = record.summary()
    del summary["tensors"], summary["sql"], summary["machine"]
    source = source_of(record)
    return {
        **summary,
        "sha256": found.link.sha256,
        "parent_step": found.parent.record.step if found.parent else None,
        "configuration": dict(found.configuration),
        "configuration_sha256": record.configuration_sha256,
        "changed": {key: {"before": a, "now": b} for key, (a, b) in found.changed.items()},
        "machine": dict(found.machine),
        "source": source,
        "topic_id_now": found.topic_id_now,
        "partitions": [
            {
                "partition": c.partition,
                "start": c.start,
                "end": c.end,
                "records": c.records,
                "dead_letters": c.letters,
                "in_the_log": c.held,
            }
            for c in found.covered
        ],
        "subject": f"{source}-value",
        "fields": None if found.fields is None else dict(found.fields),
        "newest_schema_id": found.newest_schema,
        "sql": found.sql,
        "sql_sha256_now": origin.sha256(found.sql_now),
        "chain": {
            "length": len(found.way),
            "first": found.way[0].sha256,
            "unbroken": not found.missing_parent,
            "missing_parent": found.missing_parent or None,
            "newest_step": found.newest.record.step,
            "beside": found.beside,
        },
    }


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
