"""``gradstream produce``: data with known answers, card payments, or any CSV file, into a topic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, get_args

import pyarrow as pa

from gradstream import command
from gradstream.console import notes, progress
from gradstream.errors import DataError, UsageError
from producers import statements
from producers.csv_file import CsvFile, scan
from producers.fraud import EMPTY_CLASSES, FRAUD_SHARE, KAGGLE_ROWS, Fraud
from producers.pace import Schedule, at_own_clock, at_rate
from producers.regression import GOLDEN_ROWS, GOLDEN_SEED, Regression
from producers.replay import credit_cards
from producers.send import Format, Interrupted, Sent, produce
from producers.text_input import MAX_EXPANDED

UNAVAILABLE = 69
INTERRUPTED = 130

_EXAMPLES = """examples:
  gradstream produce regression                        the data of the golden figures
  gradstream produce regression --data gaussian --features 10 --rows 1000000
  gradstream produce fraud --rate 1000                 1,000 payments a second
  gradstream produce fraud --from creditcard.csv.gz --speed 60
  gradstream produce csv diabetes.csv --topic diabetes --target target --sql diabetes.sql
"""


@dataclass(frozen=True)
class Feed:
    """What one command is about to send."""

    batches: Iterable[pa.RecordBatch]
    rows: int | None
    pipeline: statements.Pipeline
    schedule: Schedule | None


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    schedule = None if arguments.rate is None else at_rate(arguments.rate)
    feed: Feed = arguments.feed(arguments, schedule)
    if arguments.sql:
        _write_sql(statements.statements(feed.pipeline), arguments.sql)
    if arguments.dry_run:
        return 0
    try:
        sent = _send(arguments, feed)
    except Interrupted as interrupted:
        _tell(f"stopped: {interrupted.sent}")
        return INTERRUPTED
    _tell(str(sent))
    return UNAVAILABLE if sent.failed else 0


def _parser() -> command.Parser:
    parser = command.parser("produce", "Put records into a topic.")
    parser.epilog = _EXAMPLES
    kinds = parser.add_subparsers(metavar="regression | fraud | csv", required=True)
    _add_regression(kinds)
    _add_fraud(kinds)
    _add_csv(kinds)
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows those defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, [], ""):
            return action.help
        return super()._get_help_string(action)


Kinds: TypeAlias = "argparse._SubParsersAction[command.Parser]"


def _add_kind(
    kinds: Kinds, word: str, description: str, feed: Callable[..., Feed]
) -> command.Parser:
    parser: command.Parser = kinds.add_parser(
        word,
        help=description,
        description=description,
        formatter_class=_Help,
    )
    parser.set_defaults(feed=feed)
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    return parser


def _add_regression(kinds: Kinds) -> None:
    parser = _add_kind(
        kinds, "regression", "rows ID, SENSOR, X1 … Xd, Y whose true weights are known", _regression
    )
    parser.add_argument(
        "--data",
        choices=("golden", "gaussian"),
        default="golden",
        help="golden: the line of the golden figures; gaussian: any number of features",
    )
    parser.add_argument("--features", type=int, default=1, metavar="D", help="gaussian: 1 to 1,000")
    _add_rows(parser, GOLDEN_ROWS)
    parser.add_argument("--seed", type=int, default=GOLDEN_SEED, help="of all that is drawn")
    parser.add_argument("--noise", type=float, default=0.1, help="its standard deviation in Y")
    parser.add_argument(
        "--weights",
        type=_weights,
        metavar="W0,W1,…",
        help="gaussian: true weights, intercept first; drawn from the seed if not given",
    )
    parser.add_argument("--empty-share", type=float, default=0.0, help="share of rows without Y")
    _add_sending(parser, "regression_source")


def _add_fraud(kinds: Kinds) -> None:
    parser = _add_kind(kinds, "fraud", "card payments in 34 columns, one in 588 a fraud", _fraud)
    parser.add_argument(
        "--from",
        dest="file",
        type=Path,
        metavar="FILE",
        help="replay Kaggle's creditcard.csv (or .csv.gz) instead of imitating it",
    )
    _add_rows(parser, KAGGLE_ROWS)
    parser.add_argument("--seed", type=int, default=GOLDEN_SEED, help="of all that is drawn")
    parser.add_argument("--fraud-share", type=float, default=FRAUD_SHARE, help="share of frauds")
    parser.add_argument(
        "--empty-share", type=float, default=EMPTY_CLASSES, help="share of rows without Class"
    )
    parser.add_argument(
        "--speed", type=float, metavar="S", help="S times as fast as the column Time tells"
    )
    _add_max_expanded(parser)
    _add_sending(parser, "creditcardfraud_source")


def _add_csv(kinds: Kinds) -> None:
    parser = _add_kind(kinds, "csv", "any CSV file with a header; prints the matching KSQL", _csv)
    parser.add_argument("file", type=Path, metavar="FILE", help="plain or gzip, UTF-8")
    parser.add_argument(
        "--target", metavar="COL", help="rows in which it is empty are not trained on"
    )
    parser.add_argument(
        "--mask",
        action="append",
        default=[],
        metavar="COL",
        help="column to mask (repeat for more)",
    )
    parser.add_argument(
        "--stream", default="", metavar="NAME", help="of the source; else the topic's"
    )
    parser.add_argument("--delimiter", default=",", metavar="C", help="of the file; tab for tabs")
    _add_max_expanded(parser)
    _add_sending(parser, None)


def _add_rows(parser: command.Parser, default: int) -> None:
    parser.add_argument(
        "--rows", type=_rows, default=default, metavar="N", help="how many, or 'endless'"
    )


def _add_max_expanded(parser: command.Parser) -> None:
    parser.add_argument(
        "--max-expanded",
        type=int,
        default=MAX_EXPANDED,
        metavar="BYTES",
        help="what a gzip file may grow to",
    )


def _add_sending(parser: command.Parser, topic: str | None) -> None:
    """Flags of all kinds; without a usual topic one must be given, and the KSQL goes to stdout."""
    group = parser.add_argument_group("sending")
    group.add_argument("--topic", required=topic is None, default=topic, help="where to")
    group.add_argument(
        "--format",
        type=str.upper,
        choices=get_args(Format),
        default="DELIMITED",
        help="of the values",
    )
    group.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="of a topic that does not exist yet (default: 2)",
    )
    group.add_argument("--rate", type=float, metavar="R", help="records a second, evenly")
    group.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for a broker that is not there yet, as in a start-up script",
    )
    group.add_argument(
        "--sql",
        metavar="OUT.sql",
        default="-" if topic is None else None,
        help="write the matching KSQL statements there, - for stdout",
    )
    group.add_argument("--dry-run", action="store_true", help="check and write KSQL, send nothing")
    command.add_services(parser)


def _rows(text: str) -> int | None:
    if text == "endless":
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            "BAD_ROWS", f"--rows {text!r}: give a whole number from 1, or endless"
        ) from None


def _weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(
            "BAD_WEIGHTS", f"--weights {text!r}: give numbers with commas between, as 3,-2.5,0.1"
        ) from None


def _regression(arguments: argparse.Namespace, schedule: Schedule | None) -> Feed:
    data = Regression(
        arguments.data,
        arguments.rows,
        arguments.features,
        arguments.seed,
        arguments.noise,
        arguments.weights,
        arguments.empty_share,
    )
    pipeline = statements.regression(arguments.features)
    return Feed(data.batches(), data.rows, _named(pipeline, arguments), schedule)


def _fraud(arguments: argparse.Namespace, schedule: Schedule | None) -> Feed:
    if arguments.speed is not None:
        if schedule is not None:
            raise UsageError("USAGE", "--rate and --speed exclude each other; give one of them")
        schedule = at_own_clock("TIME", arguments.speed)
    pipeline = _named(statements.fraud(), arguments)
    if arguments.file is None:
        made = Fraud(arguments.rows, arguments.seed, arguments.fraud_share, arguments.empty_share)
        return Feed(made.batches(), made.rows, pipeline, schedule)
    _only_generated(arguments)
    with progress("rows") as bar:
        task = bar.add_task(f"checking {arguments.file.name}", total=None)
        found = credit_cards(
            arguments.file,
            seed=arguments.seed,
            max_expanded=arguments.max_expanded,
            on_progress=lambda rows: bar.update(task, completed=rows),
        )
    return Feed(found.batches(), found.rows, pipeline, schedule)


def _only_generated(arguments: argparse.Namespace) -> None:
    """A flag that would change nothing is a mistake that somebody should hear of."""
    usual = {"rows": KAGGLE_ROWS, "fraud_share": FRAUD_SHARE, "empty_share": EMPTY_CLASSES}
    for name, value in usual.items():
        if getattr(arguments, name) != value:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError("USAGE", f"{flag} is for generated payments; with --from leave it out")


def _csv(arguments: argparse.Namespace, schedule: Schedule | None) -> Feed:
    with progress("rows") as bar:
        task = bar.add_task(f"checking {arguments.file.name}", total=None)
        file = scan(
            arguments.file,
            delimiter={"tab": "\t", "\\t": "\t"}.get(arguments.delimiter, arguments.delimiter),
            max_expanded=arguments.max_expanded,
            on_progress=lambda rows: bar.update(task, completed=rows),
        )
    pipeline = statements.Pipeline(
        title=f"{arguments.file.name}: {file.rows:,} rows, {len(file.header)} columns.",
        schema=file.schema,
        source_topic=arguments.topic,
        training_topic=statements.training_topic(arguments.topic),
        target=file.column(arguments.target) if arguments.target else None,
        masks={_maskable(file, name): "MASK({})" for name in arguments.mask},
        source_stream=statements.stream_name(arguments.stream) if arguments.stream else "",
    )
    _tell_next(arguments, pipeline)
    return Feed(file.batches(), file.rows, _named(pipeline, arguments), schedule)


def _maskable(file: CsvFile, name: str) -> str:
    column = file.column(name)
    if file.schema.field(column).type != pa.string():
        raise DataError(
            "MASK_NOT_TEXT",
            f"column {name!r} holds no text, and only text can be masked; leave it out",
        )
    return column


def _tell_next(arguments: argparse.Namespace, pipeline: statements.Pipeline) -> None:
    if pipeline.target is None:
        _tell("no --target: rows are not filtered, and a trainer must be told what to learn")
        return
    sql = arguments.sql if arguments.sql != "-" else "FILE.sql"
    _tell(
        f"then: gradstream sql {sql} && "
        f"gradstream train --source {pipeline.training_topic} --target {pipeline.target}"
    )


def _tell(line: str) -> None:
    """One line on stderr, whatever the terminal's width, since it may hold a command to copy."""
    notes.print(line, soft_wrap=True, markup=False)


def _named(pipeline: statements.Pipeline, arguments: argparse.Namespace) -> statements.Pipeline:
    """The pipeline with the topic, format and partitions of the flags."""
    return replace(
        statements.renamed(pipeline, arguments.topic),
        format=arguments.format,
        partitions=arguments.partitions or statements.PARTITIONS,
    )


def _write_sql(text: str, where: str) -> None:
    if where == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        Path(where).write_text(text)
    except OSError as error:
        raise UsageError(
            "NO_FILE", f"cannot write {where}: {error.strerror}; give another --sql"
        ) from None


def _send(arguments: argparse.Namespace, feed: Feed) -> Sent:
    with progress("records") as bar:
        task = bar.add_task(f"to {arguments.topic}", total=feed.rows)
        return produce(
            command.services(arguments),
            arguments.topic,
            feed.batches,
            arguments.format,
            lambda records: bar.update(task, completed=records),
            partitions=arguments.partitions,
            schedule=feed.schedule,
            wait=arguments.wait,
        )


if __name__ == "__main__":
    command.run(main)
