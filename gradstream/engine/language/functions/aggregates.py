"""KSQL's aggregate functions: what is kept for a group, how a row changes it, and what of it is shown.

What is kept is a value that nothing changes in place, so that an open transaction can be dropped by forgetting the new
one. A function that can also undo a row may be applied to a table, whose rows change.
"""

from __future__ import annotations

import decimal
import math
import threading
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from gradstream.engine.language.casts import fit_decimal, is_numeric, wrap
from gradstream.engine.language.functions import running
from gradstream.engine.language.functions.registry import NoOverload
from gradstream.engine.language.functions.running import Running
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    SqlType,
    Struct,
)

State: TypeAlias = Any
MOST_KEYS = 1000  # different values that a histogram counts


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate function for arguments of known types.

    Attributes:
        empty: what is kept before the first row.
        add: (kept, *values of a row) -> kept.
        result: kept -> what is shown.
        merge: (kept of an earlier, kept of a later window) -> kept of both.
        undo: the reverse of ``add``, None where there is none.
        plain: whether ksqlDB keeps it as one plain value, which any format can hold.
        newest: of what is kept, the largest number of a row (see number_after), -1 for none; None where rows have none.
        running: the same as ``add`` and ``result`` of many rows at once, None where there is no such function.
        constants: how many of the call's arguments, the last ones, are constants that went into the function.
    """

    returns: SqlType
    empty: State
    add: Callable[..., State]
    result: Callable[[State], Any]
    merge: Callable[[State, State], State]
    undo: Callable[..., State] | None = None
    plain: bool = True
    newest: Callable[[State], int] | None = None
    running: Running | None = None
    constants: int = 0


Binder: TypeAlias = Callable[[list[SqlType], list[Any]], "Aggregate | None"]


def same(kept: State) -> Any:
    return kept


def _count(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if len(types) > 1:
        return None

    def add(kept: int, value: Any = 0) -> int:
        return kept if value is None else kept + 1

    def undo(kept: int, value: Any = 0) -> int:
        return kept if value is None else kept - 1

    return Aggregate(BIGINT, 0, add, same, lambda a, b: a + b, undo, running=running.count)


def _adder(type_: SqlType) -> Callable[[Any, Any], Any] | None:
    """The sum of two values as Java makes it: whole numbers wrap, a DECIMAL that does not fit is an error."""
    if type_ in (INTEGER, BIGINT):
        bits = 32 if type_ == INTEGER else 64
        return lambda a, b: wrap(a + b, bits)
    if isinstance(type_, Decimal):
        return lambda a, b: fit_decimal(a + b, type_)
    if type_ == DOUBLE:
        return lambda a, b: a + b
    return None


def _sum(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if len(types) != 1 or (plus := _adder(types[0])) is None:
        return None

    def add(kept: Any, value: Any) -> Any:
        return kept if value is None else plus(kept, value)

    def undo(kept: Any, value: Any) -> Any:
        return kept if value is None else plus(kept, -value)

    total = running.total(types[0])
    return Aggregate(types[0], _zero(types[0]), add, same, plus, undo, running=total)


def _zero(type_: SqlType) -> Any:
    if type_ == DOUBLE:
        return 0.0
    return fit_decimal(decimal.Decimal(0), type_) if isinstance(type_, Decimal) else 0


def _sum_list(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if len(types) != 1 or not isinstance(types[0], Array):
        return None
    item = types[0].item
    if item not in (INTEGER, BIGINT, DOUBLE) or (plus := _adder(item)) is None:
        return None

    def total(values: list[Any] | None) -> Any:
        found = _zero(item)
        for value in values or ():
            if value is not None:
                found = plus(found, value)
        return found

    return Aggregate(
        item,
        _zero(item),
        lambda kept, values: plus(kept, total(values)),
        same,
        plus,
        lambda kept, values: plus(kept, -total(values)),
    )


def _average(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if len(types) != 1 or not is_numeric(types[0]):
        return None
    type_ = types[0] if types[0] in (INTEGER, BIGINT) else DOUBLE
    plus = _adder(type_)
    assert plus is not None

    def number(value: Any) -> Any:
        return float(value) if type_ == DOUBLE else value

    def add(kept: tuple[Any, int], value: Any) -> tuple[Any, int]:
        return kept if value is None else (plus(kept[0], number(value)), kept[1] + 1)

    def undo(kept: tuple[Any, int], value: Any) -> tuple[Any, int]:
        return kept if value is None else (plus(kept[0], -number(value)), kept[1] - 1)

    return Aggregate(
        DOUBLE,
        (_zero(type_), 0),
        add,
        lambda kept: kept[0] / kept[1] if kept[1] else 0.0,
        lambda a, b: (plus(a[0], b[0]), a[1] + b[1]),
        undo,
        plain=False,
        running=running.average(types[0]),
    )


_ORDERED = (INTEGER, BIGINT, DOUBLE, DATE, TIME, TIMESTAMP, STRING, BYTES)


def _extreme(better: Callable[[Any, Any], Any]) -> Binder:
    def bind(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
        if len(types) != 1 or not (types[0] in _ORDERED or isinstance(types[0], Decimal)):
            return None

        def add(kept: Any, value: Any) -> Any:
            if value is None:
                return kept
            return value if kept is None else better(kept, value)

        step = running.greatest if better is max else running.least
        at_once = running.extreme(step, types[0])
        return Aggregate(types[0], None, add, same, add, running=at_once)

    return bind


def _collect_list(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if len(types) != 1:
        return None

    def undo(kept: list[Any], value: Any) -> list[Any]:
        for at in range(len(kept) - 1, -1, -1):
            if kept[at] == value:
                return kept[:at] + kept[at + 1 :]
        return kept

    return Aggregate(
        Array(types[0]),
        [],
        lambda kept, value: [*kept, value],
        same,
        lambda a, b: a + b,
        undo,
        plain=False,
    )


def _collect_set(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if len(types) != 1:
        return None

    def add(kept: list[Any], value: Any) -> list[Any]:
        return kept if value in kept else [*kept, value]

    def merge(a: list[Any], b: list[Any]) -> list[Any]:
        for value in b:
            a = add(a, value)
        return a

    return Aggregate(Array(types[0]), [], add, same, merge, plain=False)


def _count_distinct(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    """Exact, where ksqlDB estimates beyond some hundreds."""
    if len(types) != 1:
        return None

    def add(kept: frozenset[Any], value: Any) -> frozenset[Any]:
        return kept if value is None else kept | {frozen(value)}

    return Aggregate(BIGINT, frozenset(), add, len, lambda a, b: a | b, plain=False)


def frozen(value: Any) -> Any:
    """A value as one that can be looked up: lists and dictionaries become tuples, and there is one NaN and one zero."""
    if isinstance(value, float):
        return math.nan if math.isnan(value) else value + 0.0
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    if isinstance(value, dict):
        return tuple((name, frozen(of)) for name, of in value.items())
    return value


def thawed(value: Any, type_: SqlType) -> Any:
    """The reverse, for a value of this type, which has no map in it."""
    if value is None or not isinstance(type_, Array | Struct):
        return value
    if isinstance(type_, Array):
        return [thawed(of, type_.item) for of in value]
    types = dict(type_.fields)
    return {name: thawed(of, types[name]) for name, of in value}


def _histogram(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    if types != [STRING]:
        return None

    def change(kept: dict[str, int], value: str | None, by: int) -> dict[str, int]:
        if value is None or (value not in kept and len(kept) >= MOST_KEYS):
            return kept
        count = kept.get(value, 0) + by
        if count <= 0:
            return {name: of for name, of in kept.items() if name != value}
        return {**kept, value: count}

    def merge(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
        for value, count in b.items():
            a = change(a, value, count)
        return a

    return Aggregate(
        Map(STRING, BIGINT),
        {},
        lambda kept, value: change(kept, value, 1),
        same,
        merge,
        lambda kept, value: change(kept, value, -1),
        plain=False,
    )


def _attr(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    """The value that all rows have, NULL where they differ; kept are the values with their counts."""
    if len(types) != 1:
        return None
    Counts = list[tuple[Any, int]]

    def change(kept: Counts, value: Any, by: int) -> Counts:
        for at, (known, count) in enumerate(kept):
            if known == value:
                changed = [(known, count + by)] if count + by > 0 else []
                return kept[:at] + changed + kept[at + 1 :]
        return [*kept, (value, by)] if by > 0 else kept

    def merge(a: Counts, b: Counts) -> Counts:
        for value, count in b:
            a = change(a, value, count)
        return a

    return Aggregate(
        types[0],
        [],
        lambda kept, value: change(kept, value, 1),
        lambda kept: kept[0][0] if len(kept) == 1 else None,
        merge,
        lambda kept, value: change(kept, value, -1),
        plain=False,
    )


class _Numbers:
    """Numbers rows as they come, for windows that are merged; shared by all queries."""

    def __init__(self) -> None:
        self._last = -1
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._last += 1
            return self._last

    def after(self, number: int) -> None:
        with self._lock:
            self._last = max(self._last, number)


_numbers = _Numbers()


def number_after(number: int) -> None:
    """Rows to come are numbered above this: one that was given before a restart."""
    _numbers.after(number)


def _by_offset(latest: bool) -> Binder:
    """EARLIEST_BY_OFFSET and LATEST_BY_OFFSET(x [, n] [, ignore nulls]); kept are (number, value) in order."""

    def bind(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
        rest = types[1:]
        if not types or rest not in ([], [BOOLEAN], [INTEGER], [INTEGER, BOOLEAN]):
            return None
        several = INTEGER in rest
        most = constants[0] if several else 1
        ignore = constants[-1] if BOOLEAN in rest else True
        if several and (most is None or most < 1):
            name = "LATEST" if latest else "EARLIEST"
            raise NoOverload(f"{name.lower()}N must be 1 or greater")

        def cut(kept: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
            return kept[-most:] if latest else kept[:most]

        def add(kept: list[tuple[int, Any]], value: Any) -> list[tuple[int, Any]]:
            if (value is None and ignore) or (not latest and len(kept) >= most):
                return kept
            return cut([*kept, (_numbers.next(), value)])

        def result(kept: list[tuple[int, Any]]) -> Any:
            values = [value for _, value in kept]
            return values if several else (values[0] if values else None)

        return Aggregate(
            Array(types[0]) if several else types[0],
            [],
            add,
            result,
            lambda a, b: cut(sorted([*a, *b], key=lambda pair: pair[0])),
            plain=False,
            newest=lambda kept: max((number for number, _ in kept), default=-1),
            constants=len(rest),
        )

    return bind


def _deviation(root: bool) -> Binder:
    """Spread of a sample; STDDEV_SAMP is, as in ksqlDB, its variance.

    Kept are (count, sum, sum of squared distances), updated one row at a time (Youngs and Cramer, 1971).
    """

    def bind(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
        if len(types) != 1 or not is_numeric(types[0]):
            return None
        whole = types[0] in (INTEGER, BIGINT)
        Kept = tuple[int, Any, float]

        def number(value: Any) -> Any:
            return value if whole else float(value)

        def add(kept: Kept, value: Any) -> Kept:
            if value is None:
                return kept
            count, total, squares = kept[0] + 1, kept[1] + number(value), kept[2]
            if count > 1:
                squares += float(count * number(value) - total) ** 2 / (count * (count - 1))
            return count, total, squares

        def undo(kept: Kept, value: Any) -> Kept:
            if value is None:
                return kept
            count, total, squares = kept
            if count > 1:
                squares -= float(count * number(value) - total) ** 2 / (count * (count - 1))
            return count - 1, total - number(value), squares

        def merge(a: Kept, b: Kept) -> Kept:
            if not a[0] or not b[0]:
                return b if not a[0] else a
            squares = float(b[0] / a[0] * a[1] - b[1]) ** 2 * a[0] / (b[0] * (a[0] + b[0]))
            return a[0] + b[0], a[1] + b[1], a[2] + b[2] + squares

        def result(kept: Kept) -> float:
            variance = kept[2] / (kept[0] - 1) if kept[0] > 1 else 0.0
            return math.sqrt(variance) if root else variance

        return Aggregate(
            DOUBLE, (0, 0 if whole else 0.0, 0.0), add, result, merge, undo, plain=False
        )

    return bind


def _correlation(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
    """Pearson's; kept are the count and the sums of x, y, x², y² and xy."""
    if len(types) != 2 or not all(map(is_numeric, types)):
        return None

    def change(sign: int) -> Callable[..., State]:
        def of(kept: State, x: Any, y: Any) -> State:
            if x is None or y is None:
                return kept
            x, y = float(x), float(y)
            row = (1, x, y, x * x, y * y, x * y)
            return tuple(a + sign * b for a, b in zip(kept, row, strict=True))

        return of

    def result(kept: State) -> float:
        n, x, y, xx, yy, xy = kept
        across, down = n * xx - x * x, n * yy - y * y
        if n < 1 or across <= 0 or down <= 0:
            return math.nan
        return float((n * xy - x * y) / (math.sqrt(across) * math.sqrt(down)))

    return Aggregate(
        DOUBLE,
        (0, 0.0, 0.0, 0.0, 0.0, 0.0),
        change(1),
        result,
        lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)),
        change(-1),
        plain=False,
    )


