"""The list of dead letters: in groups of one code, topic and finder, or each by itself; as text or for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
from rich.text import Text

from trainers.dlq.ledger import Ledger
from trainers.dlq.letters import Row, origin, own_place
from trainers.weights import cut


@dataclass(slots=True)
class Group:
    """Letters of one code, topic and finder.

    Attributes:
        letters: how many.
        sent_again: of them, those whose record a replay has sent to some topic.
        came_back: of them, those about a record that a replay had sent: it was refused again.
        first, last: when the first and the last of them were written, in milliseconds since 1970.
        example: place of the newest one's record, to be shown.
        reason: of that one.
    """

    code: str
    topic: str
    found_by: str
    first: int
    letters: int = 0
    sent_again: int = 0
    came_back: int = 0
    last: int = 0
    example: str = ""
    reason: str = ""

    def take(self, row: Row, marks: Marks) -> None:
        self.letters += 1
        self.sent_again += marks.sent_again(row)
        self.came_back += marks.came_back(row)
        self.first = min(self.first, row["written"])
        if row["written"] >= self.last:
            self.last, self.example, self.reason = row["written"], str(origin(row)), row["reason"]

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "first": iso(self.first), "last": iso(self.last)})


class Marks:
    """What the ledger says about letters."""

    def __init__(self, ledger: Ledger) -> None:
        self._sent = {(sent.origin, sent.sha256) for sent in ledger.entries}
        self._arrived: dict[tuple[str, str | None], int] = {}
        for sent, time in ledger.entries.items():
            key = sent.to, sent.sha256
            self._arrived[key] = min(time, self._arrived.get(key, time))

    def sent_again(self, row: Row) -> bool:
        return (origin(row), row["sha256"]) in self._sent

    def came_back(self, row: Row) -> bool:
        """Whether the record is one that a replay had sent: known by its topic, its hash and its time."""
        arrived = self._arrived.get((row["topic"], row["sha256"]))
        return arrived is not None and row["sha256"] is not None and row["written"] >= arrived


def groups(letters: pa.Table, marks: Marks) -> list[Group]:
    """The largest first."""
    found: dict[tuple[str, str, str], Group] = {}
    for row in _rows(letters):
        key = row["code"], row["topic"], row["found_by"]
        if key not in found:
            found[key] = Group(*key, first=row["written"])
        found[key].take(row, marks)
    return sorted(found.values(), key=lambda group: (-group.letters, group.code, group.topic))


def _rows(letters: pa.Table) -> Iterator[Row]:
    """As dicts, without the bytes."""
    for batch in letters.drop_columns(["value", "key"]).to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def group_lines(found: Iterable[Group], width: int) -> Text:
    """Each group's figures on one line; below it an example, who found it, and why, on one or two."""
    shown = Text(no_wrap=True)
    heading = _figures("code", "letters", "sent again", "came back", "first found", "last found")
    shown.append(cut(heading, width) + "\n", "bold")
    for group in found:
        again, back = (f"{n:,}" if n else "–" for n in (group.sent_again, group.came_back))
        first, last = moment(group.first), moment(group.last)
        line = _figures(group.code, f"{group.letters:,}", again, back, first, last)
        shown.append(cut(line, width) + "\n")
        place = f"  └ {group.example} by {group.found_by}"
        if len(place) + 2 + len(group.reason) <= width:
            shown.append(f"{place}: {group.reason}\n", "dim")
        else:
            shown.append(f"{place}\n", "dim")  # a place that is cut could not be typed
            shown.append(cut(f"    {group.reason}", width) + "\n", "dim")
    shown.rstrip()
    return shown


def _figures(code: str, letters: str, again: str, back: str, first: str, last: str) -> str:
    return f"{code:<17} {letters:>8} {again:>11} {back:>10}  {first:<13} {last:<13}".rstrip()


def letter_lines(letters: pa.Table, marks: Marks, width: int) -> Text:
    """One letter a line: place of its record, code, reason."""
    rows = list(_rows(letters))
    places = [str(origin(row)) for row in rows]
    widths = [max([6, *map(len, places)]), max([4, *(len(row["code"]) for row in rows)])]
    shown = Text(no_wrap=True)
    shown.append(f"{'record':<{widths[0]}}  {'code':<{widths[1]}}  again  reason\n", "bold")
    for row, place in zip(rows, places, strict=True):
        mark = "back" if marks.came_back(row) else "sent" if marks.sent_again(row) else "–"
        line = f"{place:<{widths[0]}}  {row['code']:<{widths[1]}}  {mark:<5}  {row['reason']}"
        shown.append(cut(line, max(width, widths[0])) + "\n")
    shown.rstrip()
    return shown


def letter_json(letters: pa.Table, marks: Marks, topic: str) -> Iterator[str]:
    """All of a letter but bytes."""
    for row in _rows(letters):
        yield json.dumps(
            {
                "place": str(origin(row)),
                **{name: row[name] for name in ("code", "reason", "found_by", "schema_id")},
                "sha256": row["sha256"],
                "timestamp": iso(row["timestamp"]),
                "written": iso(row["written"]),
                "dead_letter": str(own_place(row, topic)),
                "sent_again": marks.sent_again(row),
                "came_back": marks.came_back(row),
            }
        )


def moment(milliseconds: int) -> str:
    """In the user's zone, as ``Nov 22 01:10``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%b %d %H:%M")


def iso(milliseconds: int) -> str:
    """In UTC, as ``2026-11-22T01:10:05.123Z``."""
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
