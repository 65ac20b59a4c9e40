"""KSQL's scalar functions, by kind, each in a module that declares them; importing this package loads all."""

from __future__ import annotations

from gradstream.engine.language.functions import (
    collections,
    comparison,
    json,
    mask,
    math,
    null_handling,
    regexp,
    string,
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

LOADED = (collections, comparison, json, mask, math, null_handling, regexp, string, time, url)

reserve(
    "AGGREGATE",
    "AGGREGATE",
    *"AVG ATTR COLLECT_LIST COLLECT_SET CORRELATION COUNT COUNT_DISTINCT EARLIEST_BY_OFFSET HISTOGRAM".split(),
    *"LATEST_BY_OFFSET MAX MIN STDDEV_SAMP STDDEV_SAMPLE SUM TOPK TOPKDISTINCT".split(),
)
reserve("TABLE", "TABLE", "EXPLODE", "CUBE_EXPLODE")

__all__ = [
    "UNIT",
    "Chosen",
    "Family",
    "LambdaType",
    "NoOverload",
    "families",
    "find",
    "names",
]