def _top(distinct: bool) -> Binder:
    """TOPK(x, k), largest first, or TOPK(x, other columns …, k) as structs; TOPKDISTINCT(x, k)."""

    def bind(types: list[SqlType], constants: list[Any]) -> Aggregate | None:
        if len(types) < 2 or types[-1] != INTEGER or (distinct and len(types) > 2):
            return None
        first, others = types[0], types[1:-1]
        if not (first in _ORDERED or isinstance(first, Decimal)):
            return None
        most = constants[-1]
        item: SqlType = first
        if others:
            members = [("sort_col", first), *((f"col{n}", of) for n, of in enumerate(others))]
            item = Struct(tuple(members))

        def key(row: tuple[Any, ...]) -> Any:
            return _descending(row[0])

        def add(kept: list[tuple[Any, ...]], *row: Any) -> list[tuple[Any, ...]]:
            if row[0] is None or (distinct and row in kept):
                return kept
            made = list(kept)
            insort(made, row, key=key)  # after its equals
            return made[:most]

        def merge(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
            for row in b:
                a = add(a, *row)
            return a

        def result(kept: list[tuple[Any, ...]]) -> list[Any]:
            if not others:
                return [row[0] for row in kept]
            names = [name for name, _ in members]
            return [dict(zip(names, row, strict=True)) for row in kept]

        return Aggregate(Array(item), [], add, result, merge, plain=False, constants=1)

    return bind


class _descending:  # noqa: N801  a key, not a thing
    """Sorts any ordered values from the largest down."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _descending) -> bool:
        return bool(other.value < self.value)


_BINDERS: dict[str, Binder] = {
    "ATTR": _attr,
    "AVG": _average,
    "COLLECT_LIST": _collect_list,
    "COLLECT_SET": _collect_set,
    "CORRELATION": _correlation,
    "COUNT": _count,
    "COUNT_DISTINCT": _count_distinct,
    "EARLIEST_BY_OFFSET": _by_offset(latest=False),
    "HISTOGRAM": _histogram,
    "LATEST_BY_OFFSET": _by_offset(latest=True),
    "MAX": _extreme(max),
    "MIN": _extreme(min),
    "STDDEV_SAMP": _deviation(root=False),
    "STDDEV_SAMPLE": _deviation(root=True),
    "SUM": _sum,
    "SUM_LIST": _sum_list,
    "TOPK": _top(distinct=False),
    "TOPKDISTINCT": _top(distinct=True),
}
NAMES = tuple(_BINDERS)
# How many of the last arguments, beyond the first, must be constants.
CONSTANTS = {"EARLIEST_BY_OFFSET": 2, "LATEST_BY_OFFSET": 2, "TOPK": 1, "TOPKDISTINCT": 1}


def bind(
    name: str,
    types: Sequence[SqlType],
    constants: list[Any],
    properties: Mapping[str, object] | None = None,
) -> Aggregate:
    """The function for arguments of these types.

    Args:
        constants: values of those arguments that are constants, in order.
        properties: the server's, of which ``ksql.functions.collect_list.limit`` and its like bound a list.

    Raises:
        NoOverload: it does not take such arguments.
    """
    found = _BINDERS[name](list(types), constants)
    if found is None:
        shown = ", ".join(map(str, types))
        raise NoOverload(f"Function '{name}' does not accept parameters ({shown}).")
    limit = (properties or {}).get(f"ksql.functions.{name.lower()}.limit")
    if limit is None or int(str(limit)) < 0:
        return found
    most, add = int(str(limit)), found.add
    return replace(found, add=lambda kept, *row: kept if len(kept) >= most else add(kept, *row))
