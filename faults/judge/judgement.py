"""The verdict on a run: what was counted, and each fault in a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.judge import links as chains
from faults.judge.avro import Bad, Reader
from faults.judge.ledger import Ledger, check_letters
from faults.judge.links import Link
from faults.judge.path import Sql, check_path
from faults.judge.registry import Registry
from faults.judge.rows import Lane, lanes
from faults.judge.topics import Broker, Hidden


@dataclass
class Verdict:
    """What a judge found.

    Attributes:
        faults: a line each, WORD: where: what. None: everything is accounted for.
        counted: how many of what there were.
        unjudged: what was not looked at, and why; no fault, and no proof either.
    """

    faults: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    unjudged: list[str] = field(default_factory=list)

    @property
    def words(self) -> set[str]:
        """The first words of the faults, such as LOST."""
        return {fault.partition(":")[0] for fault in self.faults}


def verdict(
    bootstrap_servers: str,
    registry_url: str,
    run: str,
    weights_topic: str = "gradstream_weights",
    dead_letters_topic: str = "gradstream_dead_letters",
    *,
    sql: Sql | None = None,
    recompute: bool = True,
) -> Verdict:
    """Judges what a run has left in the topics, after its processes have ended.

    Args:
        sql: the statement's side of the path, where that is to be judged as well.
        recompute: whether to learn the weights once more.
    """
    broker, registry = Broker(bootstrap_servers), Registry(registry_url)
    found = Verdict()
    try:
        values = Reader(registry.schemas(f"{weights_topic}-value"))
        links = chains.of_run(broker.read(weights_topic), values, run)
        found.counted["weights records"] = len(links)
        if links:
            found.faults += chains.check_chain(links, run)
            _account(found, broker, registry, run, links, dead_letters_topic, recompute)
        else:
            found.faults.append(f"NO_RECORDS: topic {weights_topic} has none of run {run}")
            found.faults += _orphans(broker, run)
        if sql is not None:
            training = next(iter(links[-1].topics)) if links else ""
            check_path(sql, broker, registry, training, found.faults, found.counted)
    except Hidden as what:
        found.faults.append(f"HIDDEN: {what}")
    except Bad as what:
        found.faults.append(f"CHANGED: a weights record or dead letter cannot be read: {what}")
    return found


def _account(
    found: Verdict,
    broker: Broker,
    registry: Registry,
    run: str,
    links: Sequence[Link],
    dead_letters_topic: str,
    recompute: bool,
) -> None:
    last = links[-1]
    topics = set().union(*(link.topics for link in links))
    if len(topics) != 1:
        found.faults.append(f"BROKEN_CHAIN: the run learned from several topics: {sorted(topics)}")
        return
    topic = topics.pop()
    ids = {part["topic_id"] for link in links for part in link.inputs}
    if ids - {broker.topic_id(topic)}:
        found.faults.append(f"RECREATED: {topic} is not the topic that the run learned from")
        return
    log = _log(broker, registry, topic, last)
    begins = {partition: low for partition, (low, _) in broker.bounds(topic).items()}
    ledger = Ledger(links, log, begins, recompute=recompute)
    letters = _letters(broker, registry, dead_letters_topic, run, topic)
    found.faults += ledger.faults
    found.faults += check_letters(letters, log, ledger.began, ledger.reached)
    found.faults += _torn(broker.committed(f"gradstream-train-{run}-{topic}", topic), last)
    if last.records_rejected != len(letters):
        found.faults.append(
            f"MISCOUNTED: {last.records_rejected} dead letters by the last record, {len(letters)} in "
            f"{dead_letters_topic}"
        )
    found.unjudged += ledger.unjudged
    found.counted |= {
        "visible records": sum(len(lane.offsets) for lane in log.values()),
        "good": sum(len(lane.good) for lane in log.values()),
        "trained, once for each epoch": last.records_trained,
        "dead letters": len(letters),
        "after the last commit": sum(
            len(lane.visible(ledger.reached[p], 1 << 62)) for p, lane in log.items()
        ),
        "steps": last.step,
        "steps recomputed": ledger.recomputed,
    }


def _log(broker: Broker, registry: Registry, topic: str, last: Link) -> dict[int, Lane]:
    return lanes(
        broker.read(topic),
        broker.partitions(topic),
        Reader(registry.schemas(f"{topic}-value")),
        last.features,
        last.target,
        labelled=last.model in ("logistic", "autoencoder"),
        dtype=last.dtype,
    )


def _letters(
    broker: Broker, registry: Registry, dead_letters_topic: str, run: str, topic: str
) -> list[tuple[int, int]]:
    """Where the records lay that this run has refused."""
    reader = Reader(registry.schemas(f"{dead_letters_topic}-value"))
    rows: list[dict[str, Any]] = [
        reader.read(message.value)[1] for message in broker.read(dead_letters_topic)
    ]
    return [
        (row["partition"], row["offset"])
        for row in rows
        if row["found_by"] == f"trainer:{run}" and row["topic"] == topic
    ]


def _orphans(broker: Broker, run: str) -> list[str]:
    """Offsets of a run that has no weights."""
    prefix = f"gradstream-train-{run}-"
    found = {
        group: broker.committed(group, group.removeprefix(prefix))
        for group in broker.groups(prefix)
    }
    return [
        f"TORN: no weights, and group {group} has committed {committed}"
        for group, committed in found.items()
        if committed
    ]


def _torn(committed: dict[int, int], last: Link) -> list[str]:
    if committed == last.commits:
        return []
    return [
        f"TORN: step {last.step}: it stands for offsets {last.commits}, and {committed} are committed"
    ]
