"""What the records of a training topic are worth: numbers to learn from, or a reason why not."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from faults.judge.avro import Bad, Reader
from faults.judge.topics import Message

# Beyond these, sums of squares overflow, and such a record is a dead letter.
LARGEST = {"float64": 1e150, "float32": 1e15}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
ITEM = re.compile(r"(.+)\[([0-9]+)\]")
ABSENT = object()


@dataclass
class Lane:
    """One partition of the topic as it is visible, in the order of offsets.

    Attributes:
        offsets: of all records.
        bad: why, by offset.
        good: offsets of the others. xs, ys: what they hold, one after another as in ``good``.
    """

    offsets: list[int] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    good: list[int] = field(default_factory=list)
    xs: list[tuple[float, ...]] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)

    def visible(self, start: int, end: int) -> list[int]:
        """Offsets of the records in a range."""
        return self.offsets[bisect_left(self.offsets, start) : bisect_left(self.offsets, end)]

    def before(self, offset: int) -> int:
        """How many good records come before an offset."""
        return bisect_left(self.good, offset)


def lanes(
    messages: Iterable[Message],
    partitions: Sequence[int],
    reader: Reader,
    wanted: Sequence[str],
    target: str,
    *,
    labelled: bool,
    dtype: str,
) -> dict[int, Lane]:
    """The topic by partition.

    Args:
        wanted: names of the features; one of an array is NAME[3], one of a record OUTER.INNER.
        target: name of the target, empty where there is none.
        labelled: whether the target must be 0 or 1.
    """
    found = {partition: Lane() for partition in partitions}
    places = [_Place.of(name) for name in wanted]
    lengths = _lengths(places)
    aim = _Place.of(target) if target else None
    most = LARGEST[dtype]
    for message in messages:
        lane = found[message.partition]
        lane.offsets.append(message.offset)
        try:
            _, fields = reader.read(message.value)
            for name, length in lengths.items():
                _check_length(fields, name, length)
            x = tuple([_number(reader, fields, place, most) for place in places])
            y = _number(reader, fields, aim, most) if aim else 0.0
            if labelled and aim and y not in (0.0, 1.0):
                raise Bad(f"{target} is neither 0 nor 1")
        except Bad as reason:
            lane.bad[message.offset] = str(reason)
            continue
        lane.good.append(message.offset)
        lane.xs.append(x)
        lane.ys.append(y)
    return found


class _Place(NamedTuple):
    """Where a number stands: a field, and which of an array's items, None where it is no array."""

    name: str
    item: int | None

    @classmethod
    def of(cls, column: str) -> _Place:
        found = ITEM.fullmatch(column)
        return cls(found[1], int(found[2])) if found else cls(column, None)


def _lengths(places: Sequence[_Place]) -> dict[str, int]:
    """How many numbers an array must have, by name: as many as are wanted of it."""
    found: dict[str, int] = {}
    for name, item in places:
        if item is not None:
            found[name] = max(found.get(name, 0), item + 1)
    return found


def _check_length(fields: Any, name: str, length: int) -> None:
    value = _found(fields, name)
    if isinstance(value, list) and len(value) != length:
        raise Bad(f"{name} has {len(value)} numbers, not {length}")


def _number(reader: Reader, fields: Any, place: _Place, most: float) -> float:
    name, item = place
    value = fields[name] if name in fields else _found(fields, name)
    if value is ABSENT:
        value = _default(reader, name)
    if item is not None and isinstance(value, list):
        value = value[item]
    if type(value) is not float:
        value = _converted(value, name)
    if not -most <= value <= most:  # NaN neither
        raise Bad(f"{name} is {value}")
    return value


def _converted(value: Any, name: str) -> float:
    """A number that is written otherwise."""
    if isinstance(value, str):
        if not NUMBER.fullmatch(value):
            raise Bad(f"{name} is text and no number")
    elif isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Bad(f"{name} is {'null' if value is None else type(value).__name__}")
    return float(value)


def _found(fields: Any, name: str) -> Any:
    """A field by its name, or by the only one that differs from it in case alone; ABSENT, None inside of a null."""
    for part in name.split("."):
        if fields is None:
            return None
        if not isinstance(fields, dict):
            return ABSENT
        if part not in fields:
            near = [one for one in fields if one.casefold() == part.casefold()]
            if len(near) != 1:
                return ABSENT
            part = near[0]
        fields = fields[part]
    return fields


def _default(reader: Reader, name: str) -> Any:
    """What the newest schema says for records that were written without the field."""
    newest = reader.schemas[max(reader.schemas)]
    for one in newest.get("fields", ()):
        if one["name"] == name and "default" in one:
            return one["default"]
    raise Bad(f"{name} is missing")
