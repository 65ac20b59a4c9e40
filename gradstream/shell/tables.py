"""Tables of the sql command: one line a row, nothing cut where it would hide a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gradstream import console

GAP = "  "  # between columns


def text(value: object) -> str:
    """A value on one line: null, text as it is, a list of names as names, else JSON.

    >>> text(None), text(["A", "B"]), text({"a": 1})
    ('null', 'A, B', '{"a":1}')
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return as_json(value)


def as_json(value: object) -> str:
    """JSON in which a decimal keeps its digits."""
    return orjson.dumps(value, default=lambda number: orjson.Fragment(str(number))).decode()


def cut(words: str, most: int) -> str:
    """At most so many characters, with … where something was left out.

    >>> cut("CREATE STREAM a", 9)
    'CREATE S…'
    """
    return words if len(words) <= most else words[: max(most - 1, 0)] + "…"


def lines(
    names: Sequence[str], rows: Iterable[Sequence[str]], width: int | None, elastic: str = ""
) -> list[str]:
    """Heading and rows in columns; where they are wider than ``width``, one value a line.

    Args:
        names: the columns.
        rows: their cells, already text.
        width: of the terminal in characters; None where there is no terminal, so no limit.
        elastic: the column, the last one, that is cut to what is left of the width.
    """
    grid = [list(names), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    if width is not None and elastic:
        left = width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(left, len(elastic)))
        for row in grid:
            row[-1] = cut(row[-1], widths[-1])
    if width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > width:
        return _one_below_the_other(names, grid[1:])
    return [
        GAP.join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in grid
    ]


def _one_below_the_other(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    most = max(map(len, names), default=0)
    found = []
    for number, row in enumerate(rows, 1):
        found.append(f"─ {number} ─")
        found += [f"{name:<{most}}{GAP}{cell}" for name, cell in zip(names, row, strict=True)]
    return found


def show(
    names: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", elastic: str = ""
) -> None:
    """Print a table on stdout."""
    out = console.results
    width = out.width if out.is_terminal else None
    if title:
        out.print(title, markup=False, soft_wrap=True, style="bold")
    cells = [[text(value) for value in row] for row in rows]
    heading, *body = lines(names, cells, width, elastic)
    out.print(heading, markup=False, soft_wrap=True, style="" if heading[0] == "─" else "bold")
    for line in body:
        out.print(line, markup=False, soft_wrap=True)


# What a server lists ------------------------------------------------------------------------------------

Row = Callable[[Mapping[str, Any]], list[object]]


def _picked(*keys: str) -> Row:
    return lambda found: [found.get(key) for key in keys]


def _topic(found: Mapping[str, Any]) -> list[object]:
    replicas = found.get("replicaInfo") or [0]
    return [found["name"], len(replicas), min(replicas)]


def _query(found: Mapping[str, Any]) -> list[object]:
    statement = str(found.get("queryString", "")).replace("IF NOT EXISTS ", "", 1)
    return [found["id"], found.get("queryType"), found.get("state"), statement]


_SOURCE = ("name", "topic", "key", "value")

# entity type: (key of the list, headings, row of an item, the heading that may be cut)
LISTS: dict[str, tuple[str, tuple[str, ...], Row, str]] = {
    "streams": ("streams", _SOURCE, _picked("name", "topic", "keyFormat", "valueFormat"), ""),
    "tables": (
        "tables",
        (*_SOURCE, "windowed"),
        _picked("name", "topic", "keyFormat", "valueFormat", "isWindowed"),
        "",
    ),
    "kafka_topics": ("topics", ("topic", "partitions", "replicas"), _topic, ""),
    "queries": ("queries", ("query", "type", "state", "statement"), _query, "statement"),
    "properties": (
        "properties",
        ("property", "value", "editable"),
        _picked("name", "value", "editable"),
        "",
    ),
    "variables": ("variables", ("variable", "value"), _picked("name", "value"), ""),
    "function_names": (
        "functions",
        ("function", "type", "category"),
        _picked("name", "type", "category"),
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class Table:
    """What a statement lists.

    Attributes:
        elastic: the column, the last one, that may be cut where there is no room.
    """

    names: Sequence[str]
    rows: list[Sequence[object]]
    title: str = ""
    elastic: str = ""


def entity_table(entity: Mapping[str, Any]) -> Table | None:
    """The table in the answer to a SHOW or DESCRIBE; None for other answers."""
    kind = str(entity.get("@type"))
    if kind in LISTS:
        key, headings, row, elastic = LISTS[kind]
        return Table(headings, [row(found) for found in entity[key]], elastic=elastic)
    if kind == "sourceDescription":
        return _source_table(entity["sourceDescription"])
    return None


def show_entity(entity: Mapping[str, Any]) -> None:
    """Print what a SHOW, DESCRIBE or EXPLAIN statement gave, as its reply has it."""
    if table := entity_table(entity):
        show(table.names, table.rows, table.title, table.elastic)
    elif entity.get("@type") == "queryDescription":
        plan = entity["queryDescription"]["executionPlan"]
        console.results.print(plan, markup=False, soft_wrap=True)
    elif entity.get("@type") not in ("currentStatus", "warning_entity"):
        console.results.print_json(data=dict(entity))


def _source_table(described: Mapping[str, Any]) -> Table:
    rows: list[Sequence[object]] = [
        (found["name"], type_text(found["schema"]), found.get("type") or "")
        for found in described["fields"]
    ]
    title = (
        f"{described['name']}: {str(described['type']).lower()} on topic {described['topic']}, "
        f"values in {described['valueFormat']}"
    )
    if any(role for *_, role in rows):
        return Table(("field", "type", "role"), rows, title)
    return Table(("field", "type"), [row[:2] for row in rows], title)


def type_text(schema: Mapping[str, Any]) -> str:
    """A type as it is written in SQL."""
    kind = str(schema["type"])
    match kind:
        case "ARRAY":
            return f"ARRAY<{type_text(schema['memberSchema'])}>"
        case "MAP":
            return f"MAP<STRING, {type_text(schema['memberSchema'])}>"
        case "STRUCT":
            inner = (f"{of['name']} {type_text(of['schema'])}" for of in schema["fields"])
            return f"STRUCT<{', '.join(inner)}>"
        case "DECIMAL":
            of = schema.get("parameters", {})
            return f"DECIMAL({of.get('precision')}, {of.get('scale')})"
    return kind
