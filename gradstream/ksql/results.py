"""Lines of KSQLAPI.query() as dictionaries: what ``return_objects=True`` gives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradstream.ksql import trouble
from gradstream.ksql.column_types import named_types

Columns = Sequence[Mapping[str, str]]


def parse_columns(columns_str: str) -> list[dict[str, str]]:
    """Names and types, as their first word, of a header line or of a schema alone."""
    try:
        header = _json(columns_str)
    except ValueError:
        header = {"header": {"schema": columns_str}}
    if "columnNames" in header:
        types = (text.partition("<")[0].partition("(")[0] for text in header["columnTypes"])
        named = list(zip(header["columnNames"], types, strict=True))
    else:
        schema = header.get("header", {}).get("schema", "")
        named = [(name, type_.kind) for name, type_ in named_types(schema)]
    return [{"name": name, "type": type_} for name, type_ in named]


def process_row(row: str, column_names: Columns) -> dict[str, Any] | None:
    """One row as a dictionary; None for the line that ends the answer.

    Raises:
        KSQLError: the line says that the query has failed.
    """
    found = _json(row)
    if isinstance(found, list):
        values = found
    elif found is None or "finalMessage" in found:
        return None
    elif failure := found.get("errorMessage") or ("error_code" in found and found):
        raise _failed(failure)
    else:
        values = found["row"]["columns"]
    return {column["name"]: value for column, value in zip(column_names, values, strict=False)}


def process_query_result(
    results: Iterator[str], return_objects: bool | None = None
) -> Iterator[Any]:
    """The lines as they are, or the rows among them as dictionaries."""
    if not return_objects:
        yield from results
        return
    header = next(results, None)
    if header is None:
        return
    columns = parse_columns(header)
    for line in results:
        row = process_row(line, columns)
        if row is None:
            return
        yield row


def _json(line: str) -> Any:
    """A line's value, without what makes it a part of one large array; None where there is nothing else."""
    text = line.strip().rstrip(",")
    if text.startswith("[{"):
        text = text[1:]
    if text.startswith("{") or text == "]":
        text = text.removesuffix("]")
    return json.loads(text) if text else None


def _failed(failure: Any) -> Exception:
    if not isinstance(failure, dict):
        return trouble.ksql_error(failure)
    return trouble.ksql_error(failure.get("message"), failure.get("error_code"))
