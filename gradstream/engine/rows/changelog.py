"""What a query keeps, as records of compacted topics, and back.

A store's change is a record: its key says of which store and of which key, its value is that key's new one, or null where
it is gone. Both are JSON texts in which every Python value has one form only, so that equal keys are equal bytes, and
from which it comes back as what it was: whole numbers of any size, every double (Python writes the shortest digits that
give the same bits, and reads NaN and infinities), decimals with their scale, bytes, text with lone surrogates. What JSON
has no form for is an object of one member that says what it is; an array is a tuple. Arrow or Avro would need a schema for
what aggregates keep between two rows; pickle would run what somebody else has written into the topic.
"""

from __future__ import annotations

import base64
import decimal
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradstream.engine.language.state import Keeper, Store
from gradstream.engine.language.stateful import Kept
from gradstream.errors import DataError

SUFFIX = "-changelog"


@dataclass(frozen=True, slots=True)
class Change:
    """Records for one topic, in order."""

    topic: str
    keys: pa.BinaryArray
    values: pa.BinaryArray


class Changelog:
    """The stores of a query as topics; stores that belong together share one.

    Args:
        prefix: of the topics' names, such as ``_confluent-ksql-default_query_CTAS_T_1``.
    """

    def __init__(self, prefix: str, keepers: Sequence[Keeper]) -> None:
        self.keepers = tuple(keepers)
        stores = [store for keeper in keepers for store in keeper.stores()]
        self._stores = {store.name: store for store in stores}
        self._topics = {
            store.name: f"{prefix}-{store.name.split('/')[0]}{SUFFIX}" for store in stores
        }

    @property
    def topics(self) -> list[str]:
        return list(dict.fromkeys(self._topics.values()))

    def take_changes(self) -> list[Change]:
        """What has changed since the last call."""
        keys: dict[str, list[pa.BinaryArray]] = {}
        values: dict[str, list[pa.BinaryArray]] = {}
        for name, store in self._stores.items():
            if changes := store.take_changes():
                of_topic = self._topics[name]
                named = [(name, key) for key, _ in changes]
                keys.setdefault(of_topic, []).append(all_written(named))
                values.setdefault(of_topic, []).append(_with_nulls([value for _, value in changes]))
        return [
            Change(topic, pa.concat_arrays(keys[topic]), pa.concat_arrays(values[topic]))
            for topic in keys
        ]

    def put_back(self, keys: Iterable[bytes | None], values: Iterable[bytes | None]) -> None:
        """Changes that were taken once, in their order, into stores that nothing else has filled.

        Raises:
            DataError: BAD_CHANGELOG, where this is no such record.
        """
        for key, value in zip(keys, values, strict=True):
            try:
                name, of = read(key or b"")
                store: Store[Any, Any] = self._stores[name]
                store.put_back(of, None if value is None else read(value))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(
                    "BAD_CHANGELOG",
                    f"{key!r:.200} is no key that this query has logged ({error!r}); something else has written into "
                    f"one of {', '.join(self.topics)}: terminate the query and create it again",
                ) from error

    def finish(self) -> None:
        """After the last put_back()."""
        for keeper in self.keepers:
            keeper.restored()


def written(value: Any) -> bytes:
    """A value as JSON text.

    Raises:
        TypeError: no query keeps such a value.
    """
    return _text(value).encode()


def _text(value: Any) -> str:
    """In one pass, since a query that keeps many keys spends much of its time here; most values are of a type below."""
    return (_TEXTS.get(type(value)) or _text_of_kind(value))(value)


def all_written(values: Sequence[Any]) -> pa.BinaryArray:
    """Each as ``written`` writes it; where there are many that are alike, column by column, without an object for each."""
    if len(values) < FEW:
        return pa.array([written(of) for of in values], pa.binary())
    return _texts(values).cast(pa.binary())


