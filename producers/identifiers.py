"""Column and stream names that KSQL and Avro both accept, from whatever a file or a flag holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Keywords of ksqlDB's grammar that are no identifier unless quoted.
_RESERVED = frozenset(
    """
    ADVANCE ALL AND AS AT BEGINNING BETWEEN BY CASE CAST CATALOG CONNECTOR CONNECTORS CREATE DAYS DECIMAL DELETE
    DESCRIBE DISTINCT DROP ELSE END EXISTS EXPORT EXTENDED FALSE FROM FULL GROUP HAVING HOPPING HOURS IN INNER INSERT
    INTO IS JOIN LEFT LIKE LIMIT LIST LOAD MATERIALIZED MILLISECOND MILLISECONDS MINUTES MONTHS NAMESPACE NOT NULL ON
    OR OUTER PRINT PROPERTIES QUERIES QUERY RENAME RETENTION RIGHT RUN SAMPLE SCRIPT SECONDS SELECT SIZE STREAM
    STREAMS TABLE TERMINATE THEN TO TOPIC TOPICS TRUE TUMBLING UNSET VALUES VIEW WHEN WHERE WINDOW WITH WITHIN YEARS
    """.split()
)
# Columns that ksqlDB adds to every source itself.
_PSEUDO = frozenset({"ROWTIME", "ROWPARTITION", "ROWOFFSET", "WINDOWSTART", "WINDOWEND"})
_BARE = re.compile(r"[A-Z_][A-Z0-9_]*")


def stored(text: str, otherwise: str = "COLUMN") -> str:
    """A name as KSQL stores it: upper case, letters, digits and ``_`` only, since it becomes an Avro field too.

    >>> stored("sepal length (cm)")
    'SEPAL_LENGTH_CM'
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text.strip())
    if name != text.strip():
        name = name.strip("_")
    name = name.upper() or otherwise
    if name[0].isdigit():
        name = f"_{name}"
    return f"{name}_" if name in _PSEUDO else name


def stored_all(texts: Iterable[str]) -> list[str]:
    """Stored names of columns, each once: what would be a second ``A`` becomes ``A_2``; nameless ones are numbered."""
    names: list[str] = []
    for number, text in enumerate(texts, 1):
        first = name = stored(text, f"COLUMN_{number}")
        count = 1
        while name in names:
            count += 1
            name = f"{first}_{count}"
        names.append(name)
    return names


def quoted(name: str) -> str:
    """A stored name as it is written in a statement: in backquotes where KSQL would read something else."""
    return name if _BARE.fullmatch(name) and name not in _RESERVED else f"`{name}`"


def literal(text: str) -> str:
    """Text as a KSQL string literal."""
    return "'" + text.replace("'", "''") + "'"
