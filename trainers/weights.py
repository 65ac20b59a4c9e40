"""``gradstream weights``: what trainers have published, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from rich.text import Text

from gradstream import command
from gradstream.config import Services
from gradstream.console import notes, results
from gradstream.errors import UsageError
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import end_offsets, require_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.records import Records
from gradstream.wire.registry import Registry
from trainers.chain import STAGES, WeightsRecord
from trainers.checkpoint import backwards, read_weights

WIDE = 110  # columns of a terminal from which two stages and the offsets are shown

ABOUT = """Show the weights that trainers have published to Kafka, the newest last.

Each line is one weights record: run (whose chain of weights it belongs to), step (updates so far), epoch, loss of
the records since the last one, records trained a second, what took the trainer longest, offsets (in a wide
terminal; up to where each partition is trained on), weights (the intercept first). Scripts take --json."""


def main(argv: list[str]) -> int:
    parser = command.parser("weights", ABOUT)
    parser.add_argument(
        "--run", metavar="ID", help="only those of this run (gradstream train --run)"
    )
    parser.add_argument(
        "--limit", default="10", metavar="N", help="how many, the newest ones (default: 10)"
    )
    parser.add_argument(
        "--follow", action="store_true", help="keep showing what is published, until Ctrl-C"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, with everything in it"
    )
    parser.add_argument(
        "--weights-topic",
        default="gradstream_weights",
        metavar="TOPIC",
        help="where they are (default: %(default)s)",
    )
    command.add_services(parser)
    given = parser.parse_args(argv)
    if not given.limit.isdecimal():
        raise UsageError("BAD_VALUE", f"--limit {given.limit}: give a whole number from 0")
    services = command.services(given)
    require_topics(services, [given.weights_topic])
    ends = end_offsets(services, given.weights_topic)
    with closing(Registry(services.schema_registry_url)) as registry:
        decoder = AvroDecoder(registry)
        found = newest(services, decoder, given.weights_topic, given.run, int(given.limit))
        show(found, given)
        if given.follow:
            for record in follow(services, decoder, ends, given.run):
                show([record], given, heading=False)
    if not found and not given.json:
        of = f" of run {given.run}" if given.run else ""
        notes.print(f"no weights in {given.weights_topic}{of}")
    return 0


def newest(
    services: Services, decoder: AvroDecoder, topic: str, run: str | None, limit: int
) -> list[WeightsRecord]:
    """The newest records, at most so many, oldest first."""
    found: list[WeightsRecord] = []
    for _, partition in sorted(end_offsets(services, topic)):
        found += islice(_backwards(services, decoder, topic, partition, run), limit)
    found.sort(key=lambda record: record.created)
    return found[len(found) - limit :] if limit < len(found) else found


def _backwards(
    services: Services, decoder: AvroDecoder, topic: str, partition: int, run: str | None
) -> Iterator[WeightsRecord]:
    for records in backwards(services, topic, partition):
        yield from reversed(_of_run(decoder, records, run))


def _of_run(decoder: AvroDecoder, records: Records, run: str | None) -> list[WeightsRecord]:
    values = records.value
    if run is not None:
        key = pa.scalar(run.encode(), records.key.type)
        values = values.filter(pc.fill_null(pc.equal(records.key, key), False))
    return read_weights(decoder, values) if len(values) else []


def follow(
    services: Services, decoder: AvroDecoder, ends: dict[tuple[str, int], int], run: str | None
) -> Iterator[WeightsRecord]:
    """Records as they are committed, for ever."""
    with open_log_reader(services, ends) as reader:
        while True:
            records = reader.fetch(1000, 0.2)
            if len(records):
                yield from _of_run(decoder, records, run)


def show(found: list[WeightsRecord], given: argparse.Namespace, heading: bool = True) -> None:
    if given.json:
        for record in found:
            sys.stdout.write(json.dumps(record.summary()) + "\n")
        sys.stdout.flush()
    elif found:
        results.print(table(found, results.width, heading))


def table(found: list[WeightsRecord], width: int, heading: bool = True) -> Text:
    """Columns that fit the width: a narrow terminal gets fewer weights, the largest stage only and no offsets.

    Not a rich Table, since the reason why a run ended stands on a line of its own, across all columns.
    """
    wide = width >= WIDE
    headings = ["run", "step", "epoch", "loss", "rec/s", "stages", "offsets"]
    rows = [
        [
            cut(record.run, 32 if wide else 20),
            f"{record.step:,}",
            str(record.epoch) if record.epochs else "",
            "" if record.loss is None else f"{record.loss:.4g}",
            short_count(record.records_per_second),
            stages(record, 2 if wide else 1),
            offsets(record, 22),
        ][: 7 if wide else 6]
        for record in found
    ]
    headings = headings[: 7 if wide else 6]
    # Rows that follow stand under a heading printed before, so all widths have a least.
    least = [12, 7, 5, 7, 5, 11, 7]
    columns = list(zip(*([headings, *rows]), strict=True))
    widths = [max(w, *map(len, cells)) for w, cells in zip(least, columns, strict=False)]
    widths.append(max(8, width - sum(widths) - len(widths)))
    headings.append("weights")
    for record, row in zip(found, rows, strict=True):
        row.append(weights(record, widths[-1]))
    shown = Text(no_wrap=True)
    if heading:
        shown.append(_line(headings, widths) + "\n", "bold")
    for record, row in zip(found, rows, strict=True):
        shown.append(_line(row, widths) + "\n")
        if record.reason:
            shown.append(cut(f"  └ {record.reason}", width) + "\n", "dim")
    shown.rstrip()
    return shown


def _line(cells: list[str], widths: list[int]) -> str:
    sides = "<>>>><<<"  # words to the left, numbers to the right
    return " ".join(
        f"{cut(cell, width):{side}{width}}"
        for cell, width, side in zip(cells, widths, sides, strict=False)
    ).rstrip()


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def whole(items: list[str], most: int) -> str:
    """As many of the items as so many characters hold, and … where there are more: no number is cut in two.

    >>> whole(["1.25", "-3.5", "70"], 11), whole(["1.25", "-3.5"], 11)
    ('1.25 -3.5 …', '1.25 -3.5')
    """
    for number in range(len(items), 0, -1):
        shown = " ".join(items[:number]) + (" …" if number < len(items) else "")
        if len(shown) <= most:
            return shown
    return "…" if items else ""


def weights(record: WeightsRecord, most: int) -> str:
    """The first weights, the intercept before all others where there is one, in at most so many characters; of a
    network the shapes of its layers.
    """
    w = record.tensors.get("w")
    if w is None:
        layers = sorted((n, t.shape) for n, t in record.tensors.items() if n.startswith("W"))
        return whole([f"{name} {'×'.join(map(str, shape))}" for name, shape in layers], most)
    return f"[{whole([f'{x:.4g}' for x in w[:32].tolist()], most - 2)}]"


def stages(record: WeightsRecord, most: int) -> str:
    """The largest stages with their share of the time."""
    spent = {stage: record.timings_us.get(stage, 0) for stage in STAGES}
    total = max(record.elapsed_us, sum(spent.values()), 1)
    largest = sorted(spent.items(), key=lambda item: -item[1])[:most]
    return " ".join(f"{stage} {us / total:.0%}" for stage, us in largest if us)


def offsets(record: WeightsRecord, most: int) -> str:
    """Up to where the log is trained on, as partition:offset, in at most so many characters."""
    return whole(
        [f"{partition}:{at}" for (_, partition), at in sorted(record.commits.items())], most
    )


def short_count(number: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
