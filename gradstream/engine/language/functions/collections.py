"""Functions of arrays and maps, lambdas among them. Positions count from 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gradstream.engine.language.casts import plain_text
from gradstream.engine.language.functions.registry import scalar

# One row must not take all memory.
LONGEST = 1_000_000


def distinct(values: Iterable[Any]) -> list[Any]:
    """Without repetition, in the order of first appearance; values need not be hashable."""
    try:
        return list(dict.fromkeys(values))
    except TypeError:
        found: list[Any] = []
        for value in values:
            if value not in found:
                found.append(value)
        return found


@scalar("ARRAY_LENGTH", "ARRAY<T> -> INTEGER", category="ARRAY", nulls="see")
def array_length(values: list[Any] | None) -> int | None:
    """Returns the number of items."""
    return None if values is None else len(values)


@scalar("ARRAY_CONTAINS", "ARRAY<T>, T -> BOOLEAN", category="ARRAY", nulls="see")
def array_contains(values: list[Any] | None, value: Any) -> bool:
    """Is a value among the items?"""
    return values is not None and value in values


@scalar("ARRAY_CONCAT", "ARRAY<T>, ARRAY<T> -> ARRAY<T>", category="ARRAY", nulls="see")
def array_concat(left: list[Any] | None, right: list[Any] | None) -> list[Any] | None:
    """Joins two arrays; NULL only where both are."""
    if left is None and right is None:
        return None
    return (left or []) + (right or [])


@scalar("ARRAY_DISTINCT", "ARRAY<T> -> ARRAY<T>", category="ARRAY")
def array_distinct(values: list[Any]) -> list[Any]:
    """Returns each item once."""
    return distinct(values)


@scalar("ARRAY_EXCEPT", "ARRAY<T>, ARRAY<T> -> ARRAY<T>", category="ARRAY", nulls="see")
def array_except(left: list[Any] | None, right: list[Any] | None) -> list[Any] | None:
    """Returns the items of the first array that are not in the second."""
    if left is None or right is None:
        return None
    return [value for value in distinct(left) if value not in right]


@scalar("ARRAY_INTERSECT", "ARRAY<T>, ARRAY<T> -> ARRAY<T>", category="ARRAY")
def array_intersect(left: list[Any], right: list[Any]) -> list[Any]:
    """Returns the items that are in both arrays."""
    return [value for value in distinct(left) if value in right]


@scalar("ARRAY_UNION", "ARRAY<T>, ARRAY<T> -> ARRAY<T>", category="ARRAY")
def array_union(left: list[Any], right: list[Any]) -> list[Any]:
    """Returns the items of either array, each once."""
    return distinct(left + right)


@scalar(
    "ARRAY_JOIN", "ARRAY<T> -> STRING", "ARRAY<T>, STRING -> STRING", category="ARRAY", nulls="see"
)
def array_join(values: list[Any] | None, delimiter: str | None = ",") -> str | None:
    """Writes the items one after another with a delimiter between them."""
    if values is None:
        return None
    return (delimiter or "").join(map(plain_text, values))


@scalar("ARRAY_MAX", "ARRAY<T> -> T", category="ARRAY")
def array_max(values: list[Any]) -> Any:
    """Returns the greatest item."""
    return max((value for value in values if value is not None), default=None)


@scalar("ARRAY_MIN", "ARRAY<T> -> T", category="ARRAY")
def array_min(values: list[Any]) -> Any:
    """Returns the least item."""
    return min((value for value in values if value is not None), default=None)


@scalar("ARRAY_REMOVE", "ARRAY<T>, T -> ARRAY<T>", category="ARRAY", nulls="see")
def array_remove(values: list[Any] | None, value: Any) -> list[Any] | None:
    """Returns the items without those equal to a value."""
    return None if values is None else [item for item in values if item != value]


@scalar("ARRAY_SORT", "ARRAY<T> -> ARRAY<T>", "ARRAY<T>, STRING -> ARRAY<T>", category="ARRAY")
def array_sort(values: list[Any], direction: str = "ASC") -> list[Any] | None:
    """Returns the items in order, NULLs last; DESC for descending."""
    word = direction.upper().strip()
    if not word.startswith(("ASC", "DESC")):
        return None
    present = sorted((v for v in values if v is not None), reverse=word.startswith("DESC"))
    return present + [None] * (len(values) - len(present))


@scalar("SLICE", "ARRAY<T>, INTEGER, INTEGER -> ARRAY<T>", category="ARRAY", nulls="see")
def slice_(values: list[Any] | None, start: int | None, end: int | None) -> list[Any] | None:
    """Returns the items from one position to another, both included."""
    if values is None:
        return None
    first = 0 if start is None else start - 1
    last = len(values) if end is None else end
    if first < 0 or last > len(values) or first > last:
        return None
    return values[first:last]


@scalar(
    "GENERATE_SERIES",
    "INTEGER!, INTEGER! -> ARRAY<INTEGER>",
    "INTEGER!, INTEGER!, INTEGER! -> ARRAY<INTEGER>",
    category="ARRAY",
)
@scalar(
    "GENERATE_SERIES",
    "BIGINT!, BIGINT! -> ARRAY<BIGINT>",
    "BIGINT!, BIGINT!, INTEGER! -> ARRAY<BIGINT>",
    category="ARRAY",
)
def generate_series(start: int, end: int, step: int | None = None) -> list[int]:
    """Returns the numbers from one to another, both included, by a step."""
    if step is None:
        step = 1 if end >= start else -1
    if step == 0:
        raise ValueError("GENERATE_SERIES step cannot be zero")
    if (end > start and step < 0) or (end < start and step > 0):
        raise ValueError("GENERATE_SERIES step has wrong sign")
    if abs(end - start) // abs(step) >= LONGEST:
        raise ValueError(f"GENERATE_SERIES makes at most {LONGEST} items")
    return list(range(start, end + (1 if step > 0 else -1), step))


# Maps


def java_order(entries: dict[Any, Any]) -> list[Any]:
    """The keys in the order of a java.util.HashMap made for them, which is the order that ksqlDB's functions see."""
    size = len(entries)
    buckets = 1
    while buckets < size or size > 0.75 * buckets:
        buckets *= 2
    return sorted(entries, key=lambda key: _java_hash(key) & (buckets - 1))


