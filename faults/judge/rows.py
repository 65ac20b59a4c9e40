"""What the records of a training topic are worth: numbers to learn from, or a reason why not."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

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
    lengths = _lengths(wanted)
    for message in messages:
        lane = found[message.partition]
        lane.offsets.append(message.offset)
        try:
            number, fields = reader.read(message.value)
            for name, length in lengths.items():
                _check_length(fields, name, length)
            x = tuple(_number(reader, number, fields, name, dtype) for name in wanted)
            y = _number(reader, number, fields, target, dtype) if target else 0.0
            if labelled and target and y not in (0.0, 1.0):
                raise Bad(f"{target} is neither 0 nor 1")
        except Bad as reason:
            lane.bad[message.offset] = str(reason)
            continue
        lane.good.append(message.offset)
        lane.xs.append(x)
        lane.ys.append(y)
    return found


def _lengths(wanted: Sequence[str]) -> dict[str, int]:
    """How many numbers an array must have, by name: as many as are wanted of it."""
    found: dict[str, int] = {}
    for item in filter(None, map(ITEM.fullmatch, wanted)):
        found[item[1]] = max(found.get(item[1], 0), int(item[2]) + 1)
    return found


def _check_length(fields: Any, name: str, length: int) -> None:
    value = _found(fields, name)
    if isinstance(value, list) and len(value) != length:
        raise Bad(f"{name} has {len(value)} numbers, not {length}")


def _number(reader: Reader, schema: int, fields: Any, name: str, dtype: str) -> float:
    item = ITEM.fullmatch(name)
    value = _found(fields, item[1] if item else name)
    if value is ABSENT:
        value = _default(reader, item[1] if item else name)
    if item:
        value = value[int(item[2])] if isinstance(value, list) else value
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        if not NUMBER.fullmatch(value):
            raise Bad(f"{name} is text and no number")
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Bad(f"{name} is {'null' if value is None else type(value).__name__}")
    number = float(value)
    if not math.isfinite(number) or abs(number) > LARGEST[dtype]:
        raise Bad(f"{name} is {number}")
    return number


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
