"""What a server has names for: asked over REST in the background, for completion."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gradstream.errors import GradstreamError
from gradstream.shell.answers import type_text
from gradstream.shell.client import KsqlClient, RefusedStatementError
from gradstream.shell.words import RESERVED

QUESTIONS = (
    "DESCRIBE STREAMS;",
    "DESCRIBE TABLES;",
    "SHOW FUNCTIONS;",
    "SHOW TOPICS;",
    "SHOW QUERIES;",
    "SHOW PROPERTIES;",
    "SHOW TYPES;",
)
OLD_SECONDS = 10.0
_PLAIN = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Source:
    """A stream or table: its columns' types by name, as the server has them."""

    kind: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Names:
    """All names of one moment. Functions, queries and properties have what they are beside their name."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    queries: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    types: tuple[str, ...] = ()


def written(name: str) -> str:
    """A name as a statement has it: in backquotes where it would mean another one without them.

    >>> written("A"), written("a"), written("FROM"), written("A B")
    ('A', '`a`', '`FROM`', '`A B`')
    """
    return name if _PLAIN.fullmatch(name) and name not in RESERVED else f"`{name}`"


def names_in(entities: Iterable[Mapping[str, Any]]) -> Names:
    """The names that the answers to the questions tell."""
    sources: dict[str, Source] = {}
    found: dict[str, Any] = {}
    for entity in entities:
        match entity.get("@type"):
            case "source_descriptions":
                sources |= {of["name"]: _source(of) for of in entity["sourceDescriptions"]}
            case "function_names":
                found["functions"] = {of["name"]: str(of["type"]).lower() for of in entity["functions"]}  # fmt: skip
            case "kafka_topics":
                found["topics"] = tuple(of["name"] for of in entity["topics"])
            case "queries":
                found["queries"] = {of["id"]: str(of.get("state") or "query") for of in entity["queries"]}  # fmt: skip
            case "properties":
                found["properties"] = {
                    of["name"]: str(of.get("value") or "")
                    for of in entity["properties"]
                    if of.get("editable", True)
                }
            case "type_list":
                found["types"] = tuple(entity["types"])
    return Names(sources, **found)


def _source(described: Mapping[str, Any]) -> Source:
    columns = {of["name"]: type_text(of["schema"]) for of in described["fields"]}
    return Source(str(described["type"]).lower(), columns)


class Catalogue:
    """The names of a server: those of a moment ago, while new ones are fetched."""

    def __init__(self, client: KsqlClient) -> None:
        self._client = client
        self._names = Names()
        self._read = 0.0  # when
        self._wanted = threading.Event()
        self._wanted.set()
        threading.Thread(target=self._fetch, name="names", daemon=True).start()

    def names(self) -> Names:
        """What is known; others make streams, too, so it is asked for anew when it is old."""
        if time.monotonic() - self._read > OLD_SECONDS:
            self.refresh()
        return self._names

    def refresh(self) -> None:
        """Asks again, in the background."""
        self._wanted.set()

    def _fetch(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            entities: list[dict[str, Any]] = []
            # Nobody misses names while a server is away, and the next statement tells that it is.
            with suppress(GradstreamError):
                for question in QUESTIONS:
                    with suppress(RefusedStatementError):  # not every server knows each of them
                        entities += self._client.execute(question)
                self._names = names_in(entities)
            self._read = time.monotonic()