def _java_hash(key: Any) -> int:
    found = 0
    if isinstance(key, str):
        for unit in memoryview(key.encode("utf-16-le", "surrogatepass")).cast("H"):
            found = (31 * found + unit) & 0xFFFFFFFF
    elif isinstance(key, int):
        found = (key ^ (key >> 32)) & 0xFFFFFFFF
    return found ^ (found >> 16)


@scalar("AS_MAP", "ARRAY<STRING>, ARRAY<T> -> MAP<STRING, T>", category="MAP")
def as_map(keys: list[str], values: list[Any]) -> dict[str, Any]:
    """Makes a map of an array of keys and one of values; what is left over is dropped."""
    return dict(zip(keys, values, strict=False))


@scalar("MAP_KEYS", "MAP<STRING, T> -> ARRAY<STRING>", category="MAP")
def map_keys(entries: dict[str, Any]) -> list[str]:
    """Returns the keys of a map."""
    return java_order(entries)


@scalar("MAP_VALUES", "MAP<STRING, T> -> ARRAY<T>", category="MAP")
def map_values(entries: dict[str, Any]) -> list[Any]:
    """Returns the values of a map."""
    return [entries[key] for key in java_order(entries)]


@scalar(
    "MAP_UNION", "MAP<STRING, T>, MAP<STRING, T> -> MAP<STRING, T>", category="MAP", nulls="see"
)
def map_union(left: dict[str, Any] | None, right: dict[str, Any] | None) -> dict[str, Any] | None:
    """Merges two maps, the second one wins; NULL only where both are."""
    if left is None and right is None:
        return None
    return {**(left or {}), **(right or {})}


