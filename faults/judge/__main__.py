"""``python -m faults.judge``: a table of what was counted, then the faults. Exit 0: all is accounted for; 1: it is not."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from faults.judge import Sql, Verdict, verdict


def main(argv: list[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    sql = None
    if given.source_of:
        sql = Sql(
            given.source_of,
            given.source_columns,
            given.identity,
            given.filtered_by,
            tuple(filter(None, given.sensitive.split(","))),
            given.processing_log,
        )
    found = verdict(
        given.bootstrap_servers,
        given.registry,
        given.run,
        given.weights_topic,
        given.dead_letters_topic,
        sql=sql,
        recompute=not given.without_weights,
    )
    sys.stdout.write(json.dumps(asdict(found)) + "\n" if given.json else told(given.run, found))
    return 1 if found.faults else 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m faults.judge", description=__doc__)
    made.add_argument("--bootstrap-servers", required=True, metavar="A")
    made.add_argument("--registry", required=True, metavar="URL")
    made.add_argument("--run", required=True, metavar="RUN")
    made.add_argument("--weights-topic", default="gradstream_weights", metavar="T")
    made.add_argument("--dead-letters-topic", default="gradstream_dead_letters", metavar="T")
    made.add_argument("--without-weights", action="store_true", help="do not learn them again")
    made.add_argument("--json", action="store_true")
    path = made.add_argument_group("the statement before the training topic")
    path.add_argument("--source-of", default="", metavar="TOPIC", help="the topic that it reads")
    path.add_argument(
        "--source-columns",
        default="ID BIGINT, SENSOR VARCHAR, X1 DOUBLE, Y DOUBLE",
        metavar="'NAME TYPE, …'",
    )
    path.add_argument("--identity", default="ID", metavar="NAME", help="tells rows apart")
    path.add_argument("--filtered-by", default="Y", metavar="NAME", help="rows without it go")
    path.add_argument("--sensitive", default="SENSOR", metavar="NAME,NAME")
    path.add_argument("--processing-log", default="default_ksql_processing_log", metavar="T")
    return made


def told(run: str, found: Verdict) -> str:
    """For people."""
    width = max(map(len, found.counted), default=0)
    lines = [f"run {run}"]
    lines += [f"  {what:<{width}} {count:>12,}" for what, count in found.counted.items()]
    lines += [f"not judged: {what}" for what in found.unjudged]
    lines += found.faults or ["all is accounted for"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
