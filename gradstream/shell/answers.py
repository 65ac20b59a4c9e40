"""What a server answers to SHOW, DESCRIBE and EXPLAIN, as things to read: titles, tables, trees."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from gradstream.shell import tables

Entity: TypeAlias = Mapping[str, Any]
Row: TypeAlias = Callable[[Entity], list[object]]


@dataclass(frozen=True, slots=True)
class Table:
    """What a statement lists.

    Attributes:
        title: a line above it.
        elastic: the column, the last one, that may be cut where there is no room.
    """

    names: Sequence[str]
    rows: list[Sequence[object]]
    title: str = ""
    elastic: str = ""


@dataclass(frozen=True, slots=True)
class Steps:
    """A query's plan: each step with the number of steps that it stands below."""

    steps: list[tuple[int, str]]

    def tree(self) -> Tree:
        """For drawing; several steps that stand below nothing are branches of an empty trunk."""
        trunk = Tree("", hide_root=True, guide_style="dim")
        open_: list[Tree] = [trunk]
        for depth, step in self.steps:
            del open_[depth + 1 :]
            open_.append(open_[-1].add(Text(tables.printable(step))))
        return trunk

    def text(self) -> str:
        """The tree as it is drawn where there is room."""
        with (out := Console(file=io.StringIO(), width=10_000)).capture() as drawn:
            out.print(self.tree())
        return drawn.get().rstrip()


Block: TypeAlias = Table | Steps | str


def blocks(entity: Entity) -> list[Block]:
    """What there is to read in an answer, in its order; nothing in one that only says that something was done."""
    match entity.get("@type"):
        case "currentStatus" | "warning_entity" | "terminate_query":
            return []
        case "sourceDescription":
            return list(_source(entity["sourceDescription"]))
        case "source_descriptions":
            return [block for of in entity["sourceDescriptions"] for block in _source(of)]
        case "queryDescription":
            return list(_query(entity["queryDescription"]))
        case "query_descriptions":
            return [block for of in entity["queryDescriptions"] for block in _query(of)]
        case "describe_function":
            return [_function(entity)]
        case "type_list":
            found = [(name, type_text(of)) for name, of in sorted(entity["types"].items())]
            return [Table(("type", "is"), list(found))]
        case str(kind) if kind in LISTS:
            key, headings, row, elastic = LISTS[kind]
            return [Table(headings, [row(found) for found in entity[key]], elastic=elastic)]
    told = {
        key: of for key, of in entity.items() if key not in ("@type", "statementText", "warnings")
    }
    return [json.dumps(told, indent=2, ensure_ascii=False, default=str)]


def said(entity: Entity) -> str:
    """What an answer says in a sentence, and its warnings; empty where it has only what ``blocks`` gives."""
    warnings = "".join(f" (warning: {found['message']})" for found in entity.get("warnings", []))
    match entity.get("@type"):
        case "currentStatus":
            return _shortened(str(entity["commandStatus"]["message"])) + warnings
        case "warning_entity":
            return _shortened(str(entity["message"])) + warnings
        case "terminate_query":
            ended = "was ended" if entity.get("wasTerminated", True) else "had ended"
            return f"query {entity['queryId']} {ended}" + warnings
    return warnings.strip()


_EXISTS = re.compile(r"Cannot add \w+ `[^`]*`: A \w+ with the same name already exists\.?")
_CREATED = re.compile(r"Created query with ID (\S+)")


def _shortened(message: str) -> str:
    """The server's sentence in the words that one line has room for."""
    if _EXISTS.fullmatch(message):
        return "exists already, left as it is"
    return _CREATED.sub(r"query \1 runs", " ".join(message.split()))


# Printing -----------------------------------------------------------------------------------------------


def show(out: Console, entity: Entity) -> None:
    """Print what there is to read in an answer, folded to the width of a terminal."""
    whole = not out.is_terminal
    for number, block in enumerate(blocks(entity)):
        if number:
            out.print()
        match block:
            case Table(names=names, rows=rows, title=title, elastic=elastic):
                if title:
                    out.print(tables.text(title), markup=False, soft_wrap=whole, style="bold")
                tables.show(out, names, rows, elastic)
            case Steps():
                out.print(Text(block.text()) if whole else block.tree(), soft_wrap=whole)
            case _:
                out.print(block, markup=False, soft_wrap=whole)


# Lists --------------------------------------------------------------------------------------------------


def _picked(*keys: str) -> Row:
    return lambda found: [found.get(key) for key in keys]


def _topic(found: Entity) -> list[object]:
    replicas = found.get("replicaInfo") or [0]
    return [found["name"], len(replicas), min(replicas)]