def _with_nulls(values: list[Any]) -> pa.BinaryArray:
    """The same, with None for a null and not for its text."""
    if None not in values:
        return all_written(values)
    gone = np.array([of is None for of in values])
    made = all_written([of for of in values if of is not None])
    return made.take(pa.array(np.cumsum(~gone) - 1, mask=gone))


def _texts(values: Sequence[Any]) -> pa.StringArray:
    kinds = set(map(type, values))
    columns = _COLUMNS.get(kinds.pop()) if len(kinds) == 1 else None
    made = None if columns is None else columns(values)
    return pa.array([_text(of) for of in values], pa.string()) if made is None else made


def _whole_numbers(values: Sequence[int]) -> pa.StringArray | None:
    try:
        return pa.array(values, pa.int64()).cast(pa.string())
    except OverflowError:
        return None


def _plain_texts(values: Sequence[str]) -> pa.StringArray | None:
    """Texts in which nothing has to be escaped; others go one by one."""
    try:
        array = pa.array(values, pa.string())
    except UnicodeEncodeError:  # a lone surrogate
        return None
    if pc.any(pc.match_substring_regex(array, ESCAPED)).as_py():
        return None
    return pc.binary_join_element_wise('"', array, '"', "")


def _tuples(values: Sequence[tuple[Any, ...]]) -> pa.StringArray | None:
    lengths = set(map(len, values))
    if len(lengths) > 1 or 0 in lengths:
        return None
    parts: list[Any] = []
    for n in range(lengths.pop()):  # zip() would make an iterator for each value
        parts += [",", _texts([value[n] for value in values])]
    return pc.binary_join_element_wise("[", *parts[1:], "]", "")


ESCAPED = r"[^ !#-\[\]-~]"
FEW = 32  # values that are not worth it
_COLUMNS: dict[type, Callable[[Sequence[Any]], pa.StringArray | None]] = {
    int: _whole_numbers,
    float: lambda values: pa.array([_float(of) for of in values], pa.string()),
    str: _plain_texts,
    tuple: _tuples,
    Kept: _tuples,
}


def _items(values: Iterable[Any]) -> str:
    return f"[{','.join([(_TEXTS.get(type(of)) or _text_of_kind(of))(of) for of in values])}]"


def _float(value: float) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_TEXTS: dict[type, Callable[[Any], str]] = {
    type(None): lambda value: "null",
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    float: _float,
    str: encode_basestring_ascii,
    tuple: _items,
    Kept: _items,
    list: lambda value: f'{{"list":{_items(value)}}}',
    dict: lambda value: f'{{"map":[{",".join(map(_items, value.items()))}]}}',
    decimal.Decimal: lambda value: f'{{"decimal":"{value}"}}',
    bytes: lambda value: f'{{"bytes":"{base64.b64encode(value).decode()}"}}',
    frozenset: lambda value: f'{{"set":[{",".join(sorted(map(_text, value)))}]}}',
}


def _text_of_kind(value: Any) -> Callable[[Any], str]:
    """How a value of a subclass is written.

    Raises:
        TypeError: no query keeps such a value.
    """
    for kind, text in _TEXTS.items():
        if isinstance(value, kind):
            return text
    raise TypeError(f"{type(value).__name__} has no form in a changelog")


def read(text: bytes) -> Any:
    """The reverse of ``written``.

    Raises:
        ValueError, TypeError, KeyError: it is no such text.
    """
    return _back(_DECODER.decode(text.decode()))


# A dictionary finds the NaN that it knows, and only that one.
_DECODER = json.JSONDecoder(
    parse_constant={"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.__getitem__
)


def _back(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_back(of) for of in value)
    if not isinstance(value, dict):
        return value
    ((kind, of),) = value.items()
    match kind:
        case "list":
            return [_back(item) for item in of]
        case "map":
            return {_back(key): _back(item) for key, item in of}
        case "decimal":
            return decimal.Decimal(of)
        case "bytes":
            return base64.b64decode(of, validate=True)
        case "set":
            return frozenset(_back(item) for item in of)
    raise ValueError(f"{kind!r} is no kind of value")
