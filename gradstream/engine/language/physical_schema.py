"""A sink's columns against the registered schema that VALUE_SCHEMA_ID or KEY_SCHEMA_ID names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradstream.engine.catalog import Column
from gradstream.engine.language.formatting import format_column
from gradstream.errors import SqlError


def check_physical(
    columns: Sequence[Column], physical: Sequence[Column], *, is_key: bool, unwrapped: bool
) -> None:
    """Are all columns in the schema, with their types and in their order? It may have others between them.

    Args:
        unwrapped: the key is one bare value, which has no name in the schema.

    Raises:
        SqlError: BAD_SCHEMA.
    """
    missing = list(_missing(columns, physical, named=not unwrapped))
    if not missing:
        return
    part = "key" if is_key else "value"
    listed = ", ".join(f"`{column.name}` {column.type}" for column in physical)
    raise SqlError(
        "BAD_SCHEMA",
        f"The following {part} columns are changed, missing or reordered: "
        f"[{', '.join(map(format_column, missing))}]. Schema from schema registry is [{listed}]",
    )


def _missing(
    columns: Sequence[Column], physical: Sequence[Column], *, named: bool
) -> Iterable[Column]:
    place = 0
    for column in columns:
        found = next(
            (
                n
                for n in range(place, len(physical))
                if physical[n].type == column.type
                and (not named or physical[n].name == column.name)
            ),
            None,
        )
        if found is None:
            yield column
        else:
            place = found + 1