_KINDS = ("INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "STRING")


@scalar(
    "ENTRIES",
    *(f"MAP<STRING, {kind}>, BOOLEAN! -> ARRAY<STRUCT<K STRING, V {kind}>>" for kind in _KINDS),
    category="MAP",
)
def entries(of: dict[str, Any], ordered: bool) -> list[dict[str, Any]]:
    """Returns a map's entries as structs of K and V, in the order of the keys if asked."""
    keys = sorted(of) if ordered else java_order(of)
    return [{"K": key, "V": of[key]} for key in keys]


@scalar("SPLIT_TO_MAP", "STRING, STRING, STRING -> MAP<STRING, STRING>", category="MAP")
def split_to_map(text: str, between_entries: str, between: str) -> dict[str, str] | None:
    """Reads a text such as a:1,b:2 as a map, with two delimiters."""
    if not between_entries or not between:
        return None
    found: dict[str, str] = {}
    for part in text.split(between_entries):
        key, separator, value = part.partition(between)
        if part and separator:
            found[key] = value.split(between)[0]
    return found


# Lambdas


@scalar("TRANSFORM", "ARRAY<T>, (T)=>U -> ARRAY<U>", category="LAMBDA")
def transform_array(values: list[Any], function: Callable[[Any], Any]) -> list[Any]:
    """Applies a lambda to each item of an array, or two to the keys and values of a map."""
    return [function(value) for value in values]


@scalar("TRANSFORM", "MAP<K, V>, (K, V)=>A, (K, V)=>B -> MAP<A, B>", category="LAMBDA")
def transform_map(
    of: dict[Any, Any], key: Callable[[Any, Any], Any], value: Callable[[Any, Any], Any]
) -> dict[Any, Any]:
    """Applies a lambda to each key of a map and one to each value."""
    found: dict[Any, Any] = {}
    for k, v in of.items():
        new = key(k, v)
        if new in found:
            raise ValueError(f"Duplicate key {plain_text(new)}")
        found[new] = value(k, v)
    return found


@scalar("FILTER", "ARRAY<T>, (T)=>BOOLEAN -> ARRAY<T>", category="LAMBDA")
def filter_array(values: list[Any], test: Callable[[Any], bool | None]) -> list[Any]:
    """Keeps the items, or the entries of a map, for which a lambda is true."""
    return [value for value in values if _truth(test(value))]


@scalar("FILTER", "MAP<K, V>, (K, V)=>BOOLEAN -> MAP<K, V>", category="LAMBDA")
def filter_map(of: dict[Any, Any], test: Callable[[Any, Any], bool | None]) -> dict[Any, Any]:
    """Keeps the entries for which a lambda is true."""
    return {key: value for key, value in of.items() if _truth(test(key, value))}


def _truth(value: bool | None) -> bool:
    if value is None:
        raise ValueError("a NULL condition")
    return value


@scalar("REDUCE", "ARRAY<T>, S, (S, T)=>S -> S", category="LAMBDA", nulls="see")
def reduce_array(values: list[Any] | None, state: Any, step: Callable[[Any, Any], Any]) -> Any:
    """Folds an array, or the entries of a map, into one value by a lambda."""
    if state is None or values is None:
        return state
    for value in values:
        state = step(state, value)
    return state


@scalar("REDUCE", "MAP<K, V>, S, (S, K, V)=>S -> S", category="LAMBDA", nulls="see")
def reduce_map(of: dict[Any, Any] | None, state: Any, step: Callable[[Any, Any, Any], Any]) -> Any:
    """Folds the entries of a map into one value by a lambda."""
    if state is None or of is None:
        return state
    for key in java_order(of):
        state = step(state, key, of[key])
    return state
