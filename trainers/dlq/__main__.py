"""``gradstream dlq``: what could not be used, why, and how it is sent again after a fix."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from gradstream import command
from gradstream.config import Services
from gradstream.console import notes, progress, results
from gradstream.errors import DataError, UsageError
from gradstream.wire.registry import Registry
from trainers.dlq import inspection, overview
from trainers.dlq.ledger import Ledger
from trainers.dlq.letters import DEAD_LETTERS, Choice, Place, chosen, origin, read
from trainers.dlq.replay import Report, replay

ABOUT = """Records that trainers could not use, and their way back. docs/dead-letters.md
goes from finding one to mending and sending it again.

  gradstream dlq list
  gradstream dlq show readings/0/17
  gradstream dlq replay --code UNKNOWN_SCHEMA_ID"""
LIST = """Show the dead letters, grouped by code, topic and who found them; --each shows
every one. "sent again" counts those that a replay has sent, "came back" those
about a record that a replay had sent and that was refused again."""
SHOW = """Show all about one dead letter, found by the place of its record or by its own:
why it was refused, whether the record is still there, and its fields with the
faulty one marked. Values may be private, so --values must ask for them."""
REPLAY = """Send the records of dead letters again, after a fix: in the order in which they
were, with their key, value, time and headers, and headers that name where they
come from. A record is sent once to a topic, however often the command is given,
killed or started twice."""
UNSENT_SHOWN = 10  # names of what could not be sent
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def main(argv: list[str]) -> int:
    given = _parser().parse_args(argv)
    return {"list": list_them, "show": show, "replay": send_again}[given.word](given)


def _parser() -> command.Parser:
    made = command.parser("dlq", ABOUT)
    words = made.add_subparsers(dest="word", metavar="list | show | replay", required=True)
    for word, about in (("list", LIST), ("show", SHOW), ("replay", REPLAY)):
        below = words.add_parser(
            word, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        {"list": _list_flags, "show": _show_flags, "replay": _replay_flags}[word](below)
        below.add_argument(
            "--dead-letters-topic",
            default=DEAD_LETTERS,
            metavar="TOPIC",
            help="where they are (default: %(default)s)",
        )
        below.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.add_services(below)
    return made


def _list_flags(to: argparse.ArgumentParser) -> None:
    _filters(to)
    to.add_argument("--each", action="store_true", help="every letter, the newest last")
    to.add_argument(
        "--limit", default="20", metavar="N", help="how many groups or letters (default: 20)"
    )
    to.add_argument("--json", action="store_true", help="one JSON object a line")


def _show_flags(to: argparse.ArgumentParser) -> None:
    to.add_argument("place", metavar="TOPIC/PARTITION/OFFSET", help="of the record or its letter")
    to.add_argument(
        "--values", action="store_true", help="also what the record holds, as fields and bytes"
    )
    to.add_argument("--json", action="store_true", help="one JSON object a line")


def _replay_flags(to: argparse.ArgumentParser) -> None:
    _filters(to)
    to.add_argument("--to", metavar="TOPIC", help="send there (default: where each record was)")
    to.add_argument("--limit", metavar="N", help="of at most so many letters, the oldest")
    to.add_argument("--dry-run", action="store_true", help="only say what would be sent")


def _filters(to: argparse.ArgumentParser) -> None:
    group = to.add_argument_group("which (default: all)")
    group.add_argument("--code", metavar="CODE", help="refused with this code")
    group.add_argument("--topic", metavar="TOPIC", help="whose record was in this topic")
    finder = group.add_mutually_exclusive_group()
    finder.add_argument("--run", metavar="ID", help="found by the trainer of this run")
    finder.add_argument("--found-by", metavar="WHO", help="found by, as the list shows it")
    group.add_argument(
        "--since",
        metavar="WHEN",
        help="written since, as 30m, 2h, 1d (ago) or 2026-01-31T12:00 (here)",
    )


def list_them(given: argparse.Namespace) -> int:
    limit = _whole(given.limit)
    choice = _choice(given)
    with _services(given) as (services, registry):
        letters = chosen(
            read(services, registry, given.dead_letters_topic), choice, given.dead_letters_topic
        )
        ledger = Ledger(services, registry, given.dead_letters_topic)
        ledger.refresh()
        ledger.close()
    marks = overview.Marks(ledger)
    count = letters.num_rows
    if not count:
        notes.print(f"no dead letters in {given.dead_letters_topic}")
    elif given.each:
        shown = letters.slice(max(0, count - limit))
        if given.json:
            _write(overview.letter_json(shown, marks, given.dead_letters_topic))
        else:
            results.print(overview.letter_lines(shown, marks, results.width))
        _more(count - shown.num_rows, "older letters; --limit shows more")
    else:
        groups = overview.groups(letters, marks)
        if given.json:
            _write(group.as_json() for group in groups[:limit])
        else:
            results.print(overview.group_lines(groups[:limit], results.width))
        _more(len(groups) - limit, "groups of fewer letters; --limit shows more")
    return 0


def show(given: argparse.Namespace) -> int:
    place = Place.read(given.place)
    with _services(given) as (services, registry):
        found = inspection.inspect(services, registry, given.dead_letters_topic, place)
    for number, one in enumerate(found):
        if given.json:
            _write([json.dumps(inspection.as_json(one, given.values))])
            continue
        if number:
            results.print()
        results.print(inspection.lines(one, results.width, given.values), soft_wrap=True)
    return 0


def send_again(given: argparse.Namespace) -> int:
    limit = None if given.limit is None else _whole(given.limit)
    choice, topic = _choice(given), given.dead_letters_topic
    with _services(given) as (services, registry):
        letters = chosen(read(services, registry, topic), choice, topic).slice(0, limit)
        with progress("letters") as bar:
            task = bar.add_task("sending", total=letters.num_rows)
            report = replay(
                services,
                registry,
                letters,
                topic,
                to=given.to,
                dry_run=given.dry_run,
                watch=lambda count: bar.advance(task, count),
            )
    _tell(report, letters.num_rows, given)
    return 0


def _tell(report: Report, letters: int, given: argparse.Namespace) -> None:
    """What has been done, on stderr; what could not be, as the error that ends the command.

    Raises:
        DataError: NOT_SENT.
    """
    verb = "would be sent" if given.dry_run else "sent"
    told = [f"{count:,} records {verb} to {to}" for to, count in sorted(report.sent.items())]
    if not told:
        told = [f"nothing {'to send' if given.dry_run else 'sent'}"]
    if report.from_letter:
        told.append(
            f"{report.from_letter:,} of them out of their letters, since the records are gone"
        )
    if report.before:
        told.append(f"{report.before:,} letters whose records had been sent there before")
    for line in told if letters else [f"no dead letters in {given.dead_letters_topic}"]:
        notes.print(line, soft_wrap=True, markup=False)
    if not report.unsent:
        return
    for row, why in report.unsent[:UNSENT_SHOWN]:
        notes.print(f"not sent: {origin(row)}: {why}", soft_wrap=True, markup=False)
    _more(len(report.unsent) - UNSENT_SHOWN, "more that were not sent")
    raise DataError(
        "NOT_SENT",
        f"the records of {len(report.unsent):,} of {letters:,} dead letters cannot be had any more (see above); "
        "letters of a trainer with --keep-values would hold them",
    )


def _more(count: int, of_what: str) -> None:
    if count > 0:
        notes.print(f"and {count:,} {of_what}")


def _write(found: Iterator[str] | list[str]) -> None:
    for line in found:
        sys.stdout.write(line + "\n")


@contextmanager
def _services(given: argparse.Namespace) -> Iterator[tuple[Services, Registry]]:
    services = command.services(given)
    with closing(Registry(services.schema_registry_url)) as registry:
        yield services, registry


def _choice(given: argparse.Namespace) -> Choice:
    finder = given.found_by if given.run is None else f"trainer:{given.run}"
    since = None if given.since is None else _since(given.since)
    return Choice(given.code, given.topic, finder, since)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise UsageError("BAD_VALUE", f"--limit {text}: give a whole number from 0")
    return int(text)


def _since(text: str) -> int:
    """Milliseconds since 1970."""
    if ago := re.fullmatch(r"(\d+)([smhd])", text):
        return int((time.time() - int(ago[1]) * UNITS[ago[2]]) * 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "BAD_VALUE",
            f"--since {text}: give a time ago, as 90s, 30m, 2h or 1d, or a date, as 2026-01-31T12:00",
        ) from None
    return int((at if at.tzinfo else at.astimezone()).astimezone(UTC).timestamp() * 1000)


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