def _listed_query(found: Entity) -> list[object]:
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
    "kafka_topics_extended": (
        "topics",
        ("topic", "partitions", "replicas", "consumers", "groups"),
        lambda found: [*_topic(found), found.get("consumerCount"), found.get("consumerGroupCount")],
        "",
    ),
    "queries": ("queries", ("query", "type", "state", "statement"), _listed_query, "statement"),
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


# Descriptions -------------------------------------------------------------------------------------------


def _source(described: Entity) -> Iterator[Block]:
    rows: list[Sequence[object]] = [
        (found["name"], type_text(found["schema"]), found.get("type") or "")
        for found in described["fields"]
    ]
    title = (
        f"{described['name']}: {str(described['type']).lower()} on topic {described['topic']}, "
        f"values in {described['valueFormat']}"
    )
    if any(role for *_, role in rows):
        yield Table(("field", "type", "role"), rows, title)
    else:
        yield Table(("field", "type"), [row[:2] for row in rows], title)
    if described.get("extended"):
        yield from _details(described)


def _details(described: Entity) -> Iterator[Block]:
    """What EXTENDED adds."""
    facts = {
        "keys in": described.get("keyFormat"),
        "event time": described.get("timestamp") or "of the record",
        "partitions": described.get("partitions"),
        "replicas": described.get("replication"),
        "written": described.get("statistics"),
        "failed": described.get("errorStats"),
        "statement": described.get("statement"),
    }
    yield Table(
        ("about it", ""), [(name, of) for name, of in facts.items() if of not in (None, "")]
    )
    queries = [("reads it", of) for of in described.get("readQueries", [])]
    queries += [("writes it", of) for of in described.get("writeQueries", [])]
    if queries:
        rows: list[Sequence[object]] = [
            (of["id"], how, of.get("state"), of.get("queryString", "")) for how, of in queries
        ]
        yield Table(("query", "does", "state", "statement"), rows, elastic="statement")
    offsets = [
        (topic["kafkaTopic"], at["partition"], at["logStartOffset"], at["logEndOffset"], at.get("consumerOffset"))
        for summary in described.get("queryOffsetSummaries", [])
        for topic in summary["topicSummaries"]
        for at in topic["offsets"]
    ]  # fmt: skip
    if offsets:
        yield Table(("topic read", "partition", "first", "end", "read to"), list(offsets))


def _query(described: Entity) -> Iterator[Block]:
    what = str(described.get("queryType") or "query").lower()
    state = f", {described['state']}" if described.get("state") else ""
    yield f"{described.get('id') or ''}: {what} query{state}"
    errors = [(of.get("type"), of.get("errorMessage")) for of in described.get("queryErrors") or []]
    if errors:
        yield Table(("error", "message"), list(errors))
    fields = [(of["name"], type_text(of["schema"]), of.get("type") or "") for of in described.get("fields") or []]  # fmt: skip
    if fields:
        yield Table(("field", "type", "role"), list(fields))
    if properties := described.get("overriddenProperties"):
        yield Table(("property", "value"), sorted(properties.items()))
    yield steps(described.get("executionPlan") or "")


_STEP = re.compile(r"\s*>?\s*\[ (?P<name>[^\]]*) \](?P<rest>.*)")


def steps(plan: str) -> Steps:
    """A plan as ksqlDB writes it, a step a line, indented below the step that takes its rows.

    The names of its loggers are left out; ``--format json`` has the plan as the server wrote it.
    """
    found: list[tuple[int, str]] = []
    open_: list[int] = []  # indents of the steps that we are in
    for line in plan.splitlines():
        if not line.strip():
            continue
        match = _STEP.match(line)
        indent = len(line) - len(line.lstrip())
        while open_ and open_[-1] >= indent:
            open_.pop()
        found.append((len(open_), _step(match) if match else line.strip()))
        open_.append(indent)
    return Steps(found)


def _step(match: re.Match[str]) -> str:
    parts = [part.strip() for part in match["rest"].split(" | ")]
    told = [part.removeprefix("| ") for part in parts if part and not part.startswith("Logger:")]
    return "  ".join([match["name"], *told])


def _function(described: Entity) -> Table:
    name = described["name"]
    rows: list[Sequence[object]] = []
    for of in described.get("functions", []):
        taken = ", ".join(_argument(argument) for argument in of.get("arguments", []))
        rows.append((f"{name}({taken})", of.get("returnType"), of.get("description") or ""))
    title = f"{name}: {str(described.get('type') or '').lower()} function"
    if about := described.get("description"):
        title += f"; {about}"
    if all(row[2] in ("", about) for row in rows):
        return Table(("call", "gives"), [row[:2] for row in rows], title)
    return Table(("call", "gives", "description"), rows, title)


def _argument(argument: Entity) -> str:
    dots = "..." if argument.get("isVariadic") else ""
    return " ".join(filter(None, (argument.get("name"), argument.get("type")))) + dots


def type_text(schema: Entity) -> str:
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
