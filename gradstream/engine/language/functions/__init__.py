"""KSQL's scalar functions, by kind, each in a module that declares them; importing this package loads all."""

from __future__ import annotations

from gradstream.engine.language.functions import (
    aggregates,
    collections,
    comparison,
    json,
    mask,
    math,
    null_handling,
    regexp,
    string,
    tables,
    time,
    url,
)
from gradstream.engine.language.functions.registry import (
    UNIT,
    Chosen,
    Family,
    LambdaType,
    NoOverload,
    families,
    find,
    names,
    reserve,
)

LOADED = (
    aggregates,
    collections,
    comparison,
    json,
    mask,
    math,
    null_handling,
    regexp,
    string,
    tables,
    time,
    url,
)

reserve("AGGREGATE", "AGGREGATE", *aggregates.NAMES)
reserve("TABLE", "TABLE", *tables.NAMES)

__all__ = [
    "UNIT",
    "Chosen",
    "Family",
    "LambdaType",
    "NoOverload",
    "aggregates",
    "families",
    "find",
    "names",
    "tables",
]
